# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034,SC2153 # one of the parts of a script
# The course of a join: arguments, checks, files, kubelet, waiting.

usage() {
  cat <<EOF
Joins this machine to node pool $POOL of the cluster at $API_SERVER.

usage: bash JOIN_SCRIPT [option...]      or      ... | ssh root@MACHINE bash -s -- [option...]

  --check-only       check the prerequisites and change nothing
  --node-name NAME   name of the node (default: the host name in lower case)
  --node-ip ADDRESS  address of the node, where it has several
  --allow-swap       join although swap is on
  --wait SECONDS     how long to wait for the node to register (default $WAIT; 0: do not wait)
  --help             this text

It may run again at any time and changes only what is not as it should be.
It contains a secret, valid until $TOKEN_EXPIRES: keep it to yourself.
EOF
}

default_name() { uname -n | tr '[:upper:]' '[:lower:]'; }

arguments() {
  CHECK_ONLY=false
  NODE_NAME=$(default_name)
  while (($#)); do
    case $1 in
      --help | -h) usage && exit 0 ;;
      --check-only) CHECK_ONLY=true ;;
      --allow-swap) ALLOW_SWAP=true ;;
      --node-name | --node-ip | --wait)
        (($# > 1)) || die "$1 wants a value" "see --help"
        case $1 in
          --node-name) NODE_NAME=$2 ;;
          --node-ip) NODE_IP=$2 ;;
          --wait) WAIT=$2 ;;
        esac
        shift
        ;;
      *) die "unknown option $1" "see --help" ;;
    esac
    shift
  done
  [[ $WAIT =~ ^[0-9]+$ ]] || die "--wait wants seconds, not $WAIT" "see --help"
}

check_all() {
  title "Checking this machine"
  check_tools || return 0
  check_kernel
  check_name
  check_swap
  check_cgroup
  check_runtime
  check_kubelet
  check_joined
  check_ports
  check_node_ip
  check_api || true
}

start_kubelet() {
  title "Starting kubelet"
  if ! running kubelet; then
    systemctl daemon-reload
    systemctl enable --now kubelet
    did started kubelet
  elif [[ $CHANGED == true ]]; then
    systemctl daemon-reload
    systemctl enable kubelet
    systemctl restart kubelet
    did restarted kubelet
  else
    did unchanged "kubelet is running"
  fi
}

# node_get asks the API server for this node, with kubelet's own certificate.
node_get() {
  local pem
  pem=$(node_certificate)
  [[ -s $pem ]] || return 1
  ask "/api/v1/nodes/$NODE_NAME" --fail --cacert "$CA_FILE" --cert "$pem" --key "$pem" \
    --header 'Accept: application/yaml' --output "$TMP/node" 2>"$TMP/error"
}

# last_error is what curl said last, unless it was the expected 404.
last_error() {
  [[ -s $TMP/error ]] && ! grep -q ' 404' "$TMP/error" && printf ': %s' "$(<"$TMP/error")"
  return 0
}

# node_ready prints why the node is not Ready, and fails then.
node_ready() {
  awk 'BEGIN { bad = 1 }
    $1 == "message:" { m = $0; sub(/^ *message: */, "", m) }
    $1 == "status:" { s = $2 }
    $1 == "type:" && $2 == "Ready" { bad = s !~ /True/; if (bad) print m; exit }
    END { exit bad }' "$TMP/node"
}

wait_for_node() {
  local until=$((SECONDS + WAIT)) why
  ((WAIT > 0)) || return 0
  title "Waiting until node $NODE_NAME is registered (at most $WAIT s)"
  until node_get; do
    if ((SECONDS >= until)); then
      die "node $NODE_NAME did not register within $WAIT s$(last_error)" \
        "look at: journalctl -u kubelet -e, and with kubectl: kubectl get csr; then run this script again"
    fi
    sleep 1
  done
  did registered "after $((SECONDS - until + WAIT)) s"
  # The certificate is there: the shared secret has done its work.
  rm -f -- "$BOOTSTRAP"
  until why=$(node_ready); do
    if ((SECONDS >= until)); then
      warn "node $NODE_NAME is not Ready yet: $why" "kubectl describe node $NODE_NAME; kubectl get pods -A --field-selector spec.nodeName=$NODE_NAME"
      return 0
    fi
    sleep 2
    node_get || true
  done
  did ready "after $((SECONDS - until + WAIT)) s"
}

main() {
  arguments "$@"
  need_root
  scratch
  check_all
  if ((FAILED)); then
    die "prerequisites not met: $FAILED; nothing was changed" "mend what is marked FAIL and run the script again"
  fi
  if [[ $CHECK_ONLY == true ]]; then
    title "This machine can join pool $POOL; nothing was changed."
    return
  fi
  title "Writing"
  write_files
  start_kubelet
  wait_for_node
  title "Done. What comes next, where kubectl is:"
  printf '  kubectl get node %s\n  magpiectl status\n' "$NODE_NAME"
}
