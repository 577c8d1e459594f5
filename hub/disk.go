// SPDX-License-Identifier: Apache-2.0

package hub

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
)

// A truth on disk is a line of JSON, the objects in protobuf with the length of
// each before it, and the SHA-256 of all that.

// formatVersion changes when a reader of the last one could misread a file.
const formatVersion = 1

// heading is the first line of a file.
type heading struct {
	Format  int    `json:"format"`
	Cluster string `json:"cluster"`
	Kind    string `json:"kind"`
	Objects int    `json:"objects"`
}

// record is an object that can be written; all kinds of the hub can.
type record interface {
	Size() int
	MarshalToSizedBuffer([]byte) (int, error)
	Unmarshal([]byte) error
}

// writeTruth replaces a file in one moment: whatever happens meanwhile, the old
// truth is there whole, or the new one. It returns the size in bytes.
func writeTruth(path string, h heading, objects []Object) (int64, error) {
	temp := path + ".new" // one name, so that power cuts leave one at most
	size, err := writeWhole(temp, h, objects)
	if err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil {
		return 0, errors.Join(err, remove(temp))
	}
	return size, syncDir(filepath.Dir(path))
}

func writeWhole(path string, h heading, objects []Object) (int64, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, err
	}
	sum := sha256.New()
	out := bufio.NewWriterSize(io.MultiWriter(f, sum), 1<<16)
	err = errors.Join(encode(out, h, objects), out.Flush())
	if err == nil {
		_, err = f.Write(sum.Sum(nil))
	}
	var size int64
	if info, statErr := f.Stat(); statErr == nil {
		size = info.Size()
	}
	return size, errors.Join(err, f.Sync(), f.Close())
}

func encode(w io.Writer, h heading, objects []Object) error {
	line, err := json.Marshal(h)
	if err != nil {
		return fmt.Errorf("encode %s: %w", h.Kind, err)
	}
	if _, err = w.Write(append(line, '\n')); err != nil {
		return err
	}
	var buf []byte
	for _, o := range objects {
		r, ok := o.(record)
		if !ok {
			return fmt.Errorf("encode %s %s: %T has no protobuf", h.Kind, keyOf(o), o)
		}
		n := r.Size()
		buf = append(binary.AppendUvarint(buf[:0], uint64(n)), make([]byte, n)...)
		if _, err := r.MarshalToSizedBuffer(buf[len(buf)-n:]); err != nil {
			return fmt.Errorf("encode %s %s: %w", h.Kind, keyOf(o), err)
		}
		if _, err := w.Write(buf); err != nil {
			return err
		}
	}
	return nil
}

// readTruth reads what writeTruth wrote. Nothing of a file is used before all
// of it has been compared with its sum.
func readTruth(path string, k Kind, cluster string) ([]Object, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := verify(f, sha256.New())
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if _, err = f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	in := bufio.NewReaderSize(io.LimitReader(f, size), 1<<16)
	h, err := readHeading(in)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if h.Format != formatVersion || h.Kind != k.Resource || h.Cluster != cluster {
		return nil, fmt.Errorf("read %s: it holds %s of cluster %q in format %d", path, h.Kind, h.Cluster, h.Format)
	}
	objects, err := decode(in, k, size)
	if err == nil && len(objects) != h.Objects {
		err = fmt.Errorf("%d objects, the heading says %d", len(objects), h.Objects)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return objects, nil
}

// verify compares a file with the sum at its end and returns the size of the
// rest.
func verify(f *os.File, sum hash.Hash) (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	size := info.Size() - int64(sum.Size())
	if size < 0 {
		return 0, io.ErrUnexpectedEOF
	}
	if _, err = io.CopyN(sum, f, size); err != nil {
		return 0, err
	}
	want := make([]byte, sum.Size())
	if _, err = io.ReadFull(f, want); err != nil {
		return 0, err
	}
	if !bytes.Equal(sum.Sum(nil), want) {
		return 0, errors.New("it is damaged or cut short")
	}
	return size, nil
}

func readHeading(in *bufio.Reader) (heading, error) {
	var h heading
	line, err := in.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &h)
	}
	return h, err
}

// decode reads objects until the end; size is an upper bound for each.
func decode(in *bufio.Reader, k Kind, size int64) ([]Object, error) {
	var out []Object
	var buf []byte
	for {
		n, err := binary.ReadUvarint(in)
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil || n > uint64(size) {
			return nil, fmt.Errorf("object %d: length %d: %w", len(out), n, errors.Join(err, io.ErrUnexpectedEOF))
		}
		if uint64(cap(buf)) < n {
			buf = make([]byte, n)
		}
		buf = buf[:n]
		if _, err := io.ReadFull(in, buf); err != nil {
			return nil, fmt.Errorf("object %d: %w", len(out), err)
		}
		o := k.empty()
		if r, ok := o.(record); !ok || r.Unmarshal(buf) != nil {
			return nil, fmt.Errorf("object %d is no %s", len(out), k.Name)
		}
		out = append(out, o)
	}
}

func remove(path string) error {
	err := os.Remove(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
