// SPDX-License-Identifier: Apache-2.0

package disk_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/magpie-edge/magpie/cni/disk"
)

func TestJournal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state", "ledger.db")
	j, err := disk.OpenJournal(path)
	if err != nil {
		t.Fatal(err)
	}
	expect := func(want string) {
		t.Helper()
		got, err := j.Load()
		if err != nil || string(got) != want {
			t.Errorf("got %q (%v), want %q", got, err, want)
		}
	}
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	expect("")
	do(j.Append([]byte("a\n")))
	do(j.Append([]byte("b\n")))
	expect("a\nb\n")
	do(j.Replace([]byte("c\n")))
	do(j.Append([]byte("d\n"))) // into the new file
	expect("c\nd\n")
	do(j.Close())
	if j, err = disk.OpenJournal(path); err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	expect("c\nd\n")
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	alone(t, filepath.Dir(path), 1)
}

// alone shows that no temporary file was left.
func alone(t *testing.T, dir string, want int) {
	t.Helper()
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != want {
		t.Errorf("files %v (%v), want %d", files, err, want)
	}
}

func TestInstaller(t *testing.T) {
	dir := t.TempDir()
	i := disk.Installer{
		Source: filepath.Join(dir, "source"), BinDir: filepath.Join(dir, "bin"), ConfDir: filepath.Join(dir, "conf"),
		Program: "magpie-cni", ConfName: "05-magpie.conflist",
	}
	if _, err := i.Binary(); err == nil {
		t.Error("installed from nowhere")
	}
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(i.Source, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put := func(what string, f func() (bool, error), want bool) {
		t.Helper()
		if changed, err := f(); err != nil || changed != want {
			t.Errorf("%s: changed %v (%v), want %v", what, changed, err, want)
		}
	}
	config := func() (bool, error) { return i.Config([]byte("{}")) }
	write("one")
	put("binary", i.Binary, true)
	put("binary again", i.Binary, false)
	put("config", config, true)
	put("config again", config, false)
	target := filepath.Join(i.BinDir, i.Program)
	// A program that is running must not stop an upgrade.
	busy, err := os.Open(target)
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	write("two")
	put("upgrade", i.Binary, true)
	if b, err := os.ReadFile(target); string(b) != "two" {
		t.Errorf("installed %q (%v)", b, err)
	}
	if b := make([]byte, 3); true {
		if _, err := busy.Read(b); err != nil || string(b) != "one" {
			t.Errorf("the running program changed under its feet: %q (%v)", b, err)
		}
	}
	if st, err := os.Stat(target); err != nil || st.Mode().Perm() != 0o755 {
		t.Errorf("mode %v (%v)", st.Mode(), err)
	}
	alone(t, i.BinDir, 1)
	for range 2 {
		if err := i.Remove(); err != nil {
			t.Error(err)
		}
	}
	alone(t, i.BinDir, 0)
	alone(t, i.ConfDir, 0)
}
