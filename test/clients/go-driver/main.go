// Command go-driver calls the library client of SingularityCE 4.5 as its push, pull, search and
// delete commands do, and prints what the library hands back as JSON.
//
//	go-driver push   [flags] FILE entity/collection/container[:tag,tag]
//	go-driver pull   [flags] entity/collection/container[:tag] FILE
//	go-driver search [flags] VALUE
//	go-driver delete [flags] entity/collection/container[:tag]
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strings"

	"github.com/sylabs/scs-library-client/client"
)

type options struct {
	client      *client.Client
	arch        string
	description string
	stream      bool
	signed      bool
}

type command struct {
	arguments string
	run       func(ctx context.Context, o options, args []string) (any, error)
}

var commands = map[string]command{
	"push":   {"FILE REF", push},
	"pull":   {"REF FILE", pull},
	"search": {"VALUE", search},
	"delete": {"REF", remove},
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "FATAL:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("expected push, pull, search or delete")
	}
	cmd, known := commands[args[0]]
	if !known {
		return fmt.Errorf("unknown command %q", args[0])
	}
	flags := flag.NewFlagSet(args[0], flag.ExitOnError)
	url := flags.String("url", "", "address of the library")
	token := flags.String("token", "", "access token; without it nobody is signed in")
	o := options{}
	flags.StringVar(&o.arch, "arch", runtime.GOARCH, "architecture of the image")
	flags.StringVar(&o.description, "description", "", "of the image that is pushed")
	flags.BoolVar(&o.stream, "stream", false, "pull as releases before 3.9 did, in one stream")
	flags.BoolVar(&o.signed, "signed", false, "search signed images only")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	if want := len(strings.Fields(cmd.arguments)); flags.NArg() != want {
		return fmt.Errorf("%s needs %s", args[0], cmd.arguments)
	}
	var err error
	o.client, err = client.NewClient(&client.Config{
		BaseURL:   *url,
		AuthToken: *token,
		UserAgent: "Singularity/4.5.1 (Linux amd64) Go/" + runtime.Version(),
	})
	if err != nil {
		return err
	}
	result, err := cmd.run(ctx, o, flags.Args())
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(result)
}

// push prints the reply to the upload: null when the library had the image already.
func push(ctx context.Context, o options, args []string) (any, error) {
	file, err := os.Open(args[0])
	if err != nil {
		return nil, err
	}
	defer file.Close()
	path, tags := split(args[1])
	return o.client.UploadImage(ctx, file, path, o.arch, tags, o.description, nil)
}

// pull prints the image's record, and compares hashes as SingularityCE does with its cache.
func pull(ctx context.Context, o options, args []string) (any, error) {
	path, tags := split(args[0])
	image, err := o.client.GetImage(ctx, o.arch, path+":"+tags[0])
	if err != nil {
		return nil, err
	}
	file, err := os.Create(args[1])
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if o.stream {
		err = o.client.DownloadImage(ctx, file, o.arch, path, tags[0], nil)
	} else {
		// What SingularityCE asks for unless its environment says otherwise.
		spec := &client.Downloader{Concurrency: 3, PartSize: 5 << 20}
		err = o.client.ConcurrentDownloadImage(ctx, file, o.arch, path, tags[0], spec, nil)
	}
	if err != nil {
		return nil, err
	}
	hash, err := client.ImageHash(args[1])
	if err != nil {
		return nil, err
	}
	if hash != image.Hash {
		return nil, fmt.Errorf("the file has the hash %s, the library said %s", hash, image.Hash)
	}
	return image, nil
}

func search(ctx context.Context, o options, args []string) (any, error) {
	query := map[string]string{"value": args[0], "arch": o.arch}
	if o.signed {
		query["signed"] = "true"
	}
	return o.client.Search(ctx, query)
}

func remove(ctx context.Context, o options, args []string) (any, error) {
	return nil, o.client.DeleteImage(ctx, args[0], o.arch)
}

// split parts the tags from the path; without any it is "latest", as in the commands.
func split(ref string) (path string, tags []string) {
	path, list, tagged := strings.Cut(ref, ":")
	if !tagged {
		list = "latest"
	}
	return path, strings.Split(list, ",")
}
