// SPDX-License-Identifier: Apache-2.0

// Command tally runs go test, prints what a person needs of it, and adds up
// the results of several runs.
//
//	tally -begin                  forget earlier runs
//	tally NAME [flag|package]...  go test with these arguments
//	tally -end                    print the sum of all runs since -begin
//
// Packages that pass are one line; of tests that fail or are skipped the
// output is printed. `make test` is several stages, and a reader should not
// have to add their lines up.
package main
