// SPDX-License-Identifier: Apache-2.0

package chart_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	sigyaml "sigs.k8s.io/yaml"

	"github.com/magpie-edge/magpie/internal/golden"
	"github.com/magpie-edge/magpie/test/apiserver"
)

const (
	root      = "../.."
	chartDir  = root + "/charts/magpie"
	labValues = chartDir + "/ci/lab-values.yaml"
	namespace = "magpie-system"
)

var server *apiserver.Server

func TestMain(m *testing.M) { os.Exit(apiserver.Main(m, &server)) } //nolint:forbidigo // how a TestMain ends

// helm runs the newest helm that the lab has built.
func helm(tb testing.TB, args ...string) (string, error) {
	tb.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		tb.Fatal(err)
	}
	found, err := filepath.Glob(filepath.Join(cache, "magpie", "bin", "helm-v*"))
	if err != nil || len(found) == 0 {
		if os.Getenv("MAGPIE_TEST_STRICT") == "1" {
			tb.Fatal("helm is not built: run make deps")
		}
		tb.Skip("helm is not built: run make deps")
	}
	slices.Sort(found)
	home := tb.TempDir()
	cmd := exec.CommandContext(tb.Context(), found[len(found)-1], args...)
	cmd.Env = []string{"HOME=" + home, "KUBECONFIG=" + filepath.Join(home, "none"), "PATH=" + os.Getenv("PATH")}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return errs.String(), fmt.Errorf("helm %s: %w", args[0], err)
	}
	return out.String(), nil
}

func render(tb testing.TB, args ...string) string {
	tb.Helper()
	out, err := helm(tb, append([]string{"template", "magpie", chartDir, "--namespace", namespace}, args...)...)
	if err != nil {
		tb.Fatalf("%v\n%s", err, out)
	}
	return out
}

// objects reads a stream of manifests.
func objects(tb testing.TB, text string) []*unstructured.Unstructured {
	tb.Helper()
	var out []*unstructured.Unstructured
	for doc := range strings.SplitSeq(text, "\n---\n") {
		var u unstructured.Unstructured
		if err := yaml.Unmarshal([]byte(doc), &u.Object); err != nil {
			tb.Fatalf("%v in:\n%s", err, doc)
		}
		if len(u.Object) > 0 {
			out = append(out, &u)
		}
	}
	return out
}

func name(u *unstructured.Unstructured) string { return u.GetKind() + "/" + u.GetName() }

// TestRender shows, for the values of each case, the objects the case asks for;
// "list" names all of them, with the hook they belong to.
func TestRender(t *testing.T) {
	golden.Run(t, "testdata/*.txtar", func(t *testing.T, c golden.Case) string {
		t.Helper()
		values := filepath.Join(t.TempDir(), "values.yaml")
		if err := os.WriteFile(values, c.File(t, "values.yaml"), 0o600); err != nil {
			t.Fatal(err)
		}
		text, err := helm(t, "template", "magpie", chartDir, "--namespace", namespace, "--values", values)
		if err != nil {
			return refusal(text)
		}
		var b strings.Builder
		show := strings.Fields(string(c.File(t, "show")))
		for _, u := range objects(t, text) {
			if slices.Contains(show, "list") {
				fmt.Fprintln(&b, strings.TrimSpace(name(u)+" "+u.GetAnnotations()["helm.sh/hook"]))
			}
			if slices.Contains(show, name(u)) {
				b.WriteString(pretty(t, u))
			}
		}
		return b.String()
	})
}

// refusal is what helm says to the person, without its own log lines.
// helm walks the schema in a different order each time: that one is sorted.
func refusal(text string) string {
	var out []string
	for line := range strings.SplitSeq(text, "\n") {
		if line != "" && !strings.HasPrefix(line, "level=") && !strings.HasPrefix(line, "Use --debug") {
			out = append(out, strings.TrimRight(line, " "))
		}
	}
	if strings.Contains(text, "schema") {
		slices.Sort(out)
	}
	return strings.Join(out, "\n")
}

func pretty(t *testing.T, u *unstructured.Unstructured) string {
	t.Helper()
	b, err := sigyaml.Marshal(u.Object)
	if err != nil {
		t.Fatal(err)
	}
	return "---\n" + string(b)
}

func TestLint(t *testing.T) {
	if out, err := helm(t, "lint", chartDir, "--strict", "--values", labValues); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// TestBinariesTakeTheConfig gives the rendered config files to the binaries. An
// agent without a node name and a manager outside of a pod refuse to go on, but
// only once they have read their config and found nothing wrong with it.
func TestBinariesTakeTheConfig(t *testing.T) {
	values := map[string][]string{
		"defaults": {"--values", labValues},
		"everything": {
			"--set", "network.clusterCIDRs={10.42.0.0/16,fd42::/48}", "--set", "network.nonMasquerade={10.0.0.0/8}",
			"--set", "network.mtu=1400", "--set", "network.vni=7", "--set", "network.port=4789",
			"--set", "agent.apiServer=https://203.0.113.10:6443", "--set", "agent.logLevel=debug", "--set", "manager.logLevel=error",
			"--set", "gateway.logLevel=warn", "--set", "gateway.sni.enabled=true", "--set", "gateway.sni.sources={10.0.0.0/8}",
			"--set", "gateway.connect.clientCA=PEM", "--set", "gateway.connect.socketDir=/var/lib/magpie-connect", "--set", "gateway.http.kubeletCA=PEM", "--set", "gateway.deny={10.1.0.0/16}",
			"--set", "gateway.nodePorts={10250,9100}", "--set", "gateway.drainSeconds=5",
			"--set", "hub.enabled=true", "--set", "hub.graceHours=0", "--set", "fence=nftables",
		},
	}
	binaries := map[string]string{"magpie-agent": "no node name", "magpie-manager": "read the pod's account", "magpie-gateway": "read the pod's account"}
	for binary, good := range binaries {
		exe := filepath.Join(t.TempDir(), binary)
		build := exec.CommandContext(t.Context(), "go", "build", "-o", exe, "./cmd/"+binary)
		build.Dir = root
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("build %s: %v\n%s", binary, err, out)
		}
		for set, args := range values {
			t.Run(binary+"/"+set, func(t *testing.T) {
				file := filepath.Join(t.TempDir(), "config.yaml")
				text := configOf(t, render(t, args...), binary)
				if out := start(t, exe, file, text); !strings.Contains(out, good) {
					t.Errorf("%s\nanswers: %s", text, out)
				}
				if out := start(t, exe, file, text+"surprise: true\n"); !strings.Contains(out, "surprise") {
					t.Errorf("an unknown field is accepted: %s", out)
				}
			})
		}
	}
}

func start(t *testing.T, exe, file, config string) string {
	t.Helper()
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe, "run", "--config", file)
	cmd.Env = []string{"POD_NAMESPACE=" + namespace, "POD_NAME=one"}
	out, err := cmd.CombinedOutput()
	if err == nil {
		t.Fatalf("%s runs although it cannot", exe)
	}
	return string(out)
}

func configOf(t *testing.T, text, configMap string) string {
	t.Helper()
	for _, u := range objects(t, text) {
		if name(u) == "ConfigMap/"+configMap {
			data, _, err := unstructured.NestedStringMap(u.Object, "data")
			if err != nil {
				t.Fatal(err)
			}
			return data[strings.TrimPrefix(configMap, "magpie-")+".yaml"]
		}
	}
	t.Fatalf("the chart has no ConfigMap %s", configMap)
	return ""
}
