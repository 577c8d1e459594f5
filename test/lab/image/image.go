// SPDX-License-Identifier: Apache-2.0

package image

import (
	"cmp"
	"compress/gzip"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

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

// Write writes the image to dir unless it is there, and removes all but the
// newest tars of the same image.
func Write(dir string, img Image) (Tar, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return Tar{}, fmt.Errorf("make image folder: %w", err)
	}
	// What an interrupted run left.
	olds, _ := filepath.Glob(filepath.Join(dir, ".new-*"))
	for _, f := range olds {
		if fi, err := os.Stat(f); err == nil && time.Since(fi.ModTime()) > time.Hour {
			_ = os.RemoveAll(f)
		}
	}
	id := Layer{{Path: "config", Text: "3" + img.Ref + strings.Join(append(img.Entrypoint, img.Cmd...), " ")}}
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
	prune(dir, short)
	return t, nil
}

// keep is how many tars of one image stay: another clone's lab may be about to
// import the one before.
const keep = 3

// prune removes the oldest tars of an image.
func prune(dir, short string) {
	files, _ := filepath.Glob(filepath.Join(dir, short+"-*.tar"))
	age := func(f string) int64 {
		if fi, err := os.Stat(f); err == nil {
			return fi.ModTime().UnixNano()
		}
		return 0
	}
	slices.SortFunc(files, func(a, b string) int { return cmp.Compare(age(b), age(a)) })
	for _, f := range files[min(keep, len(files)):] {
		_ = os.Remove(f)
	}
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
		layer, err := tarball.LayerFromFile(part, tarball.WithCompressionLevel(gzip.BestSpeed))
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
