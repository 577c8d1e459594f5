// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/magpie-edge/magpie/test/lab/fetch"
	"github.com/magpie-edge/magpie/test/lab/image"
	"github.com/magpie-edge/magpie/test/lab/machine"
	"github.com/magpie-edge/magpie/test/lab/world"
)

// Names of the lab's images.
const (
	AgnhostImage   = "magpie.lab/agnhost:" + fetch.Kubernetes
	CoreDNSImage   = "magpie.lab/coredns:" + fetch.CoreDNS
	KubeProxyImage = "magpie.lab/kube-proxy:" + fetch.Kubernetes
	MagpieImage    = "docker.io/library/magpie:dev" // "magpie:dev" in a pod
)

// productBinaries go into MagpieImage, in /usr/local/bin.
var productBinaries = []string{"magpie-agent", "magpie-cni", "magpie-manager", "magpie-gateway", "magpiectl"}

// nodeImage is an image and where it is needed.
type nodeImage struct {
	image.Tar
	CloudOnly bool
}

// Images writes the tars of all images that changed.
func (l *Lab) Images(ctx context.Context) ([]nodeImage, error) {
	done := l.opt.Show.Step("write images", 0, 0)
	out, err := l.writeImages(ctx)
	done(err)
	return out, err
}

func (l *Lab) writeImages(ctx context.Context) ([]nodeImage, error) {
	pause, err := l.buildPause(ctx)
	if err != nil {
		return nil, err
	}
	tools, err := image.HostTools(ctx)
	if err != nil {
		return nil, err
	}
	var product image.Layer
	for _, name := range productBinaries {
		if _, err := os.Stat(l.product(name)); err != nil {
			l.opt.Show.Line("note: %s is not built yet, %s goes without it", name, MagpieImage)
			continue
		}
		product = append(product, image.File{Path: "usr/local/bin/" + name, Source: l.product(name)})
	}
	list := []struct {
		image.Image
		cloudOnly bool
	}{
		{Image: image.Image{Ref: pauseImage, Layers: []image.Layer{{{Path: "pause", Source: pause}}}, Entrypoint: []string{"/pause"}}},
		{Image: image.Image{
			Ref: AgnhostImage, Layers: []image.Layer{image.Busybox(), {{Path: "agnhost", Source: l.Tool("agnhost")}}},
			Entrypoint: []string{"/agnhost"}, Cmd: []string{"pause"},
		}},
		{Image: image.Image{
			Ref: CoreDNSImage, Layers: []image.Layer{{{Path: "coredns", Source: l.Tool("coredns")}}},
			Entrypoint: []string{"/coredns"},
		}},
		{Image: image.Image{
			Ref: KubeProxyImage, Layers: []image.Layer{tools, {{Path: "usr/local/bin/kube-proxy", Source: l.Tool("kube-proxy")}}},
			Entrypoint: []string{"/usr/local/bin/kube-proxy"},
		}},
		{Image: image.Image{Ref: MagpieImage, Layers: []image.Layer{tools, product}}},
	}
	var out []nodeImage
	for _, i := range list {
		t, err := image.Write(filepath.Join(l.opt.Cache, "images"), i.Image)
		if err != nil {
			return nil, err
		}
		out = append(out, nodeImage{Tar: t, CloudOnly: i.cloudOnly})
	}
	return out, nil
}

func (l *Lab) buildPause(ctx context.Context) (string, error) {
	out := filepath.Join(l.opt.Cache, "bin", "pause-1")
	if _, err := os.Stat(out); err == nil {
		return out, nil
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", out+".tmp", "./test/lab/pause")
	cmd.Dir, cmd.Env = l.opt.Repo, append(os.Environ(), "CGO_ENABLED=0")
	if msg, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build pause: %s: %w", msg, err)
	}
	if err := os.Rename(out+".tmp", out); err != nil {
		return "", fmt.Errorf("build pause: %w", err)
	}
	return out, nil
}

// importImages gives every node the images that it does not have.
func (u *upping) importImages(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(2) // one disk
	for _, h := range workers() {
		g.Go(func() error {
			for _, img := range u.images {
				if img.CloudOnly && h.Type != "cloud" {
					continue
				}
				if err := u.importImage(ctx, h.Name, img.Tar); err != nil {
					return err
				}
				if img.Ref == MagpieImage {
					to := strings.TrimSuffix(MagpieImage, "dev") + u.productTag()
					if _, err := u.Exec(ctx, h.Name, "ctr", "--namespace=k8s.io", "images", "tag", "--force", MagpieImage, to); err != nil {
						return err
					}
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// productTag is a tag of the product's image that changes with its content.
func (u *upping) productTag() string {
	for _, img := range u.images {
		if img.Ref == MagpieImage {
			name := strings.TrimSuffix(filepath.Base(img.File), ".tar")
			return "dev-" + name[strings.LastIndexByte(name, '-')+1:]
		}
	}
	return "dev"
}

// importImage imports one image unless the node's mark says that it has it.
func (l *Lab) importImage(ctx context.Context, node string, t image.Tar) error {
	dir := machine.Spec{Name: node, Lab: l.dir}.Dir()
	mark := filepath.Join(dir, "var/lib/lab-images", strings.NewReplacer("/", "_").Replace(t.Ref))
	if b, err := os.ReadFile(mark); err == nil && string(b) == filepath.Base(t.File) {
		return nil
	}
	in, err := os.Open(t.File)
	if err != nil {
		return fmt.Errorf("open image: %w", err)
	}
	defer in.Close()
	cmd, err := l.Command(ctx, node, "ctr", "--namespace=k8s.io", "images", "import", "--no-unpack=false", "-")
	if err != nil {
		return err
	}
	cmd.Stdin = in
	if _, err := output(cmd); err != nil {
		return fmt.Errorf("import %s on %s (see %s): %w", t.Ref, node, l.LogFile(node, "containerd"), err)
	}
	return write(mark, filepath.Base(t.File), 0o644)
}

// workers are the machines that become Kubernetes nodes.
func workers() []world.Host {
	var out []world.Host
	for _, h := range world.Hosts() {
		if h.Type != "control-plane" {
			out = append(out, h)
		}
	}
	return out
}
