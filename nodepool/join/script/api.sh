# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034,SC2153 # one of the parts of a script
# Can this machine reach, trust and be trusted by the API server? In that
# order: what comes later cannot be told before what comes earlier is right.

# ask PATH [CURL OPTION...]: one request; the status is curl's.
ask() {
  local path=$1
  shift
  curl --silent --show-error --noproxy '*' --connect-timeout 5 --max-time 15 "$@" "$API_SERVER$path" </dev/null
}

check_api() {
  check_api_route && check_api_answer && check_clock && check_trust && check_token
}

# why is the first line of what curl complained about.
why() { head -n 1 "$TMP/error"; }

# resolve HOST: its addresses, best first; an address is its own.
resolve() {
  if [[ $1 == *:* || $1 =~ ^[0-9.]+$ ]]; then
    printf '%s\n' "$1"
  else
    getent ahosts "$1" 2>/dev/null | awk '{ sub(/^::ffff:/, "", $1) } !seen[$1]++ { print $1 }'
  fi
}

check_api_route() {
  local address first=
  split_server "$API_SERVER"
  for address in $(resolve "$API_HOST"); do
    if ip route get "$address" >/dev/null 2>&1; then return 0; fi
    first=${first:-$address}
  done
  if [[ -z $first ]]; then
    bad "the name $API_HOST of the API server does not resolve" "check /etc/resolv.conf, or print the script with --api-server https://ADDRESS:PORT"
  else
    bad "no outbound route to the API server $API_SERVER ($first)" "give this machine a default route (ip route add default via GATEWAY) or plug in its uplink"
  fi
  return 1
}

check_api_answer() {
  local status=0
  ask /version --insecure --dump-header "$TMP/headers" --output /dev/null 2>"$TMP/error" || status=$?
  case $status in
    0) ok "route to $API_SERVER" ;;
    7) bad "nothing answers at $API_SERVER: $(why)" "allow outbound TCP $API_PORT to $API_HOST in this site's firewall; is the API server running?" ;;
    28) bad "$API_SERVER does not answer within 15 s: a firewall drops the packets" "allow outbound TCP $API_PORT to $API_HOST" ;;
    35) bad "$API_SERVER answers, but not with TLS: $(why)" "is --api-server right, and is nothing in between?" ;;
    *) bad "$API_SERVER cannot be reached: $(why)" "try: curl -kv $API_SERVER/version" ;;
  esac
  return "$status"
}

check_clock() {
  local there here off
  there=$(awk 'tolower($1) == "date:" { sub(/^[^ ]+ /, ""); sub(/\r$/, ""); print; exit }' "$TMP/headers")
  if ! there=$(date -u -d "$there" +%s 2>/dev/null) || [[ -z $there ]]; then
    warn "the API server does not tell the time: the clock is not checked"
    return 0
  fi
  here=$(date -u +%s)
  off=$((here - there))
  if ((off > CLOCK_LIMIT || off < -CLOCK_LIMIT)); then
    bad "the clock is ${off#-} s $( ((off < 0)) && echo behind || echo ahead of) the API server's (here $(date -u -d "@$here" +%FT%TZ), there $(date -u -d "@$there" +%FT%TZ)): certificates would be refused" \
      "set it: timedatectl set-ntp true, or chronyc makestep"
    return 1
  fi
  ok "clock is ${off#-} s off"
}

check_trust() {
  printf '%s\n' "$CA_PEM" >"$TMP/ca.crt"
  if ask /version --cacert "$TMP/ca.crt" --output /dev/null 2>"$TMP/error"; then
    ok "certificate of the API server"
    return 0
  fi
  bad "$API_SERVER does not prove to be this cluster's API server: $(why)" \
    "is --api-server that of this cluster, is its address in the server's certificate, and does no proxy break TLS open?"
  return 1
}

# The token goes through a file: a command line is everybody's to read.
check_token() {
  local code
  printf 'header = "Authorization: Bearer %s"\n' "$TOKEN" >"$TMP/curlrc"
  code=$(ask /api --cacert "$TMP/ca.crt" --config "$TMP/curlrc" --output /dev/null --write-out '%{http_code}' 2>/dev/null || true)
  if [[ $code == 200 || $code == 403 ]]; then
    ok "bootstrap token"
  elif [[ $JOINED == same && -e $KUBECONFIG_NODE ]]; then
    ok "bootstrap token has expired, which does not matter any more"
  else
    bad "the API server refuses the bootstrap token (HTTP $code); it was valid until $TOKEN_EXPIRES" "print a new script: magpiectl join --pool $POOL"
    return 1
  fi
}
