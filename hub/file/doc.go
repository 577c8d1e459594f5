// SPDX-License-Identifier: Apache-2.0

// Package file replaces files whole.
//
// # Model
//
//	bytes --> .NAME.123 (written, synced) --> renamed to NAME --> folder synced
//
// # Why this way
//
// A node loses its power at any moment. A name stands for the old bytes or for
// the new ones, never for a part of either; the rest of the hub may then read
// what it finds without asking how it came to be there.
//
// # Invariants
//
// After an error the old file is as it was.
//
// # Not here
//
// What is in the files, and what to do about one that is damaged: whoever
// reads it.
package file
