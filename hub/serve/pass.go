// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"
)

// newPass makes what passes requests to the API server as they are: with the
// caller's credentials and none of ours.
func (s *Server) newPass(upstream *rest.Config) (http.Handler, error) {
	cfg := rest.AnonymousClientConfig(upstream) // no token and no certificate of ours
	cfg.UserAgent, cfg.Timeout = "", 0
	cfg.DisableCompression = true // the caller's own encoding, untouched
	target, _, err := rest.DefaultServerUrlFor(cfg)
	if err != nil {
		return nil, fmt.Errorf("read address of the api server: %w", err)
	}
	many, err := rest.TransportFor(cfg)
	if err != nil {
		return nil, fmt.Errorf("make transport to the api server: %w", err)
	}
	// A connection that is to be taken over can not be shared: no HTTP/2.
	cfg.NextProtos = []string{"http/1.1"}
	single, err := rest.TransportFor(cfg)
	if err != nil {
		return nil, fmt.Errorf("make transport to the api server: %w", err)
	}
	proxy := func(t http.RoundTripper) *httputil.ReverseProxy {
		return &httputil.ReverseProxy{
			Transport: t,
			Rewrite:   func(p *httputil.ProxyRequest) { rewrite(p, target) },
			// Logs and watches are to be seen as they come.
			FlushInterval: -1,
			ErrorHandler:  s.passFailed,
			ErrorLog:      slog.NewLogLogger(s.o.Log.Handler(), slog.LevelDebug),
		}
	}
	shared, own := proxy(many), proxy(single)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "" {
			own.ServeHTTP(w, r)
			return
		}
		shared.ServeHTTP(w, r)
	}), nil
}

// rewrite turns the request to the API server. The query goes as it came, since
// what can not be parsed is the API server's to refuse.
func rewrite(p *httputil.ProxyRequest, target *url.URL) {
	p.SetURL(target)
	p.Out.URL.RawQuery = p.In.URL.RawQuery
}

// passFailed answers in place of an API server that does not.
func (s *Server) passFailed(w http.ResponseWriter, r *http.Request, err error) {
	s.o.Log.Debug("request is not passed", "path", r.URL.Path, "err", err)
	s.refuse(w, r, &apierrors.StatusError{ErrStatus: unavailable("the API server does not answer the hub: " + err.Error())})
}
