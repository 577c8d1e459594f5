// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"testing"
)

// TestAskHub: what a hub answers to nobody, and that another program at its
// place is not taken for it.
func TestAskHub(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/api/v1/services" || r.Header.Get("Authorization") != "" {
			t.Errorf("it is asked for %s", r.URL)
		}
		w.WriteHeader(http.StatusUnauthorized)
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // of a handshake that fails on purpose
	s.StartTLS()
	defer s.Close()
	own := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
	if status, err := askHub(t.Context(), s.URL, own); err != nil || status != http.StatusUnauthorized {
		t.Errorf("%d, %v", status, err)
	}
	for _, authority := range []string{"", "half a certificate", otherAuthority} {
		if status, err := askHub(t.Context(), s.URL, authority); err == nil {
			t.Errorf("with authority %.20q it answers %d", authority, status)
		}
	}
	s.Close()
	if _, err := askHub(t.Context(), s.URL, own); err == nil {
		t.Error("nobody listens, and it answers")
	}
}

// otherAuthority is of a key that nobody has any more.
const otherAuthority = `-----BEGIN CERTIFICATE-----
MIIBRTCB66ADAgECAgEBMAoGCCqGSM49BAMCMBAxDjAMBgNVBAMTBW90aGVyMCIY
DzAwMDEwMTAxMDAwMDAwWhgPMjEyNjExMDMxMjIwMzZaMBAxDjAMBgNVBAMTBW90
aGVyMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEKwRVWsAEq8FaPKFt2YrMzn1X
iEup9WmocZoAo2L5bZeHveXeqO+J49vEyXZlorq7piGUvgxuBjlH6wsnzdryRKMy
MDAwDwYDVR0TAQH/BAUwAwEB/zAdBgNVHQ4EFgQU7O0QAmxMxXRvtSnuIrSaAvtn
2howCgYIKoZIzj0EAwIDSQAwRgIhANL8oE851zNfx4en9uEK4tmVx1PAaqFbnJ7U
bkj+q3CIAiEA7Bbmbsb7cBrW8VX6hr3fsQJ0Jk/9tGZyQVahnTFMi4Q=
-----END CERTIFICATE-----
`
