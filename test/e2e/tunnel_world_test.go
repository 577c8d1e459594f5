// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// image of the pods of these tests: one static prober and a shell. Its tag is
// the lab's.
func image(t *testing.T) string {
	t.Helper()
	out := on(t, "cloud-1", "ctr -n k8s.io images ls -q | grep ^magpie.lab/agnhost: | head -1")
	return strings.TrimSpace(out)
}

// subject is the pod of these tests on a node: it serves HTTP on 8080, prints a
// number ten times a second, and has a container that has died once: it is not
// ready before.
func subject(node string) string { return "subject-" + node }

const subjects = `apiVersion: v1
kind: Pod
metadata: {name: subject-NODE, labels: {app: subject, node: NODE}}
spec:
  nodeName: NODE
  terminationGracePeriodSeconds: 0
  containers:
  - name: web
    image: IMAGE
    imagePullPolicy: Never
    args: [netexec, --http-port=8080, --udp-port=8081]
    readinessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1}
  - name: ticks
    image: IMAGE
    imagePullPolicy: Never
    command: [sh, -c, "i=0; while true; do i=$((i+1)); echo tick $i; sleep 0.1; done"]
  - name: again
    image: IMAGE
    imagePullPolicy: Never
    command: [sh, -c, "if [ -e /state/died ]; then echo second life; touch /state/second; sleep 100000; fi; echo first life; touch /state/died; exit 3"]
    readinessProbe: {exec: {command: [sh, -c, "[ -e /state/second ]"]}, periodSeconds: 1}
    volumeMounts: [{name: state, mountPath: /state}]
  volumes: [{name: state, emptyDir: {}}]
---
`

// prepareSubjects makes a subject on every node that has none, and waits for
// all. They stay for the next test.
func prepareSubjects(t *testing.T) {
	t.Helper()
	var all strings.Builder
	for _, n := range workers() {
		all.WriteString(strings.NewReplacer("NODE", n, "IMAGE", image(t)).Replace(subjects))
	}
	apply(t, all.String())
	kubectl(t, "wait", "pod", "-l", "app=subject", "--for=condition=Ready", "--timeout=60s")
}

// apply gives manifests to the cluster.
func apply(t *testing.T, manifests string) {
	t.Helper()
	cmd := command(t.Context(), labVerb("kubectl", "apply", "-f", "-")...)
	cmd.Stdin = strings.NewReader(manifests)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("apply: %v\n%s", err, out)
	}
}

// kubectlPath is the lab's kubectl with its kubeconfig: what a test needs to
// kill or to give a terminal must not be a child of another program.
func kubectlPath(t *testing.T) []string {
	t.Helper()
	config := strings.TrimSpace(lab(t, "kubeconfig"))
	tool := strings.TrimSpace(run(t, "/bin/sh", "-c", `ls "${MAGPIE_CACHE:-$HOME/.cache/magpie}"/bin/kubectl-v* | grep -v tmp | tail -1`))
	return []string{tool, "--kubeconfig", config}
}

// process is a kubectl that runs beside the test; its lines arrive on a channel
// that is closed at its end.
type process struct {
	cmd   *exec.Cmd
	lines chan string
	done  chan error
	errs  *strings.Builder
}

// start runs kubectl in the background until the test ends.
func start(t *testing.T, words ...string) *process {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	argv := append(kubectlPath(t), words...)
	p := &process{cmd: exec.CommandContext(ctx, argv[0], argv[1:]...), lines: make(chan string, 1024), done: make(chan error, 1), errs: &strings.Builder{}}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.cmd.Stderr = p.errs
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		scan := bufio.NewScanner(out)
		for scan.Scan() {
			select {
			case p.lines <- scan.Text():
			default: // a test that reads no more stalls nobody
			}
		}
		close(p.lines)
		p.done <- p.cmd.Wait()
	}()
	t.Cleanup(cancel)
	return p
}

// next returns the next line that begins with the prefix.
func (p *process) next(t *testing.T, prefix string) string {
	t.Helper()
	const patience = 10 * time.Second
	late := time.After(patience)
	for {
		select {
		case line, ok := <-p.lines:
			if !ok {
				t.Fatalf("%s ended: %v\n%s", p.cmd.Args[3], <-p.done, p.errs)
			}
			if strings.HasPrefix(line, prefix) {
				return line
			}
		case <-late:
			t.Fatalf("no line %q within %v", prefix, patience)
		}
	}
}

// ended returns how long the process still ran.
func (p *process) ended(t *testing.T, patience time.Duration) time.Duration {
	t.Helper()
	begin := time.Now()
	select {
	case err := <-p.done:
		p.done <- err
		return time.Since(begin)
	case <-time.After(patience):
		t.Errorf("%v still hangs after %v", p.cmd.Args[3:], patience)
		return patience
	}
}

// alive reports that the process runs and that lines still come.
func (p *process) alive(t *testing.T) bool {
	t.Helper()
	for len(p.lines) > 0 { // what came before
		<-p.lines
	}
	select {
	case _, ok := <-p.lines:
		return ok
	case <-time.After(3 * time.Second):
		return false
	}
}

// withInput runs kubectl with standard input and environment, and returns what
// it printed, both ways.
func withInput(t *testing.T, input string, env []string, words ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	argv := append(kubectlPath(t), words...)
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdin, cmd.Env = strings.NewReader(input), append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		err = fmt.Errorf("it hangs: %w", err)
	}
	return string(out), err
}
