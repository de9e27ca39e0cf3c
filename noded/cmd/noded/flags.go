package main

import (
	"encoding"
	"errors"
	"flag"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// errUsage is a command line that makes no sense: exit code 2.
var errUsage = errors.New("wrong use")

func wrongUse(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errUsage, fmt.Sprintf(format, args...))
}

// command is the flags of one subcommand. Flags may stand before, between and after its arguments.
type command struct {
	*flag.FlagSet
	config    string
	overrides map[string]string // configuration fields that flags set, by field path
}

// newCommand has --config, and a flag for each field of the configuration when fields is set.
func newCommand(name string, fields bool) *command {
	c := &command{FlagSet: flag.NewFlagSet("noded "+name, flag.ContinueOnError), overrides: map[string]string{}}
	c.SetOutput(io.Discard)
	c.StringVar(&c.config, "config", "", "configuration `file` (default "+defaultConfig+" where it exists)")
	if fields {
		d := defaults()
		eachField(reflect.ValueOf(&d).Elem(), "", func(path string, v reflect.Value) error {
			c.Func(flagName(path), fmt.Sprintf("overrides %s (default %s)", path, show(v)), func(text string) error {
				c.overrides[path] = text
				return nil
			})
			return nil
		})
	}
	return c
}

func flagName(path string) string { return strings.NewReplacer(".", "-", "_", "-").Replace(path) }

// arguments parses the command line and returns what is no flag: between least and most of it.
func (c *command) arguments(args []string, least, most int, what string) ([]string, error) {
	var rest []string
	for {
		if err := c.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				return nil, err
			}
			return nil, wrongUse("%s: %v", c.Name(), err)
		}
		if c.NArg() == 0 {
			break
		}
		rest = append(rest, c.Arg(0))
		args = c.Args()[1:]
	}
	if len(rest) < least || len(rest) > most {
		return nil, wrongUse("%s takes %s, not %q", c.Name(), what, rest)
	}
	return rest, nil
}

// load reads the configuration with the flags' overrides.
func (c *command) load() (Config, error) {
	return load(c.config, func(cfg *Config) error {
		return eachField(reflect.ValueOf(cfg).Elem(), "", func(path string, v reflect.Value) error {
			text, ok := c.overrides[path]
			if !ok {
				return nil
			}
			if err := set(v, text); err != nil {
				return wrongUse("--%s: %v", flagName(path), err)
			}
			return nil
		})
	})
}

// eachField visits every leaf of a configuration by its YAML path.
func eachField(v reflect.Value, at string, visit func(path string, v reflect.Value) error) error {
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("yaml"), ",")
		path := strings.TrimPrefix(at+"."+name, ".")
		field := v.Field(i)
		_, leaf := field.Addr().Interface().(encoding.TextUnmarshaler)
		var err error
		if field.Kind() == reflect.Struct && !leaf {
			err = eachField(field, path, visit)
		} else {
			err = visit(path, field)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// set parses text into a field; lists are separated by commas.
func set(v reflect.Value, text string) error {
	if u, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		return u.UnmarshalText([]byte(text))
	}
	switch p := v.Addr().Interface().(type) {
	case *string:
		*p = text
	case *[]string:
		*p = nil
		for part := range strings.SplitSeq(text, ",") {
			if part = strings.TrimSpace(part); part != "" {
				*p = append(*p, part)
			}
		}
	case *time.Duration:
		d, err := time.ParseDuration(text)
		if err != nil {
			return fmt.Errorf("%q: want a duration such as 15m", text)
		}
		*p = d
	case *int, *int64:
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return fmt.Errorf("%q: want a whole number", text)
		}
		v.SetInt(n)
	case *uint32:
		n, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			return fmt.Errorf("%q: want a whole number", text)
		}
		v.SetUint(n)
	case *bool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return fmt.Errorf("%q: want true or false", text)
		}
		*p = b
	case *float64:
		n, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return fmt.Errorf("%q: want a number", text)
		}
		*p = n
	default:
		return fmt.Errorf("a %s cannot be set by a flag", v.Type())
	}
	return nil
}

func show(v reflect.Value) string {
	switch x := v.Interface().(type) {
	case []string:
		return strconv.Quote(strings.Join(x, ","))
	case string:
		return strconv.Quote(x)
	default:
		return fmt.Sprint(x)
	}
}

// help prints a command's flags when they were asked for; it returns err as it is.
func (c *command) help(err error, w io.Writer) error {
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprintf(w, "usage: %s [flags]\n", c.Name())
		c.SetOutput(w)
		c.PrintDefaults()
	}
	return err
}
