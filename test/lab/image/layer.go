// SPDX-License-Identifier: Apache-2.0

package image

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// File is one entry of a layer. Exactly one of Source, Link and Text is used;
// with none of them it is a folder.
type File struct {
	Path   string // in the image, without leading slash
	Source string // regular file of the host to copy
	Link   string // target of a symbolic link
	Text   string // content
	Mode   int64  // 0: 0755
}

// Layer is a set of files.
type Layer []File

func (l Layer) sorted() Layer {
	out := slices.Clone(l)
	slices.SortFunc(out, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	return slices.CompactFunc(out, func(a, b File) bool { return a.Path == b.Path })
}

// hash is over names and contents.
func (l Layer) hash() (string, error) {
	h := sha256.New()
	for _, f := range l.sorted() {
		fmt.Fprintf(h, "%s\x00%s\x00%s\x00%o\x00", f.Path, f.Link, f.Text, f.Mode)
		if f.Source == "" {
			continue
		}
		in, err := os.Open(f.Source)
		if err != nil {
			return "", fmt.Errorf("hash layer: %w", err)
		}
		_, err = io.Copy(h, in)
		in.Close()
		if err != nil {
			return "", fmt.Errorf("hash layer: %w", err)
		}
	}
	return hex.EncodeToString(h.Sum(nil))[:12], nil
}

// write writes the layer as a tar.
func (l Layer) write(name string) error {
	out, err := os.Create(name)
	if err != nil {
		return fmt.Errorf("write layer: %w", err)
	}
	defer out.Close()
	w := tar.NewWriter(out)
	for _, f := range l.sorted() {
		if err := add(w, f); err != nil {
			return fmt.Errorf("write layer: %s: %w", f.Path, err)
		}
	}
	if err := w.Close(); err != nil {
		return fmt.Errorf("write layer: %w", err)
	}
	return nil
}

func add(w *tar.Writer, f File) error {
	h := &tar.Header{Name: f.Path, Mode: f.Mode, Format: tar.FormatPAX}
	if h.Mode == 0 {
		h.Mode = 0o755
	}
	switch {
	case f.Link != "":
		h.Typeflag, h.Linkname = tar.TypeSymlink, f.Link
		return w.WriteHeader(h)
	case f.Text != "":
		h.Typeflag, h.Size = tar.TypeReg, int64(len(f.Text))
		if err := w.WriteHeader(h); err != nil {
			return err
		}
		_, err := io.WriteString(w, f.Text)
		return err
	case f.Source == "":
		h.Typeflag, h.Name = tar.TypeDir, f.Path+"/"
		return w.WriteHeader(h)
	}
	in, err := os.Open(f.Source)
	if err != nil {
		return err
	}
	defer in.Close()
	fi, err := in.Stat()
	if err != nil {
		return err
	}
	h.Typeflag, h.Size = tar.TypeReg, fi.Size()
	if err := w.WriteHeader(h); err != nil {
		return err
	}
	_, err = io.Copy(w, in)
	return err
}
