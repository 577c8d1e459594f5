#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# deps.sh PACKAGE...: install the Debian packages that are missing, then fetch
# the Go modules. Says nothing to do when there is nothing to do. Services that
# a package brings are not started: the lab runs its own.
set -euo pipefail

missing=()
for package in "$@"; do
  status=$(dpkg-query -W -f='${Status}' "$package" 2>/dev/null || true)
  [[ $status == "install ok installed" ]] || missing+=("$package")
done

if ((${#missing[@]})); then
  root=()
  if ((EUID != 0)); then root=(sudo); fi
  if ! command -v apt-get >/dev/null || { ((EUID != 0)) && ! command -v sudo >/dev/null; }; then
    echo "deps: cannot install (no apt-get, or neither root nor sudo); please install: ${missing[*]}" >&2
    exit 1
  fi
  echo "deps: installing ${missing[*]}"
  install=(env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -q --no-install-recommends "${missing[@]}")
  # An old package list names files that the mirror has no more: refresh, once.
  log=$(mktemp)
  trap 'rm -f "$log"' EXIT
  { "${root[@]}" "${install[@]}" || { "${root[@]}" apt-get update -q && "${root[@]}" "${install[@]}"; }; } >"$log" 2>&1 ||
    { tail -n 30 "$log" >&2; exit 1; }
fi

go mod download
go mod download -modfile=tools/go.mod
