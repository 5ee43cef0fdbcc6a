#!/bin/bash
# topo.sh: two network namespaces, a client and a server, joined by links as linkem.c emulates them. Needs root.
#
#   topo.sh up             build it             topo.sh down            remove it
#   topo.sh run CMD ...    up, run the command, down, whatever happens meanwhile
#   topo.sh sweep          remove what killed runs have left behind (up does that, too)
#   topo.sh cut I          link I goes silent: nobody is told         topo.sh mend I   and works again
#   topo.sh ifdown I       the client's interface I goes down: its kernel knows    topo.sh ifup I
#   topo.sh rebind I       the NAT of link I forgets its ports (links with nat=1)
#   topo.sh status         what each link has carried and dropped
#
#   LINKS="RATE/DELAY/QUEUE/LOSS[/OPTIONS];..."   one entry per link (default "50/15/100ms/0;20/60/100ms/0")
#     RATE Mbit/s (0 = none), DELAY one way in ms, or MEAN~JITTER; QUEUE "100ms" or bytes; LOSS in percent, or LOSS~BURST;
#     OPTIONS as linkem takes them, separated by blanks, e.g. "nat=1 order=free".
#     Each value may be TO_SERVER,TO_CLIENT.
#   SEED=N     seed of loss and jitter        PREFIX=qe-   of the names of namespaces: several topologies can live at once
#
# Link I: client c<I> 10.99.<I>.1 and fd99:<I>::1, server s<I> 10.99.<I>.2 and fd99:<I>::2, in the namespaces
# <PREFIX>cl and <PREFIX>sv; the emulators live in <PREFIX>em. What is sent from an address leaves over its link, and every
# address of the other side can be reached over every link. What has a PREFIX that begins
# with qe<PID>- is removed by sweep when that process is gone.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
PREFIX=${PREFIX:-qe-}
client=${PREFIX}cl server=${PREFIX}sv emulators=${PREFIX}em
state_root=/run/quicether-links
state=$state_root/${PREFIX}state

die() { echo "topo.sh: $*" >&2; exit 1; }

check_machine() {
  [ "$(id -u)" = 0 ] || die "network namespaces need root; run it as root, e.g. with sudo"
  local missing=()
  for tool in ip:iproute2 ethtool:ethtool sysctl:procps; do
    command -v "${tool%%:*}" >/dev/null || missing+=("${tool##*:}")
  done
  [ ${#missing[@]} = 0 ] || die "missing: ${missing[*]}; install: apt-get install -y ${missing[*]}"
}

# Compiled once for each version of the source.
build_emulator() {
  mkdir -p "$state_root"
  emulator=$state_root/linkem-$(cksum <"$here/linkem.c" | tr -c '0-9\n' -)
  [ -x "$emulator" ] && return
  command -v gcc >/dev/null || die "missing: gcc, which compiles linkem.c; install: apt-get install -y gcc libc6-dev"
  gcc -O2 -std=gnu11 -o "$emulator.$$" "$here/linkem.c" -lm
  mv "$emulator.$$" "$emulator"
}

# remove PREFIX
remove() {
  local prefix=$1 file pid
  for file in "$state_root/${prefix}state"/*.pid; do
    [ -f "$file" ] || continue
    pid=$(cat "$file")
    case $(cat "/proc/$pid/comm" 2>/dev/null || true) in linkem*) kill "$pid" 2>/dev/null || true ;; esac
  done
  for name in cl sv em; do
    [ -e "/run/netns/$prefix$name" ] || continue
    ip netns del "$prefix$name"
  done
  rm -rf "$state_root/${prefix}state"
}

is_running() { [ -d "/proc/$1" ] && ! grep -q '^State:.Z' "/proc/$1/status" 2>/dev/null; }

sweep() {
  local name pid
  for name in /run/netns/qe[0-9]*-* "$state_root"/qe[0-9]*-*state; do
    [ -e "$name" ] || continue
    name=$(basename "$name")
    pid=${name#qe} pid=${pid%%-*}
    is_running "$pid" && continue
    name=${name%state} name=${name%cl} name=${name%sv} name=${name%em}
    remove "$name"
  done
}

offloads_off() { ip netns exec "$1" ethtool -K "$2" tso off gso off gro off tx off rx off sg off >/dev/null 2>&1 || true; }

# routes NAMESPACE NAME OWN OTHER I N: what leaves from link I's address leaves over link I
routes() {
  local space=$1 device=$2$5 own=$3 other=$4 i=$5 count=$6 j
  ip -n "$space" route replace "10.99.$i.0/24" dev "$device" src "10.99.$i.$own" table $((100 + i))
  ip -6 -n "$space" route replace "fd99:$i::/64" dev "$device" table $((100 + i))
  for j in $(seq "$count"); do
    [ "$j" = "$i" ] && continue
    ip -n "$space" route replace "10.99.$j.0/24" via "10.99.$i.$other" dev "$device" src "10.99.$i.$own" table $((100 + i))
    ip -6 -n "$space" route replace "fd99:$j::/64" via "fd99:$i::$other" dev "$device" table $((100 + i))
  done
}

addresses() { # NAMESPACE NAME OWN I
  ip -n "$1" link set "$2$4" up
  ip -n "$1" addr replace "10.99.$4.$3/24" dev "$2$4"
  ip -n "$1" addr replace "fd99:$4::$3/64" dev "$2$4" nodad
}

start_emulator() { # I RATE DELAY QUEUE LOSS OPTIONS
  local i=$1 rate=$2 delay=$3 queue=$4 loss=$5 options=$6
  local there=${delay%%,*} back=${delay##*,} lost_there=${loss%%,*} lost_back=${loss##*,} jitter=0,0 burst=1,1
  jitter=$(tilde "$there"),$(tilde "$back")
  burst=$(tilde "$lost_there" 1),$(tilde "$lost_back" 1)
  # shellcheck disable=SC2086 # the options are words
  setsid ip netns exec "$emulators" "$emulator" "ec$i" "es$i" "rate=$rate" "delay=${there%~*},${back%~*}" \
    "jitter=$jitter" "queue=$queue" "loss=${lost_there%~*},${lost_back%~*}" "burst=$burst" \
    "seed=$((${SEED:-1} * 10 + i))" $options </dev/null >/dev/null 2>"$state/link$i.log" 3>&- 4>&- &
  echo $! >"$state/link$i.pid"
}

hardware_address() { ip netns exec "$1" cat "/sys/class/net/$2/address"; } # NAMESPACE DEVICE

# neighbours NAMESPACE DEVICE OTHER I MAC: known for good, so that the emulator loses packets and never an ARP answer,
# which would silence a link for the second until the kernel asks again.
neighbours() {
  ip -n "$1" neigh replace "10.99.$4.$3" lladdr "$5" dev "$2$4" nud permanent
  ip -6 -n "$1" neigh replace "fd99:$4::$3" lladdr "$5" dev "$2$4" nud permanent
}

tilde() { case $1 in *~*) echo "${1#*~}" ;; *) echo "${2:-0}" ;; esac; }

up() {
  local links=${LINKS:-50/15/100ms/0;20/60/100ms/0} entries i=0 entry rate delay queue loss options space
  check_machine
  build_emulator
  sweep
  remove "$PREFIX"
  mkdir -p "$state"
  IFS=';' read -ra entries <<<"$links"
  for space in "$client" "$server" "$emulators"; do
    ip netns add "$space"
    ip -n "$space" link set lo up
    ip netns exec "$space" sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0
  done
  echo "${#entries[@]}" >"$state/count"
  for entry in "${entries[@]}"; do
    i=$((i + 1))
    IFS='/' read -r rate delay queue loss options <<<"$entry"
    [ -n "${loss:-}" ] || die "link $i is \"$entry\", expected RATE/DELAY/QUEUE/LOSS"
    ip link add "c$i" netns "$client" type veth peer name "ec$i" netns "$emulators"
    ip link add "s$i" netns "$server" type veth peer name "es$i" netns "$emulators"
    for device in "ec$i" "es$i"; do
      ip netns exec "$emulators" sysctl -qw "net.ipv6.conf.$device.disable_ipv6=1"
      offloads_off "$emulators" "$device"
      ip -n "$emulators" link set "$device" arp off up
    done
    offloads_off "$client" "c$i"
    offloads_off "$server" "s$i"
    addresses "$client" c 1 "$i"
    addresses "$server" s 2 "$i"
    neighbours "$client" c 2 "$i" "$(hardware_address "$server" "s$i")"
    neighbours "$server" s 1 "$i" "$(hardware_address "$client" "c$i")"
    start_emulator "$i" "$rate" "$delay" "$queue" "$loss" "${options:-}"
  done
  for i in $(seq "${#entries[@]}"); do
    routes "$client" c 1 2 "$i" "${#entries[@]}"
    routes "$server" s 2 1 "$i" "${#entries[@]}"
    for side in "$client 1" "$server 2"; do
      ip -n "${side% *}" rule add from "10.99.$i.${side#* }" table $((100 + i))
      ip -6 -n "${side% *}" rule add from "fd99:$i::${side#* }" table $((100 + i))
    done
  done
  for i in $(seq "${#entries[@]}"); do await_emulator "$i"; done
}

await_emulator() {
  for _ in $(seq 100); do
    grep -q ' up$' "$state/link$1.log" && return
    is_running "$(cat "$state/link$1.pid")" || break
    sleep 0.02
  done
  die "the emulator of link $1 did not start: $(cat "$state/link$1.log")"
}

signal_link() { # SIGNAL I
  [ -f "$state/link$2.pid" ] || die "there is no link $2 here; topo.sh up makes links"
  kill "-$1" "$(cat "$state/link$2.pid")"
}

status() {
  local file
  for file in "$state"/*.pid; do kill -HUP "$(cat "$file")"; done
  sleep 0.2
  tail -q -n 2 "$state"/link*.log
}

usage() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"; exit 2; }

case ${1:-} in
  up)
    trap 'code=$?; [ $code = 0 ] || remove "$PREFIX"' EXIT
    up ;;
  down) remove "$PREFIX" ;;
  sweep) sweep ;;
  run)
    shift
    trap 'remove "$PREFIX"' EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
    up
    "$@" ;;
  cut) signal_link USR1 "${2:-}" ;;
  mend) signal_link USR2 "${2:-}" ;;
  rebind) signal_link RTMIN "${2:-}" ;;
  ifdown) ip -n "$client" link set "c$2" down ;;
  ifup)
    addresses "$client" c 1 "$2"
    neighbours "$client" c 2 "$2" "$(hardware_address "$server" "s$2")"
    routes "$client" c 1 2 "$2" "$(cat "$state/count")" ;;
  status) status ;;
  *) usage ;;
esac
