// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// waitServices makes a Service and asks every replica of CoreDNS for it: the API
// server has just been restarted, and who was waiting for it asks again up to a
// minute later. Until then CoreDNS knows no new Service.
func (u *upping) waitServices(ctx context.Context) error {
	if !u.hasChart() {
		return nil
	}
	name := "caught-up-" + strconv.FormatInt(time.Now().UnixNano(), 36)
	if _, err := u.Kubectl(ctx, "create", "service", "clusterip", name, "--tcp=53:53"); err != nil {
		return err
	}
	defer func() { _, _ = u.Kubectl(context.WithoutCancel(ctx), "delete", "service", name) }()
	return poll(ctx, 3*time.Minute, func() error {
		pods, err := u.Kubectl(ctx, "-n", "kube-system", "get", "pods", "-l", "k8s-app=kube-dns", "-o", "jsonpath={.items[*].status.podIP}")
		if err != nil {
			return err
		}
		for ip := range strings.FieldsSeq(string(pods)) {
			if _, err := u.Exec(ctx, "cloud-1", "timeout", "3", "busybox", "nslookup", name+".default.svc.cluster.local", ip); err != nil {
				return fmt.Errorf("CoreDNS at %s does not know a new Service: %w", ip, err)
			}
		}
		return nil
	})
}
