# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034,SC2153 # one of the parts of a script
# Undoes what join did on the machine. Safe to run again after an interruption:
# the manifest goes last.

usage() {
  cat <<EOF
Makes this machine a machine again that is node $NODE of no cluster: stops
kubelet, removes its pods and their data, what the agent made in the kernel,
and the files that magpiectl join wrote.

usage: bash LEAVE_SCRIPT [--help]      or      ... | ssh root@MACHINE bash
EOF
}

check_leave() {
  local node
  node=$(noted node)
  if [[ -z $node ]]; then
    ok "this machine has not joined by magpiectl join, or has left already"
    return 1
  fi
  [[ $node == "$NODE" ]] || die "this machine is node $node, not $NODE" "magpiectl leave $node --script"
  [[ $(noted cluster) == "$CLUSTER" ]] || die "this machine is a node of another cluster ($(noted server))" \
    "use that cluster's kubeconfig"
}

stop_kubelet() {
  title "Stopping kubelet"
  if running kubelet; then
    systemctl stop kubelet
    did stopped kubelet
  fi
  systemctl disable kubelet >/dev/null 2>&1 || true
}

containers() { ctr --address "$RUNTIME_SOCKET" --namespace k8s.io "$@"; }

# Pods are removed below the runtime's Kubernetes interface: that one would ask
# the agent, which is among the pods.
stop_pods() {
  local id tries
  title "Removing pods"
  if ! have ctr || [[ ! -S $RUNTIME_SOCKET ]]; then
    warn "no ctr or no containerd on $RUNTIME_SOCKET: pods are left running" "remove them with the runtime's own tool, then run this script again"
    return
  fi
  for id in $(containers tasks list --quiet); do
    containers tasks kill --signal SIGKILL "$id" >/dev/null 2>&1 || true
  done
  for id in $(containers containers list --quiet); do
    for tries in 1 2 3 4 5 6 7 8 9 10; do
      containers tasks delete --force "$id" >/dev/null 2>&1 || true
      if containers containers delete "$id" >/dev/null 2>&1; then
        did removed "container ${id:0:12}"
        break
      fi
      ((tries < 10)) || warn "container $id does not go away"
      sleep 0.5
    done
  done
}

# The agent knows what it owns; nobody else does it by a second list.
clean_kernel() {
  local dir mounts=()
  title "Cleaning the kernel"
  if [[ -z $IMAGE ]]; then
    did skipped "the cluster has no magpie-agent"
    return
  fi
  if ! have ctr || [[ ! -S $RUNTIME_SOCKET ]]; then
    warn "without containerd the agent's cleanup cannot run" "reboot: nothing the agent made survives that"
    return
  fi
  printf '%s' "$AGENT_YAML" >"$TMP/agent.yaml"
  mounts=(--mount "type=bind,src=$TMP,dst=/etc/magpie,options=rbind:ro")
  for dir in "$STATE" /run/magpie "$CNI_CONF_DIR" "$CNI_BIN_DIR"; do
    [[ -d $dir ]] || continue
    mounts+=(--mount "type=bind,src=$dir,dst=$dir,options=rbind:rw")
  done
  touch /run/xtables.lock
  mounts+=(--mount "type=bind,src=/run/xtables.lock,dst=/run/xtables.lock,options=bind:rw")
  containers containers delete magpie-leave >/dev/null 2>&1 || true
  if containers run --rm --net-host --privileged "${mounts[@]}" "$IMAGE" magpie-leave \
    magpie-agent cleanup --config /etc/magpie/agent.yaml --node-name "$NODE" >"$TMP/cleanup" 2>&1; then
    did cleaned "devices, routes, rules and CNI files of the agent"
  else
    cat "$TMP/cleanup"
    warn "the agent's cleanup failed" "reboot: nothing the agent made survives that"
  fi
}

# Network namespaces whose sandbox is gone, and mounts of pods' volumes.
clean_kubelet() {
  local path
  title "Removing what kubelet kept"
  for path in /run/netns/cni-*; do
    [[ -e $path ]] || continue
    umount -l -- "$path" 2>/dev/null || true
    rm -f -- "$path"
  done
  while read -r path; do
    umount -l -- "$(printf '%b' "$path")" || warn "cannot unmount $path"
  done < <(awk '$2 ~ "^/var/lib/kubelet/" { print $2 }' /proc/self/mounts | sort -r)
  if grep -q ' /var/lib/kubelet/' /proc/self/mounts; then
    warn "/var/lib/kubelet is kept: something is still mounted in it"
  elif [[ -d /var/lib/kubelet ]]; then
    find /var/lib/kubelet -xdev -mindepth 1 -delete
    did emptied /var/lib/kubelet
  fi
  rm -f -- "$KUBECONFIG_NODE" "$BOOTSTRAP"
  did removed "$KUBECONFIG_NODE"
}

undo_files() {
  local path key value networkd=false manager=false
  title "Removing what join wrote"
  while read -r path; do
    rm -f -- "$path.magpie-new" # of a join that was interrupted
    [[ $path != "$NETWORKD" ]] || networkd=true
    [[ $path != "$NETWORK_MANAGER" ]] || manager=true
    if grep -qxF -- "saved $path" "$MANIFEST" && [[ -e $path.before-magpie ]]; then
      mv -f -- "$path.before-magpie" "$path"
      did restored "$path"
    elif [[ -e $path ]]; then
      rm -f -- "$path"
      did removed "$path"
    fi
    rmdir -- "$(dirname "$path")" 2>/dev/null || true
  done < <(awk '$1 == "file" { sub(/^file /, ""); print }' "$MANIFEST")
  while read -r key value; do
    [[ -e $key ]] || continue # of a device that is gone
    printf '%s' "$value" >"$key" && did restored "$key = $value"
  done < <(awk '$1 == "sysctl" { print $2, $3 }' "$MANIFEST")
  systemctl daemon-reload
  if [[ $networkd == true ]] && running systemd-networkd; then systemctl restart systemd-networkd; fi
  if [[ $manager == true ]] && running NetworkManager; then systemctl reload NetworkManager || true; fi
}

main() {
  case ${1-} in
    '') ;;
    --help | -h) usage && exit 0 ;;
    *) die "unknown option $1" "see --help" ;;
  esac
  need_root
  scratch
  check_leave || exit 0
  stop_kubelet
  stop_pods
  clean_kernel
  clean_kubelet
  undo_files
  if ((WARNED)); then
    die "something is left, see the warnings above ($WARNED)" "mend them and run this script again"
  fi
  rm -rf --one-file-system -- "$STATE" /run/magpie
  title "Done: this machine has left the cluster."
}
