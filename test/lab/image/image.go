// SPDX-License-Identifier: Apache-2.0

package image

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/google/go-containerregistry/pkg/compression"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// Image is what to put in a tar.
type Image struct {
	Ref        string // full name and tag
	Layers     []Layer
	Entrypoint []string
	Cmd        []string
}

// Tar is a written image.
type Tar struct {
	Ref  string
	File string // its base name is the content's identity
}

// Write writes the image to dir unless it is there, and removes older tars of
// the same image.
func Write(dir string, img Image) (Tar, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return Tar{}, fmt.Errorf("make image folder: %w", err)
	}
	id := Layer{{Path: "config", Text: img.Ref + strings.Join(append(img.Entrypoint, img.Cmd...), " ")}}
	for i, l := range img.Layers {
		h, err := l.hash()
		if err != nil {
			return Tar{}, fmt.Errorf("image %s: %w", img.Ref, err)
		}
		id = append(id, File{Path: fmt.Sprint("layer", i), Text: h})
	}
	h, err := id.hash()
	if err != nil {
		return Tar{}, err
	}
	short := strings.NewReplacer("/", "_", ":", "_").Replace(img.Ref)
	t := Tar{Ref: img.Ref, File: filepath.Join(dir, short+"-"+h+".tar")}
	if _, err := os.Stat(t.File); err == nil {
		return t, nil
	}
	if err := write(dir, t.File, img); err != nil {
		return Tar{}, fmt.Errorf("write image %s: %w", img.Ref, err)
	}
	old, _ := filepath.Glob(filepath.Join(dir, short+"-*.tar"))
	for _, f := range old {
		if f != t.File {
			_ = os.Remove(f)
		}
	}
	return t, nil
}

func write(dir, file string, img Image) error {
	tmp, err := os.MkdirTemp(dir, ".new-")
	if err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	defer os.RemoveAll(tmp)
	out := empty.Image
	for i, l := range img.Layers {
		part := filepath.Join(tmp, fmt.Sprint(i))
		if err := l.write(part); err != nil {
			return err
		}
		layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return os.Open(part) },
			tarball.WithCompression(compression.None))
		if err != nil {
			return fmt.Errorf("make layer: %w", err)
		}
		if out, err = mutate.AppendLayers(out, layer); err != nil {
			return fmt.Errorf("add layer: %w", err)
		}
	}
	cfg, err := out.ConfigFile()
	if err != nil {
		return fmt.Errorf("read config: %w", err)
	}
	cfg = cfg.DeepCopy()
	cfg.OS, cfg.Architecture = "linux", runtime.GOARCH
	cfg.Config.Entrypoint, cfg.Config.Cmd = img.Entrypoint, img.Cmd
	cfg.Config.Env = []string{"PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	if out, err = mutate.ConfigFile(out, cfg); err != nil {
		return fmt.Errorf("set config: %w", err)
	}
	ref, err := name.NewTag(img.Ref)
	if err != nil {
		return fmt.Errorf("parse name: %w", err)
	}
	done := filepath.Join(tmp, "image.tar")
	if err := tarball.WriteToFile(done, ref, out); err != nil {
		return fmt.Errorf("write tar: %w", err)
	}
	return os.Rename(done, file)
}
