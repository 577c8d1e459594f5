// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/magpie-edge/magpie/test/lab/fetch"
	"github.com/magpie-edge/magpie/test/lab/machine"
	"github.com/magpie-edge/magpie/test/lab/world"
)

// Options of a lab. The zero value is the lab that `make lab` makes.
type Options struct {
	Name  string // default "default"
	Cache string // default $MAGPIE_CACHE, then ~/.cache/magpie
	Repo  string // default: found from the working folder or the executable

	// Exe is the executable that plays pid 1 of the machines: one that calls
	// Hidden first. Default: the running one.
	Exe string

	Show *fetch.Progress // what is being done; nil: nothing is shown

	NoBuild bool // the product's binaries and images are there already
	Bare    bool // no chart: nodes join and stay NotReady
}

// Lab is a lab that runs, or ran.
type Lab struct {
	opt Options
	dir string
}

// Hidden runs what the lab re-executes itself for; see world.Hidden. main
// and TestMain call it first and return if it says true.
func Hidden() bool {
	if len(os.Args) == 4 && os.Args[1] == verbRelay {
		if err := relay(os.Args[2], os.Args[3]); err != nil {
			fmt.Fprintln(os.Stderr, "magpie-lab:", err)
			os.Exit(1) //nolint:forbidigo // is main
		}
		return true
	}
	return world.Hidden()
}

// New is a lab as the options say, whether it exists or not.
func New(opt Options) (*Lab, error) {
	if opt.Name == "" {
		opt.Name = "default"
	}
	if strings.ContainsAny(opt.Name, "/. ") {
		return nil, fmt.Errorf("lab name %q: letters, digits and dashes only", opt.Name)
	}
	if opt.Cache == "" {
		opt.Cache = os.Getenv("MAGPIE_CACHE")
	}
	if opt.Cache == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return nil, fmt.Errorf("find cache folder: %w", err)
		}
		opt.Cache = filepath.Join(home, ".cache", "magpie")
	}
	var err error
	if opt.Exe == "" {
		if opt.Exe, err = os.Executable(); err != nil {
			return nil, fmt.Errorf("find own executable: %w", err)
		}
	}
	if opt.Repo == "" {
		opt.Repo = findRepo(filepath.Dir(opt.Exe))
	}
	return &Lab{opt: opt, dir: filepath.Join(opt.Cache, "lab", opt.Name)}, nil
}

// Attach finds a running lab by its state folder; "" is the default lab.
func Attach(dir string) (*Lab, error) {
	var opt Options
	if dir != "" {
		opt.Name, opt.Cache = filepath.Base(dir), filepath.Dir(filepath.Dir(dir))
	}
	l, err := New(opt)
	if err != nil {
		return nil, err
	}
	if machine.ReadRun(l.dir) == "" {
		return nil, fmt.Errorf("lab %s is not running: start it with `magpie-lab up`", l.opt.Name)
	}
	return l, nil
}

// findRepo looks upwards from the working folder, then from dir.
func findRepo(dir string) string {
	wd, err := os.Getwd()
	if err != nil {
		wd = dir
	}
	for _, d := range []string{wd, dir} {
		for ; d != "/" && d != "."; d = filepath.Dir(d) {
			if _, err := os.Stat(filepath.Join(d, "test", "lab", "kube", "go.mod")); err == nil {
				return d
			}
		}
	}
	return wd
}

// Dir is the lab's state folder.
func (l *Lab) Dir() string { return l.dir }

// Repo is the repository whose product the lab runs.
func (l *Lab) Repo() string { return l.opt.Repo }

// Kubeconfig is a file with which the host reaches the API server as
// administrator, through the relay.
func (l *Lab) Kubeconfig() string { return filepath.Join(l.dir, "kubeconfig") }

func (l *Lab) pki(file string) string { return filepath.Join(l.dir, "pki", file) }

// Tool is the path of something the lab built.
func (l *Lab) Tool(name string) string {
	for _, t := range append(fetch.Tools(), fetch.Extras()...) {
		if t.Name == name {
			return t.File(l.opt.Cache)
		}
	}
	return name
}

// product is the path of one of the repository's own commands.
func (l *Lab) product(name string) string { return filepath.Join(l.opt.Repo, "bin", name) }

// Command is argv made to run inside a machine of the lab.
func (l *Lab) Command(ctx context.Context, node string, argv ...string) (*exec.Cmd, error) {
	return machine.Command(ctx, l.dir, node, argv...)
}

// Exec runs argv inside a machine and returns what it printed. The error
// holds what it printed to stderr.
func (l *Lab) Exec(ctx context.Context, node string, argv ...string) ([]byte, error) {
	cmd, err := l.Command(ctx, node, argv...)
	if err != nil {
		return nil, err
	}
	out, err := output(cmd)
	if err != nil {
		return out, fmt.Errorf("run %s on %s: %w", argv[0], node, err)
	}
	return out, nil
}

// Kubectl runs kubectl on the host with the lab's kubeconfig.
func (l *Lab) Kubectl(ctx context.Context, args ...string) ([]byte, error) {
	out, err := output(l.Host(ctx, l.Tool("kubectl"), args...))
	if err != nil {
		return out, fmt.Errorf("kubectl %s: %w", strings.Join(args, " "), err)
	}
	return out, nil
}

// Host is a command on the host that has the lab's kubeconfig.
func (l *Lab) Host(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+l.Kubeconfig(), "HELM_CACHE_HOME="+l.dir+"/helm",
		"HELM_CONFIG_HOME="+l.dir+"/helm", "HELM_DATA_HOME="+l.dir+"/helm", "KUBECACHEDIR="+l.dir+"/kubectl")
	return cmd
}

// apply applies manifests as the administrator.
func (l *Lab) apply(ctx context.Context, manifests string) error {
	cmd := l.Host(ctx, l.Tool("kubectl"), "apply", "--server-side", "--force-conflicts", "-f", "-")
	cmd.Stdin = strings.NewReader(manifests)
	if _, err := output(cmd); err != nil {
		return fmt.Errorf("apply manifests: %w", err)
	}
	return nil
}

func output(cmd *exec.Cmd) ([]byte, error) {
	out, err := cmd.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return out, fmt.Errorf("%w: %s", err, strings.TrimSpace(string(exit.Stderr)))
	}
	return out, err
}

// lock keeps a second `up`, `down` or `break` of the same lab waiting.
func (l *Lab) lock() (func(), error) {
	if err := os.MkdirAll(l.dir, 0o755); err != nil {
		return nil, fmt.Errorf("make lab folder: %w", err)
	}
	f, err := os.OpenFile(l.dir+".lock", os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock lab: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock lab: %w", err)
	}
	return func() { f.Close() }, nil
}
