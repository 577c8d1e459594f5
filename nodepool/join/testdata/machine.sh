# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Makes the namespaces it runs in a machine that is about to join. The words of
# the cases are below.
set -euo pipefail
mount -t tmpfs tmpfs /mnt
for d in etc var; do
  mkdir -p "/mnt/$d.up" "/mnt/$d.work"
  mount -t overlay -o "userxattr,lowerdir=/$d,upperdir=/mnt/$d.up,workdir=/mnt/$d.work" overlay "/$d"
done
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /opt
mount -t proc proc /proc
ip link set lo up
hostname a-1
echo 0 >/proc/sys/net/ipv4/ip_forward
rm -rf /etc/kubernetes /etc/systemd/system/kubelet* /var/lib/kubelet /var/lib/magpie /etc/containerd /etc/NetworkManager
mkdir -p /run/fake /etc/containerd /run/containerd
echo 'SystemdCgroup = true' >/etc/containerd/config.toml
printf 'Filename\tType\tSize\tUsed\tPriority\n' >/run/swaps
mount --bind /run/swaps /proc/swaps
SERVER_AS=real SERVER_CLOCK=0s SERVER_TOKEN=abcdef.0123456789abcdef SERVER_NODE_READY=True
export SERVER_AS SERVER_CLOCK SERVER_TOKEN SERVER_NODE_READY

# listen PROTO PORT: a program called "dnsd" holds the port.
listen() {
  cp "$(command -v perl)" /run/dnsd
  # shellcheck disable=SC2016
  /run/dnsd -MIO::Socket::INET -e '$s = IO::Socket::INET->new(Proto => $ARGV[0], LocalPort => $ARGV[1], ($ARGV[0] eq "tcp" ? (Listen => 1) : ())) or die; open F, ">/run/listening"; close F; sleep 60' "$1" "$2" &
  until [[ -e /run/listening ]]; do sleep 0.05; done
}

runtime() {
  perl -MIO::Socket::UNIX -e 'IO::Socket::UNIX->new(Local => "/run/containerd/containerd.sock", Listen => 1) or die'
}

api_server() {
  MAGPIE_TEST_API_SERVER=$PKI "$SERVER" >/run/api-server.log 2>&1 &
  until curl -ks -o /dev/null https://127.0.0.1:6443/version; do sleep 0.05; done
}

# run SCRIPT [OPTION...]: as an operator does, through a pipe.
run() {
  local status=0 script=$1
  shift
  printf -- '--- %s %s\n' "$script" "$*"
  bash -s -- "$@" <"$WORK/$script" 2>&1 || status=$?
  printf 'exit %s\n' "$status"
}

# findings SCRIPT [OPTION...]: of the output, what did not pass.
findings() { run "$@" | grep -A1 -e "^---" -e FAIL -e warning -e '^error' -e '^exit' -e '^This' | grep -v -e '^--$' -e '^$' -e '^  ok'; }

good() {
  runtime
  api_server
}

# router DEVICE: a neighbour at the other end of the new device DEVICE that can
# advertise itself; advertise makes it do so once.
router() {
  local tries space
  unshare --net sleep 60 &
  ROUTER=$!
  # Nothing can be read while the process starts another program.
  until space=$(readlink "/proc/$ROUTER/ns/net") && [[ $space != "$(readlink /proc/self/ns/net)" ]]; do sleep 0.02; done
  ip link add "$1" type veth peer name lan netns "$ROUTER"
  echo 0 >"/proc/sys/net/ipv6/conf/$1/accept_dad"
  ip link set "$1" up
  in_router ip link set lan address 02:00:00:00:00:01 up
  for tries in {1..100}; do
    in_router ip -6 address show dev lan -tentative | grep -q fe80 && return
    sleep 0.05
  done
  echo "the router got no address after $tries tries" && return 1
}

in_router() { nsenter --target "$ROUTER" --net "$@"; }

# Source: RFC 4861 section 4.2: type 134, hop limit 64, a lifetime of 1800 s.
advertise() {
  # shellcheck disable=SC2016
  in_router perl -MSocket=:all -e '
    socket(my $s, AF_INET6, SOCK_RAW, 58) or die;
    setsockopt($s, 41, 18, pack("i", 255)) or die;
    send($s, pack("CCnCCnNN", 134, 0, 0, 64, 0, 1800, 0, 0), 0, pack_sockaddr_in6(0, inet_pton(AF_INET6, "ff02::1"), $ARGV[0])) or die;
  ' "$(in_router cat /proc/net/dev_mcast | awk '$2 == "lan" { print $1; exit }')"
}

# defaults: the default routes of IPv6, without what counts down. An
# advertisement may still be on its way.
defaults() {
  local tries
  for tries in {1..60}; do
    [[ -z $(ip -6 route show default) ]] || break
    sleep 0.05
  done
  ip -6 -oneline route show default | sed 's/ metric.*//'
}

# files: every file that was made or changed since the machine was, and what is
# in it; times: the same with when it was written.
files() { changed -exec sha256sum {} + | sort -k2; }
times() { changed -exec stat -c '%n %Y %a' {} + | sort; }
changed() { find /etc /var/lib -type f -newer /run/swaps "$@" 2>/dev/null || true; }
