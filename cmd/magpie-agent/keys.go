// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/ecdh"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// keyring is the node's WireGuard key, kept on disk so that a restart costs no
// peer a new key. It implements kernel.KeySource.
type keyring struct {
	private *ecdh.PrivateKey
}

// openKeyring reads the key from path or makes one. A file that does not hold
// a key is an error, not a reason to make another: every peer would have to
// learn it, and the old one may be in a backup.
func openKeyring(path string) (*keyring, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return makeKeyring(path)
	}
	if err != nil {
		return nil, fmt.Errorf("read link key: %w", err)
	}
	key, err := parseKey(strings.TrimSpace(string(b)))
	if err != nil {
		return nil, fmt.Errorf("link key %s is damaged (restore it, or delete it to make a new one): %w", path, err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, fmt.Errorf("protect link key: %w", err)
	}
	return &keyring{private: key}, nil
}

func makeKeyring(path string) (*keyring, error) {
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make link key: %w", err)
	}
	if err := writeFile(path, []byte(encode(key.Bytes())+"\n"), 0o600); err != nil {
		return nil, fmt.Errorf("save link key: %w", err)
	}
	return &keyring{private: key}, nil
}

func parseKey(text string) (*ecdh.PrivateKey, error) {
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, err
	}
	return ecdh.X25519().NewPrivateKey(raw)
}

func encode(raw []byte) string { return base64.StdEncoding.EncodeToString(raw) }

// Public returns the base64 public key, which peers may know.
func (k *keyring) Public() string { return encode(k.private.PublicKey().Bytes()) }

// PrivateKey returns the base64 private key that belongs to a public one.
func (k *keyring) PrivateKey(public string) (string, bool) {
	if public != k.Public() {
		return "", false
	}
	return encode(k.private.Bytes()), true
}

// Preshared returns the pre-shared key of that name. There are none yet.
func (k *keyring) Preshared(string) ([32]byte, bool) { return [32]byte{}, false }

// writeFile replaces a file so that a power cut at any moment leaves the old
// or the new content: written beside it, synced, renamed, directory synced.
func writeFile(path string, data []byte, mode os.FileMode) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // after the rename there is nothing left to remove
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
