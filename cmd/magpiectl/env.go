// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// formatJSON is the value of --output for programs.
const formatJSON = "json"

// errNo ends a command whose answer is no: the report has been printed, the
// exit status says the rest.
var errNo = errors.New("the answer is no")

// env is everything of the outside a command may touch. main makes one; tests
// make others.
type env struct {
	in       io.Reader
	out, err io.Writer
	// colour is true when out is a terminal that wants it.
	colour bool
	now    func() time.Time

	kubeconfig string // --kubeconfig
	context    string // --context
	format     string // --output: "" or formatJSON
}

// config returns how to reach the API server, by the rules of kubectl.
func (e *env) config() (*rest.Config, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = e.kubeconfig
	over := &clientcmd.ConfigOverrides{CurrentContext: e.context}
	c, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, over).ClientConfig()
	if clientcmd.IsEmptyConfig(err) {
		return nil, errors.New("no kubeconfig: name one with --kubeconfig or $KUBECONFIG")
	}
	if err != nil {
		return nil, fmt.Errorf("load kubeconfig: %w", err)
	}
	// A report is a burst of lists; the default of five a second would make a
	// person wait for no gain.
	c.QPS, c.Burst = 100, 200
	c.UserAgent = "magpiectl"
	return c, nil
}

// clients returns a client for built-in kinds and one for all others.
func (e *env) clients() (kubernetes.Interface, dynamic.Interface, error) {
	c, err := e.config()
	if err != nil {
		return nil, nil, err
	}
	k, err := kubernetes.NewForConfig(c)
	if err != nil {
		return nil, nil, fmt.Errorf("make client: %w", err)
	}
	d, err := dynamic.NewForConfig(c)
	if err != nil {
		return nil, nil, fmt.Errorf("make client: %w", err)
	}
	return k, d, nil
}

// explain adds to an error what the person in front of it can do.
func explain(err error) error {
	var hint string
	var dial *net.OpError
	switch {
	case apierrors.IsForbidden(err):
		hint = "your user may not do this: ask for the ClusterRole magpie-view, or use an administrator's kubeconfig"
	case apierrors.IsUnauthorized(err):
		hint = "the API server does not know these credentials: renew the kubeconfig"
	case meta.IsNoMatchError(err), noSuchKind(err):
		hint = "Magpie is not installed in this cluster: install the chart charts/magpie with helm"
	case errors.As(err, &dial):
		hint = "is the API server's address in the kubeconfig right, and is it running?"
	default:
		return err
	}
	return fmt.Errorf("%w\n  %s", err, hint)
}

// noSuchKind tells the 404 of an unknown resource from that of an object.
func noSuchKind(err error) bool {
	return apierrors.IsNotFound(err) && strings.Contains(err.Error(), "could not find the requested resource")
}
