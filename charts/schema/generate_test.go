// SPDX-License-Identifier: Apache-2.0

package schema_test

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/magpie-edge/magpie/charts/schema"
	"github.com/magpie-edge/magpie/internal/golden"
)

const root = "../.."

func TestGenerate(t *testing.T) {
	got, err := schema.Generate(root)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(root, schema.File)
	if golden.Updating() {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	have, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(have), "\n"), strings.Split(string(got), "\n")); diff != "" {
		t.Errorf("%s is out of date: run make generate (-want +got):\n%s", schema.File, diff)
	}
}

// TestDefaultsAreComplete: values.yaml, which is what operators read, names
// every value that the schema allows, and no other.
func TestDefaultsAreComplete(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "charts/magpie/values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var values schema.Values
	if err := yaml.UnmarshalStrict(text, &values); err != nil {
		t.Fatal(err)
	}
	full, err := json.Marshal(values)
	if err != nil {
		t.Fatal(err)
	}
	var want, got map[string]any
	if err := json.Unmarshal(full, &want); err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	delete(want, "global") // helm's
	for name, section := range want {
		have, _ := got[name].(map[string]any)
		if diff := cmp.Diff(names(section), names(have)); diff != "" {
			t.Errorf("values.yaml: %s (-want +got):\n%s", name, diff)
		}
	}
}

func names(section any) []string {
	m, _ := section.(map[string]any)
	return slices.Sorted(maps.Keys(m))
}

func TestReadTellsMarkersFromProse(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.go")
	text := "package main\n\n// Config is one.\ntype Config struct {\n\t// VNI of the\n\t// overlay.\n\t// +kubebuilder:validation:Minimum=1\n\t// +listType=set\n\tVNI int `json:\"vni,omitempty\"`\n\tinner int\n}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := schema.Read(file)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]schema.Struct{"Config": {Doc: "Config is one.", Fields: []schema.Field{
		{Name: "vni", Type: "int", Doc: "VNI of the overlay.", Marks: map[string]string{"Minimum": "1", "listType": "set"}},
	}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestGenerateTakesFromConfigs: limits and words of a field of a Config, and of
// a struct in it.
func TestGenerateTakesFromConfigs(t *testing.T) {
	got, err := schema.Generate(repository(t,
		"// +magpie:config=c\n\tVNI int `json:\"vni\"`\n\t// +magpie:config=c.Limits\n\tDial string `json:\"dial\"`"))
	if err != nil {
		t.Fatal(err)
	}
	var out struct {
		Properties map[string]struct {
			Description, Type, Pattern string
			Maximum                    int
		}
	}
	if err := json.Unmarshal(got, &out); err != nil {
		t.Fatal(err)
	}
	vni, dial := out.Properties["vni"], out.Properties["dial"]
	if vni.Description != "VNI of it." || vni.Maximum != 7 || dial.Type != "string" || !regexp.MustCompile(dial.Pattern).MatchString("1m30s") {
		t.Errorf("%s", got)
	}
}

// TestGenerateRefuses: what would make the schema say less than it seems to.
func TestGenerateRefuses(t *testing.T) {
	for want, field := range map[string]string{
		"marker Maximun=5: unknown":                   "// +kubebuilder:validation:Maximun=5\n\tN int `json:\"n\"`",
		"values.go has no struct Port":                "N Port `json:\"n\"`",
		"the config of c has no field of that name":   "// +magpie:config=c\n\tN int `json:\"n\"`",
		"in the config of c it is int":                "// +magpie:config=c\n\tVNI string `json:\"vni\"`",
		"the config of c.Limits has no field":         "// +magpie:config=c.Limits\n\tVNI int `json:\"vni\"`",
		"let that speak alone":                        "// +magpie:config=c\n\t// +kubebuilder:validation:Minimum=2\n\tVNI int `json:\"vni\"`",
		`marker Minimum: strconv.Atoi: parsing "one"`: "// +kubebuilder:validation:Minimum=one\n\tN int `json:\"n\"`",
	} {
		if _, err := schema.Generate(repository(t, field)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\ngot %v, want %q", field, err, want)
		}
	}
}

// repository is one with these values and a command c.
func repository(t *testing.T, fields string) string {
	t.Helper()
	dir := t.TempDir()
	for path, body := range map[string]string{
		"charts/schema/values.go": "package schema\n\ntype Values struct {\n\t" + fields + "\n}\n",
		"cmd/c/config.go": "package main\n\ntype Config struct {\n\t// VNI of it.\n\t// +kubebuilder:validation:Maximum=7\n\tVNI int `json:\"vni\"`\n}\n\n" +
			"type Limits struct {\n\tDial metav1.Duration `json:\"dial\"`\n}\n",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, path)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, path), []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
