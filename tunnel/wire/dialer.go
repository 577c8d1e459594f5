// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"syscall"
	"time"

	"github.com/magpie-edge/magpie/tunnel/stream"
)

// Stage says how far a dial came. Stages are metric labels.
type Stage string

// Stages at which a dial fails.
const (
	StageTCP   Stage = "tcp"   // the gateway's address does not answer
	StageProxy Stage = "proxy" // the environment's proxy does not answer or refuses
	StageRelay Stage = "relay" // the neighbour does not answer or refuses
	StageTLS   Stage = "tls"   // whoever answers is no gateway of ours, or does not want us
	// StageGreeting: TLS is up, and the gateway ended it or said nothing.
	StageGreeting Stage = "greeting"
	StageUnready  Stage = "unready" // we have no certificate or trust nobody yet
)

// DialError is why a dial failed.
type DialError struct {
	Stage Stage
	Err   error
}

// Error is the stage and the cause.
func (e *DialError) Error() string { return string(e.Stage) + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *DialError) Unwrap() error { return e.Err }

// DialLimit is how long a dial may take, until TLS is up.
const DialLimit = 10 * time.Second

// Dialler opens an agent's connections to gateways.
type Dialler struct {
	// Proxy returns the HTTP proxy for a URL, nil if there is none: what
	// httpproxy.Config.ProxyFunc makes of the environment. Nil: never a proxy.
	Proxy func(*url.URL) (*url.URL, error)
	// ServerName is the DNS name in every gateway's certificate: it is verified
	// whatever address is dialled.
	ServerName string
	// Certificate is ours, Roots whom we trust; both are asked for each dial. A
	// nil pool is not ready yet.
	Certificate func(*tls.CertificateRequestInfo) (*tls.Certificate, error)
	Roots       func() *x509.CertPool
	// Now is the time by which a gateway's certificate is judged; nil means the
	// host's clock.
	Now func() time.Time
	// ProxyRoots verify a proxy whose URL begins with https; nil: the host's.
	ProxyRoots *x509.CertPool
	// Limit bounds the whole dial; 0 means DialLimit.
	Limit time.Duration
}

// Dial connects to a gateway at addr, "host:port", and makes the TLS handshake.
// via is the neighbour that relays, "address:port"; "" goes straight, or through
// the environment's proxy. Errors are *DialError.
func (d *Dialler) Dial(ctx context.Context, addr, via string) (*tls.Conn, error) {
	limit := d.Limit
	if limit == 0 {
		limit = DialLimit
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	roots := d.Roots()
	if roots == nil {
		return nil, &DialError{StageUnready, errors.New("no authority of the tunnel is known yet")}
	}
	raw, err := d.reach(ctx, addr, via)
	if err != nil {
		return nil, err
	}
	conn := tls.Client(Tune(raw), &tls.Config{
		MinVersion:           tls.VersionTLS13,
		ServerName:           d.ServerName,
		RootCAs:              roots,
		Time:                 d.Now,
		GetClientCertificate: d.Certificate,
		NextProtos:           []string{stream.ProtoAgent},
	})
	err = conn.HandshakeContext(ctx)
	if err == nil && conn.ConnectionState().NegotiatedProtocol != stream.ProtoAgent {
		err = errors.New("it does not speak " + stream.ProtoAgent)
	}
	if err != nil {
		return nil, &DialError{StageTLS, fmt.Errorf("%s: %w", addr, errors.Join(err, raw.Close()))}
	}
	return conn, nil
}

// Reach connects to addr without TLS, straight or through the environment's
// proxy: what a relay does for its neighbours.
func (d *Dialler) Reach(ctx context.Context, addr string) (net.Conn, error) {
	return d.reach(ctx, addr, "")
}

func (d *Dialler) reach(ctx context.Context, addr, via string) (net.Conn, error) {
	if via != "" {
		return wrap(StageRelay)(d.through(ctx, &url.URL{Scheme: "http", Host: via}, addr))
	}
	if d.Proxy != nil {
		proxy, err := d.Proxy(&url.URL{Scheme: "https", Host: addr})
		if err != nil {
			return nil, &DialError{StageProxy, fmt.Errorf("read the proxy's URL: %w", err)}
		}
		if proxy != nil {
			return wrap(StageProxy)(d.through(ctx, proxy, addr))
		}
	}
	return wrap(StageTCP)(dialTCP(ctx, addr))
}

func wrap(at Stage) func(net.Conn, error) (net.Conn, error) {
	return func(c net.Conn, err error) (net.Conn, error) {
		if err != nil {
			return nil, &DialError{at, err}
		}
		return c, nil
	}
}

// through asks a proxy, or a relay, which speaks the same, for a connection.
func (d *Dialler) through(ctx context.Context, proxy *url.URL, addr string) (net.Conn, error) {
	port := map[string]string{"http": "80", "https": "443"}[proxy.Scheme]
	if port == "" {
		return nil, fmt.Errorf("proxy %s: only http:// and https:// are supported", proxy.Redacted())
	}
	at := proxy.Host
	if proxy.Port() == "" {
		at = net.JoinHostPort(proxy.Hostname(), port)
	}
	conn, err := dialTCP(ctx, at)
	if err != nil {
		return nil, err
	}
	if proxy.Scheme == "https" {
		conn = tls.Client(conn, &tls.Config{MinVersion: tls.VersionTLS12, ServerName: proxy.Hostname(), RootCAs: d.ProxyRoots})
	}
	out, err := askConnect(ctx, conn, addr, proxy.User)
	if err != nil {
		return nil, fmt.Errorf("connect to %s through %s: %w", addr, at, errors.Join(err, conn.Close()))
	}
	return out, nil
}

// userTimeout is TCP_USER_TIMEOUT, in milliseconds: how long bytes may wait for
// their acknowledgement. Without it a connection with something to send ignores
// keep-alive and lives on for a quarter of an hour after the line was cut.
// Source: linux/tcp.h, tcp(7).
const userTimeout = 18

// keepAlive finds a dead line within 40 s where nothing is sent.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 10 * time.Second, Interval: 10 * time.Second, Count: 3}

func dialTCP(ctx context.Context, addr string) (net.Conn, error) {
	d := net.Dialer{KeepAliveConfig: keepAlive, Control: noticeDeath}
	return d.DialContext(ctx, "tcp", addr)
}

// Listen accepts TCP connections that notice a dead line as those of Dialler do.
func Listen(ctx context.Context, addr string) (net.Listener, error) {
	l := net.ListenConfig{KeepAliveConfig: keepAlive, Control: noticeDeath} // who is accepted inherits it
	return l.Listen(ctx, "tcp", addr)
}

func noticeDeath(_, _ string, raw syscall.RawConn) error {
	var err error
	control := raw.Control(func(fd uintptr) {
		err = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, userTimeout, 30_000)
	})
	return errors.Join(control, err)
}
