// SPDX-License-Identifier: Apache-2.0

// Package image writes container images as tar files, from files of the host,
// without a registry or a container engine.
//
// # Model
//
// An Image is a name and layers, a layer is a list of files with their place
// in the image. The tar's name carries a hash of all of that, so an image that
// has not changed is neither written nor imported again.
//
// # Why this way
//
// Nothing may be pulled, and no container engine is wanted on the host. Layers
// are compressed, but quickly: containerd syncs to disk what it imports, and
// six nodes importing plain layers took three times as long.
//
// # Invariants
//
// Same content, same bytes: times and owners are zero, files are sorted.
//
// # Not here
//
// Which images there are, and importing them: package lab.
package image
