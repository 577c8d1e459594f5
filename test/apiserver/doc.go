// SPDX-License-Identifier: Apache-2.0

// Package apiserver runs a real etcd and kube-apiserver for tests.
//
// # Model
//
//	func TestMain(m *testing.M) { os.Exit(apiserver.Main(m, &server)) }
//
// One server for all tests of a package, on 127.0.0.1, with our CRDs.
//
// # Why this way
//
// What matters at this border is decided by the API server: CEL rules, field
// ownership, admission policies, what a token may do. A fake would agree with
// whatever we believe about them.
//
// # Invariants
//
// Both processes die with the test process, even if that is killed. Without the
// binaries the tests are skipped, with MAGPIE_TEST_STRICT=1 they fail.
//
// # Not here
//
// Building kube-apiserver: the lab does (make deps).
package apiserver
