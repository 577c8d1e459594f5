// SPDX-License-Identifier: Apache-2.0

package access

import "fmt"

// Fill lets the API server have refused that many tokens, bad-0 and so on.
func Fill(r *Reviewer, n int) {
	for i := range n {
		r.users.put(hashOf(fmt.Append(nil, "bad-", i)), nil)
	}
}

// Size is how many tokens are remembered.
func Size(r *Reviewer) int {
	r.users.mu.Lock()
	defer r.users.mu.Unlock()
	return len(r.users.entries)
}

// Keys are the names of the API server's keys.
func Keys(r *Reviewer) []string {
	r.keys.mu.Lock()
	defer r.keys.mu.Unlock()
	var out []string
	for _, k := range r.keys.set.Keys {
		out = append(out, k.KeyID)
	}
	return out
}
