package main

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"
)

var nouns = map[string]string{
	"prj": "entity", "project": "entity", "projects": "entity",
	"ent": "entity", "entity": "entity", "entities": "entity",
	"col": "collection", "collection": "collection", "collections": "collection",
	"rep": "container", "repository": "container", "repositories": "container",
	"con": "container", "container": "container", "containers": "container",
	"img": "image", "image": "image", "images": "image",
	"usr": "user", "user": "user", "users": "user",
	"tok": "token", "token": "token", "tokens": "token",
}

var objectID = regexp.MustCompile("^[0-9a-f]{24}$")

func (s *services) get(noun string, refs []string, o options) error {
	switch nouns[noun] {
	case "entity":
		return list(s.library, "/v1/entities", "/v1/entities/{ref}", "", refs, o, entityColumns)
	case "collection":
		of := ""
		if len(refs) == 1 && !strings.Contains(refs[0], "/") {
			of = refs[0]
		}
		return list(s.library, "/v1/entities/{ref}/_collections", "/v1/collections/{ref}", of, refs, o, collectionColumns)
	case "container":
		of := ""
		if len(refs) == 1 && strings.Count(refs[0], "/") == 1 {
			of = refs[0]
		}
		return list(s.library, "/v1/collections/{ref}/_containers", "/v1/containers/{ref}", of, refs, o, containerColumns)
	case "image":
		of := ""
		if len(refs) == 1 && !strings.Contains(refs[0], ":") {
			of = refs[0]
		}
		return list(s.library, "/v1/containers/{ref}/_images", "/v1/images/{ref}", of, refs, o, imageColumns)
	case "user":
		ids, err := s.userIDs(refs)
		if err != nil {
			return err
		}
		return list(s.consent, "/v1/admin/users", "/v1/admin/users/{ref}", "", ids, o, userColumns)
	case "token":
		return s.getTokens(refs, o)
	}
	return fmt.Errorf("unknown type %q", noun)
}

// list shows what a listing holds, or the named objects one by one. Listings below something (`of`)
// need it; those of everything come without references.
func list[T any](from service, all, one, of string, refs []string, o options, columns []column[T]) error {
	isWithin := strings.Contains(all, "{ref}")
	if isWithin && len(refs) == 0 {
		return fmt.Errorf("an identifier is needed")
	}
	rows := []T{}
	if of != "" || len(refs) == 0 {
		reply := enveloped[[]T]{}
		if err := from.call("GET", all, parameters{"ref": of}, &reply); err != nil {
			return err
		}
		if reply.Data != nil {
			rows = *reply.Data
		}
	} else {
		for _, ref := range refs {
			reply := enveloped[T]{}
			if err := from.call("GET", one, parameters{"ref": ref}, &reply); err != nil {
				warn("%v", err)
				continue
			}
			rows = append(rows, *reply.Data)
		}
	}
	sortByName(rows)
	return show(o.output, rows, columns)
}

// sortByName orders what the plugin orders, by entity, collection and name.
func sortByName[T any](rows []T) {
	key := func(row any) string {
		switch row := row.(type) {
		case entity:
			return row.Name
		case collection:
			return row.EntityName + "\x00" + row.Name
		case container:
			return row.EntityName + "\x00" + row.CollectionName + "\x00" + row.Name
		}
		return ""
	}
	slices.SortStableFunc(rows, func(a, b T) int { return strings.Compare(key(a), key(b)) })
}

func (s *services) getTokens(refs []string, o options) error {
	if err := s.checkTokenService(); err != nil {
		return err
	}
	rows := []token{}
	if len(refs) == 0 {
		sub, err := s.userID(o.user)
		if err != nil {
			return err
		}
		inform("Listing tokens of user %s", sub)
		params := parameters{"sub": sub}
		if o.showDisabled {
			params["all"] = "true"
		}
		if err := s.tokens.call("GET", "/v1/tokens", params, &rows); err != nil {
			return err
		}
	}
	for _, ref := range refs {
		row := token{}
		if err := s.tokens.call("GET", "/v1/token/{jti}", parameters{"jti": ref}, &row); err != nil {
			warn("%v", err)
			continue
		}
		rows = append(rows, row)
	}
	if !o.showAuto {
		rows = slices.DeleteFunc(rows, func(row token) bool {
			return strings.HasPrefix(row.Label, "Token for user") ||
				strings.HasPrefix(row.Label, "Ephemeral token for user") ||
				strings.HasPrefix(row.Label, "Remote Build")
		})
	}
	return show(o.output, rows, tokenColumns(s.nameOf))
}

func (s *services) remove(noun string, refs []string, o options) error {
	if nouns[noun] != "token" {
		return fmt.Errorf("only tokens can be deleted")
	}
	if err := s.checkTokenService(); err != nil {
		return err
	}
	if !o.all {
		for _, ref := range refs {
			inform("Revoking token %s", ref)
			if err := s.tokens.call("DELETE", "/v1/token/{jti}", parameters{"jti": ref}, nil); err != nil {
				return err
			}
		}
		return nil
	}
	if o.user == "" {
		return fmt.Errorf("--all needs --user")
	}
	sub, err := s.userID(o.user)
	if err != nil {
		return err
	}
	inform("Revoking all tokens of user %s", sub)
	return s.tokens.call("DELETE", "/v1/token/{jti}", parameters{"jti": "all", "sub": sub}, nil)
}

// checkTokenService is the gate before every token command.
func (s *services) checkTokenService() error {
	_, err := s.tokens.version()
	return err
}

func (s service) version() (string, error) {
	reply := enveloped[version]{}
	if err := s.call("GET", "/version", nil, &reply); err != nil {
		return "", err
	}
	return reply.Data.Version, nil
}

func (s *services) userID(named string) (string, error) {
	if named == "" {
		return s.user, nil
	}
	ids, err := s.userIDs([]string{named})
	if err != nil {
		return "", err
	}
	return ids[0], nil
}

// userIDs looks up what is no ID in the list of all users.
func (s *services) userIDs(refs []string) ([]string, error) {
	if !slices.ContainsFunc(refs, func(ref string) bool { return !objectID.MatchString(ref) }) {
		return refs, nil
	}
	everybody := enveloped[[]user]{}
	if err := s.consent.call("GET", "/v1/admin/users", nil, &everybody); err != nil {
		return nil, err
	}
	ids := []string{}
	for _, ref := range refs {
		at := slices.IndexFunc(*everybody.Data, func(one user) bool { return one.ID == ref || one.Username == ref })
		if at < 0 {
			return nil, fmt.Errorf("%q - unknown user", ref)
		}
		ids = append(ids, (*everybody.Data)[at].ID)
	}
	return ids, nil
}

// nameOf asks for each user once; a user may ask for himself.
func (s *services) nameOf(id string) string {
	if name, known := s.names[id]; known {
		return name
	}
	reply := enveloped[user]{}
	s.names[id] = "UNKNOWN"
	if err := s.consent.call("GET", "/v1/admin/users/{ref}", parameters{"ref": id}, &reply); err != nil {
		warn("%v", err)
	} else {
		s.names[id] = reply.Data.Username
	}
	return s.names[id]
}

func (s *services) status() {
	fmt.Print("\nStatus for Enterprise installation \n\n")
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 1, ' ', 0)
	fmt.Fprintln(out, "SERVICE\tSTATUS\tVERSION")
	for _, one := range []service{s.library, s.builder, s.manager, s.keys, s.consent, s.tokens} {
		version, err := one.version()
		if err != nil {
			fmt.Fprintf(os.Stderr, "ERROR:   %v\n", err)
			fmt.Fprintln(out, "\tERROR\t")
			continue
		}
		fmt.Fprintf(out, "%s\tOK\t%s\n", one.name, version)
	}
	out.Flush()
	switch {
	case !s.hasToken:
		fmt.Println("\nNo authentication token provided")
	case s.tokens.call("GET", "/v1/token-status", nil, nil) == nil:
		fmt.Println("\nAuth token is valid")
	default:
		fmt.Println("\nAuth token is not valid")
	}
}
