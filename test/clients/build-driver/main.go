// Command build-driver calls the build client of SingularityCE 4.5 as `singularity build --remote` and
// scs-build do, and prints what the library hands back as JSON.
//
//	build-driver context [flags] PATTERN...   uploads files as a build context
//	build-driver drop    [flags] DIGEST       deletes a build context
//	build-driver submit  [flags] FILE         submits a definition file
//	build-driver output  [flags] ID           the output, as it comes; Ctrl-C cancels the build
//	build-driver status  [flags] ID
//	build-driver cancel  [flags] ID
//	build-driver version [flags]
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"

	"github.com/sylabs/scs-build-client/client"
)

type options struct {
	client  *client.Client
	library string
	arch    string
	context string
	dir     string
}

type command struct {
	run func(ctx context.Context, o options, args []string) (any, error)
	// How many arguments it takes; at least one when negative.
	arguments int
}

var commands = map[string]command{
	"context": {upload, -1},
	"drop":    {drop, 1},
	"submit":  {submit, 1},
	"output":  {output, 1},
	"status":  {status, 1},
	"cancel":  {cancel, 1},
	"version": {version, 0},
}

// info is what the client knows of a build.
type info struct {
	ID            string `json:"id"`
	IsComplete    bool   `json:"isComplete"`
	ImageSize     int64  `json:"imageSize"`
	ImageChecksum string `json:"imageChecksum"`
	LibraryRef    string `json:"libraryRef"`
	LibraryURL    string `json:"libraryURL"`
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
		return fmt.Errorf("expected a command")
	}
	cmd, known := commands[args[0]]
	if !known {
		return fmt.Errorf("unknown command %q", args[0])
	}
	flags := flag.NewFlagSet(args[0], flag.ExitOnError)
	url := flags.String("url", "", "address of the builder")
	token := flags.String("token", "", "access token; without it nobody is signed in")
	o := options{}
	flags.StringVar(&o.library, "library", "", "where the image goes: library://…")
	flags.StringVar(&o.arch, "arch", runtime.GOARCH, "architecture of the image")
	flags.StringVar(&o.context, "context", "", "digest of the build context")
	flags.StringVar(&o.dir, "dir", "/", "where relative sources of %files begin")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	count := flags.NArg()
	if count != cmd.arguments && (cmd.arguments >= 0 || count == 0) {
		return fmt.Errorf("%s does not take %d arguments", args[0], count)
	}
	var err error
	o.client, err = client.NewClient(
		client.OptBaseURL(*url),
		client.OptBearerToken(*token),
		client.OptUserAgent("Singularity/4.5.1 (Linux amd64) Go/"+runtime.Version()),
	)
	if err != nil {
		return err
	}
	result, err := cmd.run(ctx, o, flags.Args())
	if err != nil || result == nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(result)
}

// upload prints the digest, whether the files were sent or there already.
func upload(ctx context.Context, o options, args []string) (any, error) {
	return o.client.UploadBuildContext(ctx, args)
}

func drop(ctx context.Context, o options, args []string) (any, error) {
	return nil, o.client.DeleteBuildContext(ctx, args[0])
}

func submit(ctx context.Context, o options, args []string) (any, error) {
	file, err := os.Open(args[0])
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return known(o.client.Submit(ctx, file,
		client.OptBuildLibraryRef(o.library),
		client.OptBuildArchitecture(o.arch),
		client.OptBuildContext(o.context),
		client.OptBuildWorkingDirectory(o.dir),
	))
}

func output(ctx context.Context, o options, args []string) (any, error) {
	return nil, o.client.GetOutput(ctx, args[0], os.Stdout)
}

func status(ctx context.Context, o options, args []string) (any, error) {
	return known(o.client.GetStatus(ctx, args[0]))
}

func cancel(ctx context.Context, o options, args []string) (any, error) {
	return nil, o.client.Cancel(ctx, args[0])
}

func version(ctx context.Context, o options, _ []string) (any, error) {
	return o.client.GetVersion(ctx)
}

func known(build *client.BuildInfo, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return info{
		ID:            build.ID(),
		IsComplete:    build.IsComplete(),
		ImageSize:     build.ImageSize(),
		ImageChecksum: build.ImageChecksum(),
		LibraryRef:    build.LibraryRef(),
		LibraryURL:    build.LibraryURL(),
	}, nil
}
