// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// terminal is the far end of a pseudo terminal: the person in front of it.
type terminal struct {
	*os.File
	mu   sync.Mutex
	seen bytes.Buffer
}

// newTerminal returns both ends of a terminal of that size.
func newTerminal(t *testing.T, rows, columns uint16) (person *terminal, tty *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	fd := int(master.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	person = &terminal{File: master}
	person.resize(t, rows, columns)
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := master.Read(buf)
			if err != nil {
				return
			}
			person.mu.Lock()
			person.seen.Write(buf[:n])
			person.mu.Unlock()
		}
	}()
	t.Cleanup(func() { master.Close(); tty.Close() })
	return person, tty
}

func (p *terminal) resize(t *testing.T, rows, columns uint16) {
	t.Helper()
	if err := unix.IoctlSetWinsize(int(p.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: columns}); err != nil {
		t.Fatal(err)
	}
}

// sees waits for a text on the screen.
func (p *terminal) sees(t *testing.T, text string) {
	t.Helper()
	within(t, 15*time.Second, func() error {
		p.mu.Lock()
		defer p.mu.Unlock()
		if !strings.Contains(p.seen.String(), text) {
			return fmt.Errorf("%q is not on the screen:\n%s", text, p.seen.String())
		}
		return nil
	})
}

func (p *terminal) types(t *testing.T, text string) {
	t.Helper()
	if _, err := p.WriteString(text); err != nil {
		t.Fatal(err)
	}
}

// TestKubectlTerminal opens a shell in a pod at every site, in a terminal whose
// size changes, by both protocols that kubectl speaks.
func TestKubectlTerminal(t *testing.T) {
	prepareSubjects(t)
	for _, node := range []string{"a-1", "b-1", "c-1"} {
		for _, websocket := range []string{"true", "false"} {
			t.Run(node+"/websocket="+websocket, func(t *testing.T) {
				person, tty := newTerminal(t, 33, 101)
				argv := append(kubectlPath(t), "exec", "-it", subject(node), "-c", "web", "--", "sh")
				cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
				cmd.Env = append(os.Environ(), "KUBECTL_REMOTE_COMMAND_WEBSOCKETS="+websocket, "TERM=dumb")
				cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
				cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				// The size may arrive a moment after the shell.
				person.types(t, "until stty size | grep '33 101'; do sleep 0.1; done; echo first-$((1+1))\n")
				person.sees(t, "first-2")
				person.resize(t, 50, 120)
				person.types(t, "until stty size | grep '50 120'; do sleep 0.1; done; echo second-$((1+1))\n")
				person.sees(t, "second-2")
				person.types(t, "sleep 1000\n")
				time.Sleep(300 * time.Millisecond)
				person.types(t, "\x03") // Ctrl-C ends the sleep, not the shell
				person.types(t, "echo third-$((1+1)); exit 5\n")
				person.sees(t, "third-2")
				if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 5 {
					t.Errorf("exit: %v", err)
				}
			})
		}
	}
}
