#!/bin/sh
# The way out of a LAN: addresses and names for its machines (dnsmasq), their way to the outside and ports back in
# (nft), and the time (chronyd); sourced by guest/init-service.
#
# Words on the kernel's command line, written by `hairline` from the plan's `gateway`:
#   hairline.gateway=NAME:IP        who leads out of the LAN; the rest is for that one
#   hairline.forward=PORT:IP:PORT,...  a port of the outside's, and where it leads; of UDP: udp/PORT:IP:PORT
# and from the plan's `cmdline`, where the outside's own DHCP is not there, or is not to be asked:
#   hairline.outside=IP/BITS,ROUTER the address there, and who leads on
#   hairline.dns=IP[#PORT]          who knows names
#   hairline.ntp=IP[:PORT]          who knows the time

# The address of a port of the LAN's switch, by the machine's IP address there (abi/plan.h:plan_mac_byte).
mac_of() {
    IFS=. read -r _ _ lan vm <<EOT
$1
EOT
    printf '02:68:6c:00:%02x:%02x' "$lan" "$vm"
}

# The first card that is no virtual one.
find_outside() {
    for outside in $(ls /sys/class/net); do
        driver=$(readlink "/sys/class/net/$outside/device/driver") || continue
        [ "${driver##*/}" = virtio_net ] || return 0
    done
    return 1
}

# keep COMMAND...: for ever; what ends starts again.
keep() {
    while :; do
        "$@"
        echo "$1 ended, and starts again"
        sleep 1
    done
}

outside_up() {
    until_true 60 find_outside && ip link set "$outside" up || return 1
    fixed=$(word hairline.outside)
    if [ -n "$fixed" ]; then
        ip addr add "${fixed%,*}" dev "$outside" && ip route add default via "${fixed#*,}" && echo >/run/lease
    else
        believed='' keep udhcpc -f -i "$outside" -x "hostname:$name" -s /lease >/dev/null 2>&1 &
    fi
    until_true $patience test -e /run/lease && outside_differs
}

# Two networks of one number: nobody could say where an address is.
outside_differs() {
    [ "$(ip -4 route | grep -c "^${net%.*}\.0/24 ")" = 1 ] && return
    echo "the outside has the LAN's own addresses, $net/24: give it others"
    return 1
}

# A guest speaks from its own addresses only (the switch admits no other MAC); it reaches the outside, and of this
# machine what it serves, also if such a port is forwarded; the outside reaches what is. Each guest has its share of
# connections.
rules() {
    cat <<EOT
table ip gateway {
    set guests { typeof ether saddr . ip saddr; elements = { $(for p in "$name:$here" $peers; do
        echo "$(mac_of "${p#*:}") . ${p#*:},"
    done) } }
    set busy { type ipv4_addr; size 256; flags dynamic; }
    chain admit {
        type filter hook prerouting priority raw;
        iifname $card_lan ip saddr 0.0.0.0 udp dport 67 accept
        iifname $card_lan ether saddr . ip saddr != @guests counter drop
    }
    chain inward {
        type nat hook prerouting priority dstnat;
        iifname $card_lan udp dport { 53, 67, 123 } accept
        iifname $card_lan tcp dport 53 accept
        $(for f in $(word hairline.forward | tr ',' ' '); do
        proto=tcp
        [ "$f" = "${f#udp/}" ] || proto=udp
        f=${f#udp/}
        echo "fib daddr type local $proto dport ${f%%:*} dnat to ${f#*:}"
    done)
    }
    chain outward {
        type nat hook postrouting priority srcnat;
        oifname $outside masquerade
        oifname $card_lan ct status dnat ip saddr $net/24 masquerade
    }
    chain forward {
        type filter hook forward priority filter; policy drop;
        ct state established,related accept
        iifname $card_lan ct state new add @busy { ip saddr ct count over 1024 } drop
        iifname $card_lan oifname $outside accept
        ct status dnat accept
    }
    chain input {
        type filter hook input priority filter; policy drop;
        iifname lo accept
        ct state established,related accept
        iifname $card_lan ct state new add @busy { ip saddr ct count over 1024 } drop
        icmp type echo-request accept
        iifname $card_lan udp dport { 53, 67, 123 } accept
        iifname $card_lan tcp dport 53 accept
    }
}
EOT
}

# Not as root; but ports below 1024 are theirs to serve. Answers are broadcast: dnsmasq would put a client that has no
# address yet into the table of neighbours, and so make room there for another's word (lan_up).
names() {
    set -- --interface="$card_lan" --bind-interfaces --except-interface=lo --user=nobody --no-hosts --no-ping --domain-needed \
        --dhcp-authoritative --dhcp-broadcast --dhcp-range="$net,static,12h" --dhcp-option=option:router,"$here" \
        --dhcp-option=option:dns-server,"$here" --dhcp-option=option:ntp-server,"$here" \
        --dhcp-leasefile="$kept/leases" --host-record="$name,$here"
    dns=$(word hairline.dns)
    [ -z "$dns" ] || set -- "$@" --no-resolv --server="$dns"
    for peer in $peers; do
        set -- "$@" --dhcp-host="$(mac_of "${peer#*:}"),${peer#*:},${peer%:*}" --host-record="${peer%:*},${peer#*:}"
    done
    keep dnsmasq --keep-in-foreground --conf-file=/dev/null --pid-file= "$@" &
}

# Nobody is told a time that nobody told us.
time_server() {
    ntp=$(word hairline.ntp)
    [ -n "$ntp" ] || read -r _ ntp _ </run/lease
    [ -n "$ntp" ] || return 0
    cat >/run/chrony.conf <<EOT
server ${ntp%:*} $(case $ntp in *:*) echo "port ${ntp#*:}" ;; esac) iburst
allow $net/24
makestep 1 -1
driftfile $kept/drift
cmdport 0
pidfile /run/chronyd.pid
EOT
    keep chronyd -d -u nobody -f /run/chrony.conf >/dev/null 2>&1 &
}

lan_up() {
    ip link set "$card_lan" up && ip addr add "$ip" dev "$card_lan" || return 1
    for peer in $peers; do # nobody speaks for another
        arp -i "$card_lan" -s "${peer#*:}" "$(mac_of "${peer#*:}")" || return 1
    done
}

# VMs that may be created: their numbers are in the plan, their names are not.
later() {
    range=$(word hairline.later)
    [ -z "$range" ] || for n in $(seq "${range%-*}" "${range#*-}"); do
        echo "later-$n:${net%.*}.$n"
    done
}

gateway_up() {
    load gateway
    here=${ip%/*} net=${here%.*}.0
    peers="$(word hairline.peers | tr ',' ' ') $(later)"
    card_of "$(mac_of "$here")" && card_lan=$card || return 1
    kept=/run
    ! grep -q ' /volumes ' /proc/mounts || ! mkdir -p /volumes/etc || kept=/volumes/etc
    lan_up && outside_up && rules >/run/rules && nft -f /run/rules || return 1
    echo 131072 >/proc/sys/net/netfilter/nf_conntrack_max # more than all shares
    echo 1 >/proc/sys/net/ipv4/ip_forward
    names
    time_server
    echo "GATEWAY $name: from $here to $(ip -4 -o addr show dev "$outside" | awk '{ print $4 }')"
}
