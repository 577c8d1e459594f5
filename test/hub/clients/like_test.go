// SPDX-License-Identifier: Apache-2.0

package clients_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"
)

// TestLikeAPIServer puts the same questions to the hub and to the API server,
// as the same caller. Nothing is pinned or fenced, so the answers are the same,
// but for versions. Watches begin at version 0 and without bookmarks: with an old
// etcd an API server refuses the rest, or takes its time (TestInformers has it).
func TestLikeAPIServer(t *testing.T) {
	w := begin(t, t.TempDir())
	token := account(t, "alike", true)
	shop(t, "alike", "till", []string{"a-1", "b-1"})
	shop(t, "alike", "scale", []string{"a-2", "a-1", "b-1", "b-1"})
	w.settled(t, "alike", "till")
	w.settled(t, "alike", "scale")
	const table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
	const some = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
	const one = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
	services, slices := "/api/v1/namespaces/alike/services", "/apis/discovery.k8s.io/v1/namespaces/alike/endpointslices"
	for _, q := range []struct{ path, accept string }{
		{services, ""},
		{services, "application/yaml"},
		{services, "*/*"},
		{services, table},
		{services, some},
		{services, one},
		{services + "/till", ""},
		{services + "/till", table},
		{services + "/till", one},
		{services + "/till", some},
		{services + "/none", ""},
		{services + "/none", table},
		{slices, ""},
		{slices, table},
		{slices + "/scale", ""},
		{"/api/v1/services", table},
		{"/api/v1/namespaces/alike/endpoints", ""},
		{"/api/v1/namespaces/alike/endpoints", table},
		{services + "?includeObject=Object", table},
		{services + "?includeObject=None", table},
		{services + "?includeObject=Some", table},
		{services + "?limit=1", ""},
		{services + "?limit=1&labelSelector=app", ""},
		{services + "?limit=-1", ""},
		{services + "?limit=1&resourceVersion=0", ""},
		{services + "?labelSelector=app%3Dtill", ""},
		{services + "?labelSelector=app+in+(till,scale),!x", ""},
		{services + "?labelSelector=a%3D%3D%3Db", ""},
		{services + "?labelSelector=-", ""},
		{services + "?fieldSelector=metadata.name%3Dtill", ""},
		{services + "?fieldSelector=metadata.name!%3Dtill,spec.type%3DClusterIP", ""},
		{services + "?fieldSelector=spec.clusterIP%3DNone", ""},
		{services + "?fieldSelector=spec.ports%3D1", ""},
		{services + "?fieldSelector=nonsense", ""},
		{slices + "?fieldSelector=addressType%3DIPv4", ""},
		{slices + "?fieldSelector=metadata.namespace%3Dalike", ""},
		{services + "?resourceVersion=0", ""},
		{services + "?resourceVersion=x", ""},
		{services + "?resourceVersion=-5", ""},
		{services + "?resourceVersionMatch=Exact", ""},
		{services + "?resourceVersion=0&resourceVersionMatch=Exact", ""},
		{services + "?resourceVersion=0&resourceVersionMatch=NotOlderThan", ""},
		{services + "?resourceVersion=1&resourceVersionMatch=Sometimes", ""},
		{services + "?sendInitialEvents=true", ""},
		{services + "?sendInitialEvents=perhaps", ""},
		{services + "?continue=x", ""},
		{services + "?continue=e30", ""},
		{services + "?timeoutSeconds=x", ""},
		{services + "?pretty=true", ""},
		{services + "?watch=0", ""},
		{services + "?watch=1&timeoutSeconds=3&resourceVersion=0", ""},
		{services + "?watch=1&timeoutSeconds=3&resourceVersion=0", table},
		{services + "?watch=1&timeoutSeconds=3&resourceVersion=0", "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"},
		{services + "?watch=1&timeoutSeconds=3&resourceVersion=0", "application/yaml"},
		{services + "?watch=1&timeoutSeconds=3&sendInitialEvents=true", ""},
		{services + "?watch=1&timeoutSeconds=3&sendInitialEvents=true&resourceVersionMatch=Exact", ""},
		{services + "?watch=1&timeoutSeconds=3&resourceVersion=0&sendInitialEvents=true&resourceVersionMatch=NotOlderThan", ""},
		{services + "?watch=1&timeoutSeconds=3&sendInitialEvents=false&resourceVersionMatch=NotOlderThan", ""},
		{services + "?watch=1&timeoutSeconds=3&resourceVersion=0&fieldSelector=metadata.name%3Dtill", ""},
		{services + "?watch=1&timeoutSeconds=3&resourceVersion=0&fieldSelector=x%3Dtill", ""},
		{services + "/till?watch=1", ""},
		{"/api/v1/watch/namespaces/alike/services/till?timeoutSeconds=3&resourceVersion=0", ""},
		{"/api/v1/watch/namespaces/alike/services?timeoutSeconds=3&resourceVersion=0&labelSelector=app%3Dscale", ""},
		{"/api/v1/watch/namespaces/alike/services/till?timeoutSeconds=3&fieldSelector=metadata.name%3Dscale", ""},
		{"/api/v1/namespaces/alike", ""},
		{"/api/v1/namespaces/alike", table},
		{"/api/v1/namespaces?labelSelector=kubernetes.io%2Fmetadata.name%3Dalike", ""},
		{"/api/v1/namespaces?fieldSelector=metadata.name%3Dalike", table},
		{"/api/v1/namespaces?fieldSelector=status.phase%3DTerminating", ""},
		{"/api/v1/namespaces?fieldSelector=metadata.namespace%3Dalike", ""},
		{"/api/v1/namespaces?watch=1&timeoutSeconds=3&resourceVersion=0&fieldSelector=metadata.name%3Dalike", ""},
		// Not the hub's, so that the API server's answer comes through.
		{"/version", ""},
		{"/api/v1/namespaces/alike/status", ""},
		{"/api/v1/namespaces/alike/pods", ""},
		{services + "/till/status", ""},
		{services + "/till/nonsense", ""},
		{"/api/v1/services/till", ""},
	} {
		t.Run(q.path+" "+q.accept, func(t *testing.T) {
			t.Parallel() // watches last
			want, got := ask(t, server.Config, token, q.path, q.accept), ask(t, w.config(""), token, q.path, q.accept)
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("(-api server +hub)\n%s", d)
			}
		})
	}
}

// ask returns an answer as lines without what must differ.
func ask(t *testing.T, cfg *rest.Config, token, path, accept string) []string {
	t.Helper()
	cfg = rest.CopyConfig(cfg)
	cfg.BearerToken = token
	code, media, text := get(t, cfg, path, accept)
	out := []string{fmt.Sprintf("%d %s", code, media)}
	if media == "application/yaml" {
		var err error
		if text, err = yaml.YAMLToJSON(text); err != nil {
			t.Fatal(err)
		}
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	for dec.More() {
		var v any
		if err := dec.Decode(&v); err != nil {
			t.Fatalf("%s: %v in %s", path, err, text)
		}
		plain(v)
		line, err := json.MarshalIndent(v, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, string(line))
	}
	return out
}

var version = regexp.MustCompile(`\b\d{2,}( \(\d+\))?`)

// plain takes out what must differ: versions, what goes on from them, fields
// that the hub does not keep, and ages.
func plain(v any) {
	switch v := v.(type) {
	case map[string]any:
		delete(v, "managedFields")
		for _, k := range []string{"resourceVersion", "continue"} {
			if s, ok := v[k].(string); ok && s != "" {
				v[k] = "V"
			}
		}
		if s, ok := v["message"].(string); ok && strings.HasPrefix(s, "too old resource version") {
			v["message"] = version.ReplaceAllString(s, "V")
		}
		if cells, ok := v["cells"].([]any); ok {
			for i, c := range cells {
				if s, ok := c.(string); ok && age.MatchString(s) {
					cells[i] = "AGE"
				}
			}
		}
		for _, of := range v {
			plain(of)
		}
	case []any:
		for _, of := range v {
			plain(of)
		}
	}
}

var age = regexp.MustCompile(`^(\d+[smhd])+$`)

// TestKubectl: what a person sees is the same, too.
func TestKubectl(t *testing.T) {
	w := begin(t, t.TempDir())
	token := account(t, "person", true)
	shop(t, "person", "till", []string{"a-1", "b-1"})
	w.settled(t, "person", "till")
	direct := rest.CopyConfig(server.Config)
	direct.BearerToken = token
	kubectl, far, near := tool(t, "kubectl"), kubeconfig(t, direct), kubeconfig(t, w.config(token))
	for _, args := range []string{
		"get services", "get services -o wide", "get services -A", "get service till", "get endpointslices", "get endpointslices -o wide",
		"get services -o name", "get services -l app=till", "get services --field-selector spec.type=NodePort",
		"get services --chunk-size 1", "get service none", "describe service till", "get services,endpointslices",
		"get service till -o jsonpath={.spec.clusterIP}", "get services --watch --request-timeout 2s",
		"annotate service till a=b --overwrite", "auth can-i list services", "auth can-i list secrets",
	} {
		var out [2]string
		for i, config := range []string{far, near} {
			cmd := exec.CommandContext(t.Context(), kubectl, append([]string{"--kubeconfig", config, "-n", "person"}, strings.Fields(args)...)...)
			cmd.Env = []string{"HOME=" + t.TempDir()}
			text, err := cmd.CombinedOutput()
			out[i] = fmt.Sprintf("%s%v", ages.ReplaceAllString(string(text), " AGE"), err)
		}
		out[0], out[1] = strings.ReplaceAll(out[0], host(t, direct), "HOST"), strings.ReplaceAll(out[1], host(t, w.config("")), "HOST")
		if d := cmp.Diff(out[0], out[1]); d != "" {
			t.Errorf("kubectl %s (-api server +hub)\n%s", args, d)
		}
	}
}

var ages = regexp.MustCompile(` +\d+[smh](\d+s)?\b`)

func host(t *testing.T, cfg *rest.Config) string {
	t.Helper()
	u, err := url.Parse(cfg.Host)
	if err != nil {
		t.Fatal(err)
	}
	return u.Host
}
