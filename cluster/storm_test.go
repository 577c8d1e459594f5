// SPDX-License-Identifier: Apache-2.0

package cluster_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	certv1 "k8s.io/api/certificates/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/magpie-edge/magpie/tunnel/identity"
)

// TestManyAskAtOnce: an installation makes every node ask in the same minute.
func TestManyAskAtOnce(t *testing.T) {
	const many = 60
	empty(t)
	installTunnel(t)
	admin := rest.CopyConfig(server.Config)
	admin.QPS = -1
	nodes, err := kubernetes.NewForConfig(admin)
	if err != nil {
		t.Fatal(err)
	}
	requests := make([]*certv1.CertificateSigningRequest, many)
	each := func(do func(i int) error) {
		t.Helper()
		var wg sync.WaitGroup
		errs := make(chan error, many)
		places := make(chan struct{}, 16)
		for i := range many {
			places <- struct{}{}
			wg.Go(func() { errs <- do(i); <-places })
		}
		wg.Wait()
		close(errs)
		for err := range errs {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	each(func(i int) error {
		name := fmt.Sprintf("shop-%d", i)
		makeNode(t, name, fmt.Sprintf("10.42.%d.0/24", i))
		requests[i] = requestFor(t, identity.Agent, name)
		return nil
	})
	var c clock
	startSigner(t, &c)
	began := time.Now()
	each(func(i int) error {
		return createRequest(kubelet(fmt.Sprintf("shop-%d", i)), requests[i])
	})
	asked := time.Since(began)
	eventually(t, time.Minute, func() error {
		list, err := nodes.CertificatesV1().CertificateSigningRequests().List(context.Background(), metav1.ListOptions{})
		if err != nil {
			return err
		}
		done := 0
		for i := range list.Items {
			if len(list.Items[i].Status.Certificate) > 0 {
				done++
			}
		}
		if done != many {
			time.Sleep(50 * time.Millisecond)
			return fmt.Errorf("%d of %d have a certificate", done, many)
		}
		return nil
	})
	t.Logf("%d requests made in %s, all answered after %s", many, asked.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
}
