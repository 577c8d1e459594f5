// SPDX-License-Identifier: Apache-2.0

package stream_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/magpie-edge/magpie/tunnel/stream"
)

// secure is the two ends of a TLS 1.3 connection, as a gateway and an agent
// have it.
func secure(tb testing.TB) (agent, gateway net.Conn) {
	tb.Helper()
	near, far := pair(tb)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		tb.Fatal(err)
	}
	config := &tls.Config{
		MinVersion: tls.VersionTLS13, InsecureSkipVerify: true, ClientAuth: tls.RequireAnyClientCert, //nolint:gosec // who is who is tested elsewhere
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
	}
	return tls.Client(stream.Batch(near), config), tls.Server(stream.Batch(far), config)
}

// cpu is what this process has used of processors.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkBulk downloads through gateway and agent in one process. CPU time a
// megabyte is what to compare on a machine that is not idle; direct has no
// tunnel.
func BenchmarkBulk(b *testing.B) {
	const piece = 1 << 20
	for _, how := range []string{"direct", "tunnel"} {
		b.Run(how, func(b *testing.B) {
			w := newWorld(b, settings{wires: 1, tls: true, serve: func(c net.Conn) {
				defer c.Close()
				buf := make([]byte, 256<<10)
				for err := error(nil); err == nil; {
					_, err = c.Write(buf)
				}
			}})
			near, err := w.dial(b.Context(), kubelet)
			if how == "tunnel" {
				_ = near.Close()
				near, err = w.enter(b), nil
			}
			if err != nil {
				b.Fatal(err)
			}
			defer near.Close()
			buf := make([]byte, 256<<10)
			for range 256 { // windows grow
				_, _ = io.ReadFull(near, buf)
			}
			b.SetBytes(piece)
			start := cpu(b)
			for b.Loop() {
				for range piece / len(buf) {
					if _, err := io.ReadFull(near, buf); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64((cpu(b)-start).Microseconds())/float64(b.N), "cpu-µs/MB")
		})
	}
}

// BenchmarkEcho sends one byte there and back.
func BenchmarkEcho(b *testing.B) {
	w := newWorld(b, settings{tls: true})
	c := w.enter(b)
	defer c.Close()
	buf := make([]byte, 1)
	b.ReportAllocs()
	start := cpu(b)
	for b.Loop() {
		if _, err := c.Write(buf); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(c, buf); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64((cpu(b)-start).Nanoseconds())/float64(b.N)/1000, "cpu-µs/op")
}

// enter opens a stream and joins it to a TCP connection, as an entry does.
func (w *world) enter(tb testing.TB) net.Conn {
	tb.Helper()
	near, far := pair(tb)
	c, err := w.gateway.Open(tb.Context(), kubelet)
	if err != nil {
		tb.Fatal(err)
	}
	go func() {
		_, _, _ = stream.Splice(tb.Context(), far.(stream.Conn), c, time.Now) //nolint:forcetypeassert // it is TCP
	}()
	return near
}
