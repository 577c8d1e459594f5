// SPDX-License-Identifier: Apache-2.0

package wire

// Bounded lets tests stand at both ends of wireguard-go.
var Bounded = bounded
