// Command enterprise-driver speaks to the enterprise interface as the plugin of SingularityCE 4.6
// does: the same calls in the same order, through the same HTTP runtime (go-openapi), into Go types
// that are as strict, from the same remote.yaml. It is not the plugin: it is written from what is
// known of its wire, so that the interface is tried from Go where the plugin is not installed.
//
//	enterprise-driver status
//	enterprise-driver get      TYPE [REF…] [-o short|long|csv|json] [--user ID] [--show-disabled-tokens]
//	enterprise-driver describe TYPE REF
//	enterprise-driver delete   token ID… | --all --user USER
package main

import (
	"fmt"
	"os"
	"strings"
)

type options struct {
	output       string
	user         string
	all          bool
	showDisabled bool
	showAuto     bool
}

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "expected status, get, describe or delete")
		os.Exit(2)
	}
	verb := os.Args[1]
	if err := run(verb, os.Args[2:]); err != nil {
		fmt.Fprintf(os.Stderr, "Error for command %q: %v\n", verb, err)
		os.Exit(1)
	}
}

func run(verb string, args []string) error {
	words, o, err := parse(args)
	if err != nil {
		return err
	}
	services, err := discover()
	if err != nil {
		return err
	}
	if verb == "status" {
		services.status()
		return nil
	}
	if len(words) == 0 {
		return fmt.Errorf("%s needs a type", verb)
	}
	noun, refs := words[0], words[1:]
	switch verb {
	case "get":
		return services.get(noun, refs, o)
	case "describe":
		return services.describe(noun, refs)
	case "delete":
		return services.remove(noun, refs, o)
	}
	return fmt.Errorf("unknown command %q", verb)
}

// parse takes flags from anywhere among the words.
func parse(args []string) ([]string, options, error) {
	o := options{output: "short"}
	words := []string{}
	for i := 0; i < len(args); i++ {
		name, value, joined := strings.Cut(args[i], "=")
		take := func() string {
			if !joined && i+1 < len(args) {
				i++
				return args[i]
			}
			return value
		}
		switch name {
		case "-o", "--output":
			o.output = take()
		case "--user":
			o.user = take()
		case "--all":
			o.all = true
		case "--show-disabled-tokens":
			o.showDisabled = true
		case "--show-auto-tokens":
			o.showAuto = true
		default:
			if strings.HasPrefix(name, "-") {
				return nil, o, fmt.Errorf("unknown flag %s", name)
			}
			words = append(words, args[i])
		}
	}
	return words, o, nil
}

func warn(format string, values ...any) {
	fmt.Fprintf(os.Stderr, "WARNING: "+format+"\n", values...)
}

func inform(format string, values ...any) {
	fmt.Fprintf(os.Stderr, "INFO:    "+format+"\n", values...)
}
