// SPDX-License-Identifier: Apache-2.0

// Package page lays text out for people at a terminal.
//
// # Model
//
//	Page   lines that are collected, with or without colour
//	Wrap   breaks text, Cut and CutFront shorten words, to fit in Width
//
// # Why this way
//
// Every report of magpiectl is text of 80 columns with the same few things in
// it: a line, a word of fixed width that is red if it is bad, text folded beside
// a head. Colour never changes a width, so it is put on last.
//
// # Invariants
//
// No line ends in a space, and none is wider than Width unless one word is.
// Without colour there is not one escape sequence.
//
// # Not here
//
// What reports say (status, doctor, sessions, service, matrix).
package page
