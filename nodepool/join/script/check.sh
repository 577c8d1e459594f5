# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034,SC2153 # one of the parts of a script
# The prerequisites. No function here changes anything.

check_tools() {
  local tool missing=()
  for tool in awk cmp curl date find getent grep install ip sha256sum systemctl; do
    have "$tool" || missing+=("$tool")
  done
  if ((${#missing[@]})); then
    bad "missing programs: ${missing[*]}" "install them (Debian: apt-get install curl iproute2 diffutils findutils; RHEL: dnf install curl iproute diffutils findutils)"
    return 1
  fi
  ok "programs this script uses"
}

# at_least A.B C.D: is version A.B at least C.D?
at_least() {
  local a=${1%%.*} b=${1#*.} c=${2%%.*} d=${2#*.}
  b=${b%%[!0-9]*}
  ((a > c || (a == c && ${b:-0} >= d)))
}

check_kernel() {
  local release
  release=$(uname -r)
  if at_least "$release" "$KERNEL_MIN"; then
    ok "kernel $release"
  else
    bad "kernel $release is older than $KERNEL_MIN: it lacks what the nftables rules need" \
      "boot a newer kernel; see your distribution's backports"
  fi
}

check_name() {
  local label='[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?'
  if [[ $NODE_NAME == localhost* ]]; then
    bad "the host name is $NODE_NAME: every machine has that" "hostnamectl set-hostname NAME, or pass --node-name NAME"
  elif [[ ${#NODE_NAME} -le 253 && $NODE_NAME =~ ^$label(\.$label)*$ ]]; then
    ok "node name $NODE_NAME"
  else
    bad "the host name $NODE_NAME is not a DNS label: only a-z, 0-9 and - are allowed, at most 63 of them" \
      "hostnamectl set-hostname NAME, or pass --node-name NAME"
  fi
}

check_swap() {
  local devices
  devices=$(awk 'NR > 1 { printf "%s%s", sep, $1; sep = ", " }' /proc/swaps 2>/dev/null || true)
  if [[ -z $devices ]]; then
    ok "swap is off"
  elif [[ $ALLOW_SWAP == true ]]; then
    warn "swap is on ($devices), allowed by --allow-swap"
  else
    bad "swap is on ($devices): kubelet refuses to start" \
      "swapoff -a and remove it from /etc/fstab, or pass --allow-swap"
  fi
}

check_cgroup() {
  local kind
  kind=$(stat -fc %T /sys/fs/cgroup 2>/dev/null || echo none)
  if [[ $kind == cgroup2fs ]]; then
    ok "cgroup v2"
  elif grep -q ' cgroup [^ ]*memory' /proc/self/mounts; then
    warn "cgroup v1: Kubernetes 1.35 and newer want v2; kubelet is told to accept it" "boot with systemd.unified_cgroup_hierarchy=1"
  else
    bad "no cgroup file system with the memory controller below /sys/fs/cgroup" \
      "mount it: boot with systemd, without cgroup_disable=memory"
  fi
}

check_runtime() {
  if [[ ! -S $RUNTIME_SOCKET ]]; then
    bad "no container runtime listens on $RUNTIME_SOCKET" \
      "install and start containerd (apt-get install containerd; systemctl enable --now containerd), or print the script with --runtime-endpoint"
    return
  fi
  if grep -Eqs '^[[:space:]]*disabled_plugins[[:space:]]*=.*"(io\.containerd\.grpc\.v1\.)?cri"' /etc/containerd/config.toml; then
    bad "containerd's Kubernetes interface is switched off: disabled_plugins in /etc/containerd/config.toml names cri" \
      "remove \"cri\" from disabled_plugins and: systemctl restart containerd"
    return
  fi
  ok "container runtime on $RUNTIME_SOCKET"
}

check_kubelet() {
  local version minor
  if ! KUBELET=$(command -v kubelet); then
    bad "there is no kubelet" "install kubelet v1.$SERVER_MINOR (https://kubernetes.io/releases/download)"
    return
  fi
  version=$("$KUBELET" --version 2>/dev/null || true)
  version=${version##* v}
  minor=${version#1.}
  minor=${minor%%.*}
  if [[ ! $minor =~ ^[0-9]+$ ]]; then
    bad "$KUBELET --version answers \"$version\"" "install kubelet v1.$SERVER_MINOR"
    return
  fi
  KUBELET_MINOR=$minor
  if ((minor > SERVER_MINOR)); then
    bad "kubelet v$version is newer than the API server (v1.$SERVER_MINOR)" "install kubelet v1.$SERVER_MINOR"
  elif ((minor < SERVER_MINOR - 3)); then
    bad "kubelet v$version is more than three minor versions older than the API server (v1.$SERVER_MINOR)" "install kubelet v1.$SERVER_MINOR"
  else
    ok "kubelet v$version"
  fi
}

# check_joined sets JOINED to no, same (this cluster, by this script) or other.
check_joined() {
  local cluster pool
  cluster=$(noted cluster)
  pool=$(noted pool)
  JOINED=no
  if [[ -n $cluster && $cluster != "$CLUSTER" ]]; then
    JOINED=other
    bad "this machine is node $(noted node) of another cluster ($(noted server))" \
      "with that cluster's kubeconfig: magpiectl leave $(noted node) --script | ssh root@THIS bash"
  elif [[ -z $cluster && -e $KUBECONFIG_NODE ]]; then
    JOINED=other
    bad "this machine has already joined $(awk '$1 == "server:" { print $2; exit }' "$KUBECONFIG_NODE"), not by this script ($KUBECONFIG_NODE exists)" \
      "undo that first (kubeadm reset), or: kubectl label node NAME apps.openyurt.io/nodepool=$POOL"
  elif [[ -n $cluster && $pool != "$POOL" ]]; then
    bad "this machine is in pool $pool" "move it with: kubectl label node $(noted node) apps.openyurt.io/nodepool- && kubectl label node $(noted node) apps.openyurt.io/nodepool=$POOL"
  elif [[ -n $cluster && $(noted node) != "$NODE_NAME" ]]; then
    bad "this machine is node $(noted node), not $NODE_NAME" "pass --node-name $(noted node), or leave first"
  elif [[ -n $cluster ]]; then
    JOINED=same
    ok "already a node of this cluster"
  else
    ok "in no other cluster"
  fi
}

# holder PROTO PORT: who has the port, in words; empty when it is free.
holder() {
  local hex inode link pid device
  hex=$(printf ':%04X' "$2")
  inode=$(cat "/proc/net/$1" "/proc/net/${1}6" 2>/dev/null | awk -v port="$hex" -v proto="$1" '
    substr($2, length($2) - 4) == port && (proto == "udp" || $4 == "0A") { print $10; exit }')
  [[ -n $inode ]] || return 0
  link=$(find /proc/[0-9]*/fd -maxdepth 1 -lname "socket:\[$inode\]" -print -quit 2>/dev/null || true)
  if [[ -n $link ]]; then
    pid=${link#/proc/}
    pid=${pid%%/*}
    printf '%s (pid %s)' "$(cat "/proc/$pid/comm" 2>/dev/null || echo a process)" "$pid"
    return
  fi
  device=$(ip -details -oneline link show type vxlan 2>/dev/null | awk -v port="$2" '
    { for (i = 1; i < NF; i++) if ($i == "dstport" && $(i + 1) == port) { sub(/[:@].*/, "", $2); print $2; exit } }')
  printf 'the kernel%s' "${device:+ (device $device)}"
}

check_port() {
  local proto=$1 port=$2 use=$3 by
  by=$(holder "$proto" "$port")
  if [[ -z $by ]]; then
    ok "port $port/$proto is free ($use)"
  elif [[ $JOINED == same && $by =~ ^(kubelet|magpie-agent|the\ kernel) ]]; then
    ok "port $port/$proto is held by $by ($use)"
  elif [[ $by == *"device flannel"* ]]; then
    warn "port $port/$proto is held by $by: the agent takes over from Flannel"
  else
    bad "port $port/$proto ($use) is taken by $by" "stop it or give it another port"
  fi
}

check_ports() {
  check_port tcp 10250 kubelet
  check_port udp "$PORT_LINKS" links
  check_port udp "$PORT_VXLAN" overlay
}

check_node_ip() {
  [[ -n $NODE_IP ]] || return 0
  if ip -oneline address show | awk '{ print $4 }' | grep -q "^$NODE_IP/"; then
    ok "address $NODE_IP"
  else
    bad "no interface has the address $NODE_IP" "pass --node-ip with one of: $(ip -oneline address show scope global | awk '{ sub("/.*", "", $4); printf "%s ", $4 }')"
  fi
}
