# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034,SC2153 # one of the parts of a script
# What join writes. Every file is compared first: a second run writes nothing.

WROTE=false   # by the last write_file
CHANGED=false # something kubelet must be restarted for

# write_file PATH MODE: make PATH hold standard input; WROTE says whether that
# took a write. What was there before and is not ours is kept beside it, and
# leave puts it back.
write_file() {
  local path=$1 mode=$2 new=$TMP/new
  WROTE=false
  cat >"$new"
  if [[ -f $path ]] && cmp -s "$new" "$path" && [[ $(stat -c %a "$path") == "${mode#0}" ]]; then
    note "file $path"
    did unchanged "$path"
    return
  fi
  if [[ -e $path ]] && ! grep -qsxF -- "file $path" "$MANIFEST"; then
    cp -a -- "$path" "$path.before-magpie"
    note "saved $path"
  fi
  note "file $path"
  (umask 022 && mkdir -p -- "$(dirname "$path")")
  install -m "$mode" "$new" "$path.magpie-new"
  mv -f -- "$path.magpie-new" "$path"
  did written "$path"
  WROTE=true
}

# kubelet_file PATH MODE TEXT: a file that kubelet reads when it starts.
kubelet_file() {
  write_file "$1" "$2" <<<"$3"
  [[ $WROTE == false ]] || CHANGED=true
}

# cgroup_driver is what the container runtime does; kubelet must do the same.
cgroup_driver() {
  local config
  config=$(containerd config dump 2>/dev/null || cat /etc/containerd/config.toml 2>/dev/null || true)
  if grep -Eq 'SystemdCgroup[[:space:]]*=[[:space:]]*true' <<<"$config"; then echo systemd; else echo cgroupfs; fi
}

kubelet_config() {
  local server
  cat <<EOF
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: $CA_FILE}
authorization: {mode: Webhook}
cgroupDriver: $(cgroup_driver)
clusterDNS:
EOF
  for server in $CLUSTER_DNS; do printf -- '  - "%s"\n' "$server"; done
  cat <<EOF
clusterDomain: "$CLUSTER_DOMAIN"
containerRuntimeEndpoint: "unix://$RUNTIME_SOCKET"
rotateCertificates: true
EOF
  if [[ -e /run/systemd/resolve/resolv.conf ]]; then
    # The stub in /etc/resolv.conf listens on loopback, where no pod reaches it.
    echo 'resolvConf: /run/systemd/resolve/resolv.conf'
  fi
  if [[ $ALLOW_SWAP == true ]]; then echo 'failSwapOn: false'; fi
  if ((KUBELET_MINOR >= 31)) && [[ $(stat -fc %T /sys/fs/cgroup) != cgroup2fs ]]; then echo 'failCgroupV1: false'; fi
}

bootstrap_config() {
  cat <<EOF
apiVersion: v1
kind: Config
clusters:
  - {name: cluster, cluster: {server: "$API_SERVER", certificate-authority: $CA_FILE}}
users:
  - {name: bootstrap, user: {token: "$TOKEN"}}
contexts:
  - {name: bootstrap, context: {cluster: cluster, user: bootstrap}}
current-context: bootstrap
EOF
}

# needs_bootstrap: has this node no certificate of its own, or an expired one?
needs_bootstrap() {
  local pem
  pem=$(node_certificate)
  [[ -s $KUBECONFIG_NODE && -s $pem ]] || return 0
  have openssl && ! openssl x509 -noout -checkend 0 -in "$pem" >/dev/null 2>&1
}

node_certificate() {
  awk '$1 == "client-certificate:" { print $2; exit }' "$KUBECONFIG_NODE" 2>/dev/null || true
}

kubelet_command() {
  printf '%s' "$KUBELET --bootstrap-kubeconfig=$BOOTSTRAP --kubeconfig=$KUBECONFIG_NODE --config=$KUBERNETES/kubelet.yaml"
  [[ -d $KUBERNETES/kubelet.conf.d ]] && printf ' --config-dir=%s' "$KUBERNETES/kubelet.conf.d"
  [[ $NODE_NAME == "$(default_name)" ]] || printf ' --hostname-override=%s' "$NODE_NAME"
  [[ -z $NODE_IP ]] || printf ' --node-ip=%s' "$NODE_IP"
  # shellcheck disable=SC2016 # systemd expands it
  printf ' --node-labels=%s $KUBELET_EXTRA_ARGS' "$NODE_LABELS"
}

# A package may have brought a unit; then ours is a drop-in, and "20-" makes it
# win over kubeadm's "10-".
write_unit() {
  local unit dir=/etc/systemd/system command
  command=$(kubelet_command)
  for unit in /usr/lib/systemd/system/kubelet.service /lib/systemd/system/kubelet.service "$dir/kubelet.service"; do
    [[ -e $unit ]] || continue
    grep -qsxF -- "file $unit" "$MANIFEST" && break
    kubelet_file "$dir/kubelet.service.d/20-magpie.conf" 0644 "# Written by magpiectl join.
[Service]
EnvironmentFile=-/etc/default/kubelet
ExecStart=
ExecStart=$command"
    return
  done
  kubelet_file "$dir/kubelet.service" 0644 "# Written by magpiectl join.
[Unit]
Description=Kubernetes node agent
Documentation=https://kubernetes.io/docs/
Wants=network-online.target
After=network-online.target containerd.service
StartLimitIntervalSec=0

[Service]
EnvironmentFile=-/etc/default/kubelet
ExecStart=$command
Restart=always
RestartSec=5

[Install]
WantedBy=multi-user.target"
}

# Other programs that think every route and every device is theirs.
write_foreign() {
  if running systemd-networkd; then
    write_file "$NETWORKD" 0644 <<'EOF'
# Written by magpiectl join: without it systemd-networkd deletes the routes and
# rules of the pod network when it restarts.
[Network]
ManageForeignRoutes=no
ManageForeignRoutingPolicyRules=no
EOF
    [[ $WROTE == false ]] || systemctl restart systemd-networkd
  fi
  if running NetworkManager; then
    write_file "$NETWORK_MANAGER" 0644 <<'EOF'
# Written by magpiectl join: NetworkManager leaves the pod network's devices alone.
[keyfile]
unmanaged-devices=interface-name:mag*
EOF
    [[ $WROTE == false ]] || systemctl reload NetworkManager || true
  fi
}

# ra_uplinks prints the devices whose default route the kernel takes from router
# advertisements: those it has now, and those that an earlier run has noted. A
# device with accept_ra 0 is somebody else's: systemd-networkd and NetworkManager
# read advertisements themselves, whether the machine forwards or not.
ra_uplinks() {
  local device
  {
    awk '$1 == "sysctl" && $2 ~ "/accept_ra$" { sub("^.*/ipv6/conf/", "", $2); sub("/accept_ra$", "", $2); print $2 }' "$MANIFEST"
    ip -6 -oneline route show default proto ra | awk '{ for (i = 1; i < NF; i++) if ($i == "dev") print $(i + 1) }' |
      while read -r device; do
        [[ $(<"/proc/sys/net/ipv6/conf/$device/accept_ra") != 1 ]] || printf '%s\n' "$device"
      done
  } | sort -u
}

# sysctls prints what /etc/sysctl.d gets. Names with slashes: a device may have
# a dot in its own.
sysctls() {
  local device uplinks
  cat <<'EOF'
# Written by magpiectl join.
net/ipv4/ip_forward = 1
EOF
  uplinks=$(ra_uplinks)
  [[ -n $uplinks ]] || return 0
  cat <<'EOF'
# A host that forwards IPv6 ignores router advertisements, and drops the routes
# it has from them, unless it is told 2 here.
EOF
  for device in $uplinks; do printf 'net/ipv6/conf/%s/accept_ra = 2\n' "$device"; done
}

write_sysctls() {
  local key value line text
  text=$(sysctls)
  write_file "$SYSCTLS" 0644 <<<"$text"
  while read -r line; do
    [[ $line == *" = "* ]] || continue
    key=/proc/sys/${line%% = *}
    value=${line##* = }
    [[ -e $key && $(<"$key") != "$value" ]] || continue
    note "sysctl $key $(<"$key")"
    printf '%s' "$value" >"$key"
    did set "$line"
  done <"$SYSCTLS"
}

write_files() {
  local text
  note "# what magpiectl join wrote; magpiectl leave reads it"
  note "cluster $CLUSTER"
  note "server $API_SERVER"
  note "pool $POOL"
  note "node $NODE_NAME"
  kubelet_file "$CA_FILE" 0644 "$CA_PEM"
  if needs_bootstrap; then
    text=$(bootstrap_config)
    kubelet_file "$BOOTSTRAP" 0600 "$text"
  fi
  text=$(kubelet_config)
  kubelet_file "$KUBERNETES/kubelet.yaml" 0644 "$text"
  write_unit
  write_foreign
  write_sysctls
}
