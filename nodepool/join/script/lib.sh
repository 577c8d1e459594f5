# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034,SC2153 # one of the parts of a script
# Words that both scripts speak, and the manifest of what join wrote.

readonly STATE=/var/lib/magpie
readonly MANIFEST=$STATE/join.manifest
readonly KUBERNETES=/etc/kubernetes
readonly CA_FILE=$KUBERNETES/pki/ca.crt
readonly BOOTSTRAP=$KUBERNETES/bootstrap-kubelet.conf
readonly KUBECONFIG_NODE=$KUBERNETES/kubelet.conf
readonly NETWORKD=/etc/systemd/networkd.conf.d/50-magpie.conf
readonly NETWORK_MANAGER=/etc/NetworkManager/conf.d/90-magpie.conf
readonly SYSCTLS=/etc/sysctl.d/90-magpie.conf
FAILED=0
WARNED=0

title() { printf '\n%s\n' "$*"; }
ok() { printf '  ok         %s\n' "$*"; }
did() { printf '  %-10s %s\n' "$1" "$2"; }
warn() {
  printf '  warning    %s\n' "$1"
  [[ -z ${2-} ]] || printf '             do: %s\n' "$2"
  WARNED=$((WARNED + 1))
}

# bad MESSAGE FIX: a check that failed. All checks run, so that an operator
# mends a machine once and not one finding at a time.
bad() {
  printf '  FAIL       %s\n             do: %s\n' "$1" "$2"
  FAILED=$((FAILED + 1))
}

die() {
  printf '\nerror: %s\n' "$1" >&2
  [[ -z ${2-} ]] || printf '  do: %s\n' "$2" >&2
  exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

need_root() {
  [[ ${EUID} -eq 0 ]] || die "this script must run as root, not as $(id -un)" \
    "pipe it into: sudo bash -s --"
}

# scratch makes the folder for temporary files; only root reads it.
scratch() {
  umask 077
  TMP=$(mktemp -d)
  trap 'rm -rf -- "$TMP"' EXIT
}

# noted KEY: the first value the manifest has for KEY.
noted() {
  [[ -r $MANIFEST ]] || return 0
  awk -v key="$1" '$1 == key { sub(/^[^ ]+ /, ""); print; exit }' "$MANIFEST"
}

# note LINE: add it to the manifest unless it is there.
note() {
  [[ -r $MANIFEST ]] && grep -qxF -- "$1" "$MANIFEST" && return 0
  if [[ ! -d $STATE ]]; then
    install -d -m 0755 "$STATE"
  fi
  printf '%s\n' "$1" >>"$MANIFEST"
}

running() { systemctl is-active --quiet "$1" 2>/dev/null; }

# split_server URL: its host, without the brackets of IPv6, and its port.
split_server() {
  local rest=${1#https://}
  rest=${rest%%/*}
  API_PORT=443
  if [[ $rest == *:* && $rest != *"]" ]]; then
    API_PORT=${rest##*:}
    rest=${rest%:*}
  fi
  API_HOST=${rest#\[}
  API_HOST=${API_HOST%\]}
}
