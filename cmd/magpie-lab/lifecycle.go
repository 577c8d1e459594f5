// SPDX-License-Identifier: Apache-2.0

package main

import (
	"github.com/spf13/cobra"

	"github.com/magpie-edge/magpie/test/lab"
	"github.com/magpie-edge/magpie/test/lab/fetch"
)

func build(opt *lab.Options) *cobra.Command {
	var install, oldest, peers bool
	cmd := &cobra.Command{
		Use:   "build",
		Short: "Build everything the lab runs, once a version",
		Long: `Builds Kubernetes, containerd, helm and CoreDNS from the Go module proxy, the
product from this repository, and the container images. The first run takes about
ten minutes on two cores; afterwards only what changed is built.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if m := fetch.Missing(); install && len(m) > 0 {
				if err := fetch.Install(cmd.Context(), m); err != nil {
					return err
				}
			}
			l, err := lab.New(*opt)
			if err != nil {
				return err
			}
			if err := l.Build(cmd.Context()); err != nil {
				return err
			}
			var more []fetch.Tool
			if oldest {
				more = append(more, fetch.Old()...)
			}
			if peers {
				more = append(more, fetch.Peers()...)
			}
			if err := l.BuildMore(cmd.Context(), more); err != nil {
				return err
			}
			_, err = l.Images(cmd.Context())
			return err
		},
	}
	cmd.Flags().BoolVar(&oldest, "oldest", false, "also the oldest kube-proxy that the hub must serve, for the API tests")
	cmd.Flags().BoolVar(&peers, "peers", false, "also flanneld, which our nodes are tried beside by make flannel")
	cmd.Flags().BoolVar(&install, "install", false, "install missing Debian packages with apt-get")
	return cmd
}

func up(opt *lab.Options) *cobra.Command {
	check := false
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Bring the lab up, or what is missing of it",
		Long: `Builds what is not built, starts all machines, installs the chart and joins the
nodes. It may be interrupted and run again at any time; on a running lab it puts the
repository's present state into place (images, chart) and changes nothing else.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := lab.Up(cmd.Context(), *opt)
			if err != nil {
				return err
			}
			if check {
				return attached(l.Check(cmd.Context()))
			}
			return l.Status(cmd.Context(), cmd.OutOrStdout())
		},
	}
	cmd.Flags().BoolVar(&check, "check", false, "then run `magpiectl connectivity`, whose exit code is this one's")
	cmd.Flags().BoolVar(&opt.NoBuild, "no-build", false, "take bin/ as it is")
	cmd.Flags().BoolVar(&opt.Bare, "bare", false, "install no chart: nodes join with a minimal script and stay NotReady")
	return cmd
}

func down(opt *lab.Options) *cobra.Command {
	keep := false
	cmd := &cobra.Command{
		Use:   "down",
		Short: "End the lab and remove its state; builds and images stay",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := lab.New(*opt)
			if err != nil {
				return err
			}
			return l.Down(cmd.Context(), keep)
		},
	}
	cmd.Flags().BoolVar(&keep, "keep-logs", false, "keep the log files")
	return cmd
}

func status(opt *lab.Options) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show machines, nodes and what is broken",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := lab.New(*opt)
			if err != nil {
				return err
			}
			return l.Status(cmd.Context(), cmd.OutOrStdout())
		},
	}
}

func breakCmd(opt *lab.Options) *cobra.Command {
	return &cobra.Command{
		Use:   "break FAULT...",
		Short: "Break something",
		Long:  "Breaks something and says how to undo it:\n\n" + lab.BreakHelp,
		Example: `  magpie-lab break cut shop-a
  magpie-lab break loss plant 5%
  magpie-lab break del-object a-1 link mag-vxlan`,
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := running(opt)
			if err != nil {
				return err
			}
			text, err := l.Break(cmd.Context(), args...)
			if err != nil {
				return err
			}
			cmd.Println(text)
			return nil
		},
	}
}

func heal(opt *lab.Options) *cobra.Command {
	return &cobra.Command{
		Use:   "heal [KIND...]",
		Short: "Undo every fault, or those of some kinds",
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := running(opt)
			if err != nil {
				return err
			}
			return l.Heal(cmd.Context(), args...)
		},
	}
}

func install(opt *lab.Options) *cobra.Command {
	return &cobra.Command{
		Use:       "install metrics-server",
		Short:     "Install something that not every lab needs",
		Example:   "  magpie-lab install metrics-server && magpie-lab kubectl top nodes",
		Args:      cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		ValidArgs: []string{"metrics-server"},
		RunE: func(cmd *cobra.Command, _ []string) error {
			// Attach alone would not know the repository, from which it builds.
			if _, err := running(opt); err != nil {
				return err
			}
			l, err := lab.New(*opt)
			if err != nil {
				return err
			}
			return l.MetricsServer(cmd.Context())
		},
	}
}

func entry(opt *lab.Options) *cobra.Command {
	return &cobra.Command{
		Use:   "entry unix|sni|off",
		Short: "Start a second kube-apiserver that uses another way into the O&M tunnel",
		Long: `The lab's kube-apiserver reaches nodes through the tunnel by TCP with certificates.
This starts a second one, on cloud-1, that takes another way in:

` + lab.EntryHelp + `

It opens that way at magpie-gateway first, which restarts both instances.`,
		Example: `  magpie-lab entry sni
  magpie-lab shell cloud-1 kubectl --kubeconfig /etc/kubernetes/entry/admin.conf get --raw /api/v1/nodes/a-1/proxy/healthz`,
		Args:      cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		ValidArgs: []string{"unix", "sni", "off"},
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := running(opt); err != nil {
				return err
			}
			l, err := lab.New(*opt) // Attach would not know the chart
			if err != nil {
				return err
			}
			text, err := l.Entry(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			cmd.Println(text)
			return nil
		},
	}
}

// running is the lab, which must be up.
func running(opt *lab.Options) (*lab.Lab, error) {
	l, err := lab.New(*opt)
	if err != nil {
		return nil, err
	}
	return lab.Attach(l.Dir())
}
