// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Roles of this test program as a client of Services, beside those of a flow.
// Its last argument is what to ask: "tcp/HOST:PORT", "udp/HOST:PORT" or
// "name/NAME"; for beats, several with commas between.
const (
	roleAnswers = "answers" // asks many times and prints who answered
	roleBeats   = "beats"   // asks all the time and prints when nobody did
)

const (
	dnsServer = "10.43.0.10:53" // the cluster's, which every pod is told
	beat      = 100 * time.Millisecond
	asked     = 40 // how often roleAnswers asks: of two endpoints it meets both
)

// nobody is the answer where there is none.
const nobody = "nobody"

// call asks once, over a connection of its own.
func call(what string) (string, error) {
	kind, addr, _ := strings.Cut(what, "/")
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	switch kind {
	case "tcp":
		return callTCP(ctx, addr)
	case "udp":
		return callUDP(ctx, addr)
	case "name":
		found, err := resolver().LookupHost(ctx, addr)
		if dns, ok := errors.AsType[*net.DNSError](err); ok && dns.IsNotFound {
			return nobody, nil
		}
		slices.Sort(found)
		return strings.Join(found, "+"), err
	}
	return "", fmt.Errorf("ask %q how?", what)
}

// resolver asks the cluster's DNS, as a pod's own does.
func resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, dnsServer)
	}}
}

func callTCP(ctx context.Context, addr string) (string, error) {
	dialer := &net.Dialer{Resolver: resolver()}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: dialer.DialContext}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/hostname", nil)
	if err != nil {
		return "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return string(body), err
}

func callUDP(ctx context.Context, addr string) (string, error) {
	c, err := (&net.Dialer{Resolver: resolver()}).DialContext(ctx, "udp", addr)
	if err != nil {
		return "", err
	}
	defer c.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := c.SetDeadline(deadline); err != nil {
			return "", err
		}
	}
	if _, err := io.WriteString(c, "hostname"); err != nil {
		return "", err
	}
	answer := make([]byte, 1500)
	n, err := c.Read(answer)
	return string(answer[:n]), err
}

// printAnswers asks and prints all that answered, sorted, one a line. After
// three times in vain it does not go on.
func printAnswers(what string) error {
	var who []string
	vain := 0
	for range asked {
		name, err := call(what)
		if err != nil {
			name = nobody
			vain++
		}
		if !slices.Contains(who, name) {
			who = append(who, name)
		}
		if vain == 3 || strings.HasPrefix(what, "name/") {
			break
		}
	}
	slices.Sort(who)
	_, err := fmt.Fprintln(os.Stdout, strings.Join(who, "\n"))
	return err
}

// record is what roleBeats prints of one thing it asked for.
type record struct {
	What    string
	Asked   int
	Failed  int
	Answers []string // each once
	Gaps    []gap    // longer than gapMin, with calls in vain
	Err     string   // the last
}

// gap lies between two answers.
type gap struct{ From, To time.Time }

func (g gap) String() string {
	return fmt.Sprintf("%.1f s from %s", g.To.Sub(g.From).Seconds(), g.From.Format("15:04:05.0"))
}

// gapMin is more than one call that is refused.
const gapMin = 500 * time.Millisecond

// printBeats asks for all of them at every beat until its standard input ends.
func printBeats(whats string) error {
	stop := make(chan struct{})
	go func() { io.Copy(io.Discard, os.Stdin); close(stop) }() //nolint:errcheck // its end is the signal
	time.AfterFunc(30*time.Minute, func() { os.Exit(1) })      //nolint:forbidigo // a process that was forgotten
	var all []*record
	var wait sync.WaitGroup
	for what := range strings.SplitSeq(whats, ",") {
		r := &record{What: what}
		all = append(all, r)
		wait.Go(func() { r.run(stop) })
	}
	wait.Wait()
	return json.NewEncoder(os.Stdout).Encode(all)
}

func (r *record) run(stop <-chan struct{}) {
	tick := time.NewTicker(beat)
	defer tick.Stop()
	last, vain := time.Now(), 0
	for {
		select {
		case <-stop:
			r.close(gap{last, time.Now()}, vain)
			return
		case <-tick.C:
		}
		r.Asked++
		who, err := call(r.What)
		if err != nil || who == nobody {
			vain++
			r.Err = fmt.Sprint(err)
			continue
		}
		if !slices.Contains(r.Answers, who) {
			r.Answers = append(r.Answers, who)
		}
		r.close(gap{last, time.Now()}, vain)
		last, vain = time.Now(), 0
	}
}

// close ends a time without an answer. One in which no call failed is not
// noted: the machine was busy.
func (r *record) close(g gap, vain int) {
	r.Failed += vain
	if vain > 0 && g.To.Sub(g.From) > gapMin {
		r.Gaps = append(r.Gaps, g)
	}
}

// at is the line that runs this program in a role inside the pod's namespace;
// without one, on the machine itself.
func (p pod) at(role, what string) []string {
	words := []string{"shell", p.node, "/usr/bin/env", flowRole + "=" + role}
	if p.ns != "" {
		words = append(words, "/usr/bin/nsenter", "--net=/run/netns/"+p.ns)
	}
	return labVerb(append(words, flowProgram, what)...)
}

// answers are all that answer the pod, with blanks between.
func (p pod) answers(t *testing.T, what string) string {
	t.Helper()
	return strings.Join(strings.Fields(run(t, p.at(roleAnswers, what)...)), " ")
}

// want waits until exactly those answer the pod, and returns how long that
// took.
func (p pod) want(t *testing.T, patience time.Duration, what string, who ...string) time.Duration {
	t.Helper()
	slices.Sort(who)
	begin := time.Now()
	within(t, patience, func() error {
		if got := p.answers(t, what); got != strings.Join(who, " ") {
			return fmt.Errorf("on %s, %s is answered by %s, want %v", p.node, what, got, who)
		}
		return nil
	})
	return time.Since(begin)
}

// beats is a client that asks all the time.
type beats struct {
	stdin io.Closer
	out   bytes.Buffer
	errs  strings.Builder
	wait  func() error
}

// beats starts one in the pod; it ends with the test if nobody ends it before.
func (p pod) beats(t *testing.T, whats ...string) *beats {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	b := &beats{}
	cmd := command(ctx, p.at(roleBeats, strings.Join(whats, ","))...)
	cmd.Stdout, cmd.Stderr = &b.out, &b.errs
	var err error
	if b.stdin, err = cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	b.wait = cmd.Wait
	return b
}

// end ends it and returns what it saw.
func (b *beats) end(t *testing.T) []record {
	t.Helper()
	b.stdin.Close()
	if err := b.wait(); err != nil {
		t.Fatalf("the client: %v\n%s", err, b.errs.String())
	}
	var all []record
	if err := json.Unmarshal(b.out.Bytes(), &all); err != nil {
		t.Fatalf("%v in %s", err, b.out.String())
	}
	return all
}
