// SPDX-License-Identifier: Apache-2.0

package stream

// What parses what the far end sends, for the fuzzers.
var (
	ParseRequest = parseRequest
	ParseAnswer  = parseAnswer
	ParseHello   = parseHello
	Request      = request
	Printable    = printable
)
