#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Runs in the virtual machine: the date is set ten minutes ahead, and back, under a guest's traffic. A namespace is the guest, another is the
# world outside. The guest has one connection with a byte to and fro and one that downloads, opens new ones, pings and asks its
# resolver, all the time; told is the longest time each got no answer. Leases have to live, and nothing runs in circles.
#
# How long a silence is depends on the machine, which may be emulated and starved. So none of these is held against a number of seconds, but
# against one more that does the same without a gateway, inside the guest: while that is answered thirty times, each has to be answered once.
#
#     clock-jump.sh VNETD VNETCTL [SUSPEND-SECONDS [pasta]]
#
# With SUSPEND-SECONDS the machine sleeps as well, until its clock wakes it, and is slow to go off afterwards. With "pasta" the gateway is
# that, for comparison: nothing is checked then.
set -u
vnetd=$1 vnetctl=$2 suspend=${3:-0} compare=${4:-}
dir=/tmp/net far_addr=198.51.100.1 window=5 window_max=100 jump=600

if [ -n "$compare" ] && [ -z "${MOVED:-}" ]; then # pasta changes its root, which cannot be done where that is the first file system
        export MOVED=1
        mkdir /new
        mount -t tmpfs tmpfs /new
        cp -a /bin /sbin /usr /lib /lib64 /etc /root /run /var /new
        [ ! -d "${0%/*}" ] || { mkdir -p "/new${0%/*}"; cp "$0" "${0%/*}/private-vnetd.sh" "/new${0%/*}"; }
        for file in "$vnetd" "$vnetctl"; do mkdir -p "/new${file%/*}"; cp "$file" "/new${file%/*}"; done
        mkdir -p /new/tmp
        for d in dev proc sys; do mkdir /new/$d; mount --move /$d /new/$d; done
        cd /new && mount --move . / && exec chroot . "$0" "$@"
fi
. "${0%/*}/private-vnetd.sh"

guest() { nsenter -t "$guest" -n "$@"; }
far() { nsenter -t "$far" -n "$@"; }

# ---- the world outside ----

cat > $dir/feed << 'END'
#!/bin/sh
line=$(head -c 20000 /dev/zero | tr '\0' x)
while echo "$line"; do sleep 0.05; done
END
cat > $dir/dns << 'END'
#!/bin/sh
# Whoever asks for probe.test, in any case, is told 198.51.100.1, for no time.
dd bs=2000 count=1 of=/tmp/net/q.$$ 2> /dev/null
{
        head -c 2 /tmp/net/q.$$
        printf '\201\200\0\001\0\001\0\0\0\0'
        tail -c +13 /tmp/net/q.$$ | head -c 16
        printf '\300\014\0\001\0\001\0\0\0\0\0\004\306\063\144\001'
} > /tmp/net/r.$$
cat /tmp/net/r.$$
rm /tmp/net/q.$$ /tmp/net/r.$$
END
chmod +x $dir/feed $dir/dns
echo nameserver 203.0.113.2 > /etc/resolv.conf
echo 0 0 > /proc/sys/net/ipv4/ping_group_range
unshare -n sleep 100000 &
far=$!
soon is_apart $far
ip link add type veth
ip link set veth1 netns $far
ip addr add 203.0.113.1/24 dev veth0
ip link set veth0 up
far ip link set lo up
far ip addr add 203.0.113.2/24 dev veth1
far ip addr add $far_addr/32 dev lo
far ip link set veth1 up
ip route add default via 203.0.113.2
far nc -ll -p 9000 -e cat 2> /dev/null &
far nc -ll -p 9001 -e $dir/feed 2> /dev/null &
far socat UDP-RECVFROM:53,fork EXEC:$dir/dns 2> /dev/null &
soon listens $far tcp 9000
soon listens $far tcp 9001
soon listens $far udp 53

# ---- what the guest does ----

now() { read -r up _ < /proc/uptime && echo "$up"; } # no date has a part in it
cat > $dir/stamp.awk << 'END'
{ getline up < "/proc/uptime"; close("/proc/uptime"); split(up, f, " "); print f[1]; fflush() }
END
pulse() { while sleep 0.1; do echo p; done | guest nc $far_addr 9000 | awk -f $dir/stamp.awk > $dir/pulse; }
download() { guest nc $far_addr 9001 < /dev/null | awk -f $dir/stamp.awk > $dir/download; }
connects() { { echo x; sleep 0.2; } | guest nc -w 1 $far_addr 9000 | grep -q x; }
alone() { { echo x; sleep 0.2; } | guest nc -w 1 127.0.0.1 9000 | grep -q x; }
pings() { guest ping -q -c 1 -W 1 $far_addr; }
asks() { guest nslookup -type=a probe.test. $resolver | grep -q $far_addr; }
again() { # COMMAND: and when it worked
        while :; do
                "$1" > /dev/null && now >> $dir/"$1"
                sleep 0.1
        done
}
probes="pulse download connects pings asks"
begin() {
        for p in $probes alone; do : > $dir/$p; done
        guest ip link set lo up
        guest nc -ll -p 9000 -e cat &
        pulse &
        download &
        for p in connects pings asks alone; do
                again $p &
        done
} 2> /dev/null
going() { for p in $probes; do [ "$(wc -l < $dir/$p)" -gt 3 ] || return 1; done; }
gap() { # PROBE SINCE UNTIL: the longest time without an answer
        awk -v last="$2" -v until="$3" '$1 > last && $1 <= until { if ($1 - last > max) max = $1 - last; last = $1 }
                END { if (until - last > max) max = until - last; printf "%.1f", max }' $dir/"$1"
}
answers() { awk -v since="$2" '$1 > since { n++ } END { print n + 0 }' $dir/"$1"; } # PROBE SINCE: how many
ticks() { awk '{ print $14 + $15 }' /proc/$gateway/stat; }

enough() { # of a look: all were answered, or it is plain that one is not
        [ "$(answers alone "$since")" -ge 10 ] || return 1
        [ "$(answers alone "$since")" -lt 30 ] || return 0
        for p in $probes; do [ "$(answers $p "$since")" -gt 0 ] || return 1; done
}
look() { # WHAT: from now on, what the guest sees; into $gaps and $cpu
        since=$(now)
        before=$(ticks)
        sleep $window
        for _ in $(seq $window $window_max); do # as many turns as a machine of any speed has for so many of them
                ! enough || break
                sleep 1
        done
        answered=
        for p in $probes alone; do answered="$answered $p $(answers $p "$since")"; done
        until=$(now)
        cpu=$(awk -v a="$before" -v b="$(ticks)" -v s="$since" -v u="$until" 'BEGIN { printf "%d", (b - a) / (u - s) }')
        gaps=
        for p in $probes; do gaps="$gaps $p $(gap $p "$since" "$until")"; done
        echo "# $name, $1: longest silence in s:$gaps; answers:$answered; processor time $cpu %"
}
served() { # each was answered
        echo "$gaps; answers:$answered"
        echo "$answered" | awk '{ for (i = 2; i <= NF; i += 2) if ($i < 1) exit 1 }'
}
no_circles() { # an emulated processor that others want as well: a circle takes nearly all of it, and goes on doing so
        for _ in 1 2 3; do
                [ "$cpu" -gt $((usual + 40)) ] || return 0
                look "and on"
        done
        return 1
}
set_date() { date -s "@$(($(date +%s) + $1))"; }
sleeps() {
        echo 0 > /sys/class/rtc/rtc0/wakealarm
        echo "+$suspend" > /sys/class/rtc/rtc0/wakealarm
        echo mem > /sys/power/state
}
changes() { # COMMAND for what is held of the gateway; COMMAND WHAT...
        judge=$1
        look "nothing happens"
        usual=$cpu
        set_date $jump > /dev/null
        look "ten minutes ahead"
        $judge "ten minutes ahead"
        set_date -$jump > /dev/null
        look "ten minutes back"
        $judge "ten minutes back"
        [ "$suspend" != 0 ] || return 0
        date=$(date +%s) monotonic=$(awk '/^now at/ { print int($3 / 1e9) }' /proc/timer_list)
        sleeps
        echo "# $name: the machine has slept; by the date $(($(date +%s) - date)) s, by the clock that stands still $(($(awk '/^now at/ { print int($3 / 1e9) }' /proc/timer_list) - monotonic)) s"
        look "slept for $suspend s"
        $judge "slept for $suspend s"
}

# ---- vnetd ----

cat > $dir/dhcp << 'END'
#!/bin/sh
echo "$1" >> /tmp/net/dhcp-events
[ "$1" = bound ] || exit 0
ip addr add $ip/${mask:-24} dev $interface
ip route add default via ${router%% *}
END
leased() { # the guest's address is still its own, and it can have it for longer
        ctl leases | grep 192.168.127.2 || return 1
        : > $dir/dhcp-events
        kill -USR1 $udhcpc
        soon grep -q renew $dir/dhcp-events && ctl leases | grep 192.168.127.2
}
hold() {
        check "$1: all are served" served
        check "$1: nothing runs in circles" no_circles
        check "$1: the lease lives" leased
}
with_vnetd() {
        resolver=192.168.127.1
        chmod +x $dir/dhcp
        echo '{ "leaseTime": "300s" }' > $dir/config/networks.d/default.json
        start_vnetd
        gateway=$daemon

        echo "1..$((8 + (suspend > 0) * 3))"
        check "the device is made" ctl device create tap --netns=$guest
        eth=$(guest ip -o link | sed -n 's/^[0-9]*: \(vnet[0-9]*\).*/\1/p')
        nsenter -t $guest -n udhcpc -i "$eth" -f -t 20 -T 1 -s $dir/dhcp > /dev/null 2>&1 &
        udhcpc=$!
        soon grep -qs bound $dir/dhcp-events
        begin
        check "the guest has traffic" soon going
        changes hold
        ctl stats 2> /dev/null | sed 's/^/# /'
        kill $udhcpc $daemon
        [ $failed = 0 ] || sed 's/^/# vnetd: /' $dir/vnetd.log
}

# ---- pasta ----

is_configured() { guest ip route | grep -q default; }
with_pasta() {
        resolver=192.0.2.53
        mkdir -p /run/netns
        : > /run/netns/pasta
        mount --bind /proc/$guest/ns/net /run/netns/pasta
        pasta -f --runas 0 --config-net -t none -u none -T none -U none --dns-forward $resolver --netns-only --netns /run/netns/pasta \
                > $dir/pasta.log 2>&1 &
        gateway=$!
        soon is_configured
        begin
        check "the guest has traffic" soon going
        [ $failed = 0 ] || sed 's/^/# /' $dir/pasta.log
        changes :
        echo "1..$n"
}

name=${compare:-vnetd}
unshare -n sleep 100000 &
guest=$!
soon is_apart $guest
with_$name
kill $guest
exit $failed
