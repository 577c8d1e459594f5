#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Compiles fastpath.c into the files that package kernel embeds. They are
# checked in: only who changes the program needs a compiler for it.
set -eu
if ! command -v clang >/dev/null || ! command -v llvm-strip >/dev/null || [ ! -e /usr/include/bpf/bpf_helpers.h ]; then
	echo "kernel/bpf: kept as it is; to compile fastpath.c anew: apt-get install clang llvm libbpf-dev" >&2
	exit 0
fi
arch=$(clang -print-target-triple | sed 's/-pc-/-/')
go tool -modfile=../tools/go.mod bpf2go -go-package kernel -output-stem fastpath -target bpfel,bpfeb \
	fastpath bpf/fastpath.c -- -O2 -Wall -Werror -mcpu=v3 -isystem "/usr/include/$arch" "-ffile-prefix-map=$PWD=."
for f in fastpath_bpfel.go fastpath_bpfeb.go; do
	sed -i '1i // SPDX-License-Identifier: Apache-2.0' "$f"
done
