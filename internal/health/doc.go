// SPDX-License-Identifier: Apache-2.0

// Package health names what can be wrong with a node and decides when to say
// so.
//
// # Model
//
//	loop, door --Set/Clear--> Tracker --Shown(now)--> /readyz, metrics, magpiectl
//
// A Condition is a kind of trouble: a code, a title, how bad it is. It holds
// for a subject ("loop vxlan", "domain gw-shop-a"), with a detail that differs
// from time to time. A Finding is a condition that holds now, for long enough.
//
// # Why this way
//
// Networks flap. A condition that is shown the moment it begins teaches people
// to look away, so each one waits for its After. One cause has many effects,
// so a condition hides while one that it depends on is shown: whose API server
// is gone should not read six other lines first. All conditions stand in one
// file because that is the list which runbooks, metrics and doctor share.
//
// # Invariants
//
// Every condition has docs/runbooks/CODE.md and every such page has a
// condition or a note. DependsOn has no cycles. The Tracker reads no clock.
//
// # Not here
//
// Why one object is missing from a plan (plan.Note), and measuring anything.
package health
