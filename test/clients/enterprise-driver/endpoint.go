package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/go-openapi/runtime"
	httptransport "github.com/go-openapi/runtime/client"
	"github.com/go-openapi/strfmt"
	"github.com/golang-jwt/jwt/v5"
	"gopkg.in/yaml.v3"
)

// services are the six of an installation, and who asks.
type services struct {
	library, builder, manager, keys, consent, tokens service
	// The user ID that the token names; empty without a token.
	user     string
	hasToken bool
	names    map[string]string
}

type service struct {
	name    string
	runtime *httptransport.Runtime
}

type remoteFile struct {
	Active  string `yaml:"Active"`
	Remotes map[string]struct {
		URI   string `yaml:"URI"`
		Token string `yaml:"Token"`
	} `yaml:"Remotes"`
}

type discovery struct {
	LibraryAPI  struct{ URI string }
	KeystoreAPI struct{ URI string }
	ConsentAPI  struct{ URI string }
	TokenAPI    struct{ URI string }
	BuilderAPI  struct {
		URI        string
		ManagerURI string
	}
}

// discover reads the active remote of $SINGULARITY_CONFIGDIR/remote.yaml and asks it for its services.
func discover() (*services, error) {
	text, err := os.ReadFile(filepath.Join(os.Getenv("SINGULARITY_CONFIGDIR"), "remote.yaml"))
	if err != nil {
		return nil, err
	}
	var file remoteFile
	if err := yaml.Unmarshal(text, &file); err != nil {
		return nil, err
	}
	remote, known := file.Remotes[file.Active]
	if !known {
		return nil, fmt.Errorf("no active remote")
	}
	base := remote.URI
	if !strings.HasPrefix(base, "http://") {
		base = "https://" + base
	}
	client := http.Client{Timeout: 10 * time.Second}
	reply, err := client.Get(base + "/assets/config/config.prod.json")
	if err != nil {
		return nil, err
	}
	defer reply.Body.Close()
	if reply.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the discovery document: status %d", reply.StatusCode)
	}
	var found discovery
	if err := json.NewDecoder(reply.Body).Decode(&found); err != nil {
		return nil, err
	}
	s := &services{names: map[string]string{}, hasToken: remote.Token != ""}
	if s.hasToken {
		if s.user, err = subject(remote.Token); err != nil {
			warn("%v", err)
		}
	}
	for _, one := range []struct {
		target    *service
		name, uri string
	}{
		{&s.library, "library", found.LibraryAPI.URI},
		{&s.builder, "build server", found.BuilderAPI.URI},
		{&s.manager, "build manager", found.BuilderAPI.ManagerURI},
		{&s.keys, "key service", found.KeystoreAPI.URI},
		{&s.consent, "consent service", found.ConsentAPI.URI},
		{&s.tokens, "token service", found.TokenAPI.URI},
	} {
		if *one.target, err = connect(one.name, one.uri, remote.Token); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func connect(name, uri, token string) (service, error) {
	if uri == "" {
		return service{}, fmt.Errorf("%s: no URI provided", name)
	}
	at, err := url.Parse(uri)
	if err != nil {
		return service{}, err
	}
	transport := httptransport.New(at.Host, at.Path, []string{at.Scheme})
	if token != "" {
		transport.DefaultAuthentication = httptransport.BearerToken(token)
	}
	return service{name, transport}, nil
}

// subject reads the user ID out of the token, which is the server's to check.
func subject(token string) (string, error) {
	claims := jwt.MapClaims{}
	if _, _, err := jwt.NewParser().ParseUnverified(token, claims); err != nil {
		return "", err
	}
	return claims.GetSubject()
}

type parameters map[string]string

// call sends one request. Path parameters stand in braces in the pattern; the others go into the
// query. Success is 200 and nothing else, and its body must fit into `into`, unless that is nil.
func (s service) call(method, pattern string, params parameters, into any) error {
	_, err := s.runtime.Submit(&runtime.ClientOperation{
		ID:                 method + " " + pattern,
		Method:             method,
		PathPattern:        pattern,
		ProducesMediaTypes: []string{"application/json"},
		ConsumesMediaTypes: []string{"application/json"},
		Params: runtime.ClientRequestWriterFunc(func(req runtime.ClientRequest, _ strfmt.Registry) error {
			for name, value := range params {
				set := func() error { return req.SetQueryParam(name, value) }
				if strings.Contains(pattern, "{"+name+"}") {
					set = func() error { return req.SetPathParam(name, value) }
				}
				if value == "" {
					continue
				}
				if err := set(); err != nil {
					return err
				}
			}
			return nil
		}),
		Reader: runtime.ClientResponseReaderFunc(
			func(res runtime.ClientResponse, consumer runtime.Consumer) (any, error) {
				if res.Code() != http.StatusOK {
					return nil, refusal(method, pattern, res, consumer)
				}
				if into == nil {
					return nil, nil
				}
				return nil, consumer.Consume(res.Body(), into)
			}),
	})
	return err
}

// refusal takes the error apart as the consent service's client does (flat) and as the others do.
func refusal(method, pattern string, res runtime.ClientResponse, consumer runtime.Consumer) error {
	var body struct {
		Code    int64
		Status  string
		Message string
		Error   struct {
			Code    int64
			Message string
		}
	}
	if err := consumer.Consume(res.Body(), &body); err != nil {
		return fmt.Errorf("[%s %s][%d] the error cannot be read: %w", method, pattern, res.Code(), err)
	}
	if body.Code != int64(res.Code()) || body.Error.Code != body.Code || body.Error.Message != body.Message {
		return fmt.Errorf("[%s %s][%d] the two forms of the error differ", method, pattern, res.Code())
	}
	return fmt.Errorf("[%s %s][%d] %s: %s", method, pattern, res.Code(), body.Status, body.Message)
}
