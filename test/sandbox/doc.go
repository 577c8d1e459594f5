// SPDX-License-Identifier: Apache-2.0

// Package sandbox gives tests network namespaces of their own.
//
// # Model
//
//	go test --> TestMain --> Main: start this program again
//	                           |   in new network and mount namespaces
//	                           +-> tests; each makes named namespaces inside
//
// # Why this way
//
// A test that makes devices, routes and rules must not be able to touch the
// machine it runs on, not even by a mistake. In a new network namespace there
// is nothing to touch, and everything is gone when the process ends, also when
// it is killed. Not being root only adds a user namespace.
//
// # Invariants
//
// Nothing made here outlives the process. The host's namespaces are never
// entered.
//
// # Not here
//
// Whole nodes with containers: test/lab.
package sandbox
