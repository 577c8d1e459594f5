// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"errors"
	"fmt"
	"time"

	authzv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// followRights waits until the server judges by every role and binding there
// is. It hears of them a moment after they are written, by a watch a kind, in
// order: so it has heard of all when it judges by those that are made last.
func (s *Server) followRights(ctx context.Context) error {
	client, err := kubernetes.NewForConfig(s.Config)
	if err != nil {
		return fmt.Errorf("make client: %w", err)
	}
	name := fmt.Sprintf("last-%d", s.last.Add(1))
	meta, rbac := metav1.ObjectMeta{Name: name, Namespace: metav1.NamespaceDefault}, client.RbacV1()
	// One user has the right everywhere, another one in a namespace.
	rules := []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: []string{"get"}}}
	subject := func(user string) []rbacv1.Subject {
		return []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: user}}
	}
	ref := func(kind string) rbacv1.RoleRef {
		return rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: kind, Name: name}
	}
	_, a := rbac.ClusterRoles().Create(ctx, &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: rules}, metav1.CreateOptions{})
	_, b := rbac.ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name}, RoleRef: ref("ClusterRole"), Subjects: subject(name),
	}, metav1.CreateOptions{})
	_, c := rbac.Roles(meta.Namespace).Create(ctx, &rbacv1.Role{ObjectMeta: meta, Rules: rules}, metav1.CreateOptions{})
	_, d := rbac.RoleBindings(meta.Namespace).Create(ctx, &rbacv1.RoleBinding{
		ObjectMeta: meta, RoleRef: ref("Role"), Subjects: subject(name + "-there"),
	}, metav1.CreateOptions{})
	if err := errors.Join(a, b, c, d); err != nil {
		return fmt.Errorf("make the last rights: %w", err)
	}
	defer func() {
		_ = rbac.ClusterRoleBindings().Delete(ctx, name, metav1.DeleteOptions{})
		_ = rbac.ClusterRoles().Delete(ctx, name, metav1.DeleteOptions{})
		_ = rbac.RoleBindings(meta.Namespace).Delete(ctx, name, metav1.DeleteOptions{})
		_ = rbac.Roles(meta.Namespace).Delete(ctx, name, metav1.DeleteOptions{})
	}()
	for _, user := range []string{name, name + "-there"} {
		if err := followed(ctx, client, user, meta.Namespace); err != nil {
			return err
		}
	}
	return nil
}

// followed waits until a user may read ConfigMaps of a namespace.
func followed(ctx context.Context, client kubernetes.Interface, user, namespace string) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	review := &authzv1.SubjectAccessReview{Spec: authzv1.SubjectAccessReviewSpec{
		User: user, ResourceAttributes: &authzv1.ResourceAttributes{Namespace: namespace, Verb: "get", Resource: "configmaps"},
	}}
	for {
		answer, err := client.AuthorizationV1().SubjectAccessReviews().Create(ctx, review, metav1.CreateOptions{})
		if err != nil {
			return fmt.Errorf("wait for rights: %w", err)
		}
		if answer.Status.Allowed {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for rights of %s: %w", user, ctx.Err())
		case <-time.After(5 * time.Millisecond):
		}
	}
}
