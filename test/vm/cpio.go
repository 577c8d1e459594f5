// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// archive writes an initramfs: a cpio archive in the format "newc". A name is
// written once, and its folders before it. After the first error it writes nothing
// more; close returns it.
// Source: Documentation/driver-api/early-userspace/buffer-format.rst.
type archive struct {
	file *os.File
	out  *bufio.Writer
	seen map[string]bool
	inos int
	err  error
}

func newArchive(name string) (*archive, error) {
	f, err := os.Create(name)
	if err != nil {
		return nil, err
	}
	return &archive{file: f, out: bufio.NewWriterSize(f, 1<<20), seen: map[string]bool{"/": true, ".": true}}, nil
}

func (a *archive) close() error {
	a.entry("TRAILER!!!", 0, 0, nil)
	if a.err == nil {
		a.err = a.out.Flush()
	}
	if err := a.file.Close(); a.err == nil {
		a.err = err
	}
	return a.err
}

// entry writes one member of size bytes.
func (a *archive) entry(name string, mode uint32, size int64, data io.Reader) {
	if a.err != nil {
		return
	}
	a.inos++
	if size >= 1<<32 {
		a.err = fmt.Errorf("%s: too large for an initramfs", name)
		return
	}
	head := fmt.Sprintf("070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00",
		a.inos, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, len(name)+1, 0, name)
	a.write([]byte(head))
	a.pad(len(head))
	if data != nil && a.err == nil {
		_, a.err = io.CopyN(a.out, data, size)
	}
	a.pad(int(size % 4))
}

func (a *archive) pad(n int) { a.write(make([]byte, (4-n%4)%4)) }

func (a *archive) write(b []byte) {
	if a.err == nil {
		_, a.err = a.out.Write(b)
	}
}

// fresh notes the name and writes its folders; false if it is there already.
func (a *archive) fresh(name string) bool {
	name = path.Clean(name)
	if a.seen[name] {
		return false
	}
	a.seen[name] = true
	a.dir(path.Dir(name))
	return true
}

func (a *archive) dir(name string) {
	if a.fresh(name) {
		a.entry(name[1:], unix.S_IFDIR|0o755, 0, nil)
	}
}

func (a *archive) text(name string, data []byte) {
	if a.fresh(name) {
		a.entry(name[1:], unix.S_IFREG|0o644, int64(len(data)), bytes.NewReader(data))
	}
}

func (a *archive) symlink(name, to string) {
	if a.fresh(name) {
		a.entry(name[1:], unix.S_IFLNK|0o777, int64(len(to)), bytes.NewReader([]byte(to)))
	}
}

// copy puts a file or a whole folder of the host at name. Symbolic links are
// copied as such.
func (a *archive) copy(name, from string, skip func(rel string) bool) {
	if a.err != nil {
		return
	}
	a.err = filepath.WalkDir(from, func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, p)
		if err != nil {
			return err
		}
		if skip != nil && skip(rel) {
			if e.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		return a.one(path.Join(name, rel), p, e)
	})
}

func (a *archive) one(name, from string, e fs.DirEntry) error {
	switch {
	case e.IsDir():
		a.dir(name)
	case e.Type()&fs.ModeSymlink != 0:
		to, err := os.Readlink(from)
		if err != nil {
			return err
		}
		a.symlink(name, to)
	case e.Type().IsRegular() && a.fresh(name):
		f, err := os.Open(from)
		if err != nil {
			return err
		}
		defer f.Close()
		info, err := f.Stat()
		if err != nil {
			return err
		}
		a.entry(name[1:], unix.S_IFREG|uint32(info.Mode().Perm()), info.Size(), f)
	}
	return a.err
}
