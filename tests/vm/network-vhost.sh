#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Runs in the virtual machine: a whole network over vhost-net. vnetd on a private bus, a namespace as guest, plugged in with --vhost: DHCP, a
# download and an upload of SIZE MiB with equal checksums, a port exposed, the daemon's own view; then the same device without /dev/vhost-net.
#
#     network-vhost.sh VNETD VNETCTL [SIZE]
set -u
vnetd=$1 vnetctl=$2 size=${3:-256}
dir=/tmp/net host=192.168.127.254
. "${0%/*}/private-vnetd.sh"

guest() { nsenter -t "$guest" -n -m "$@"; }

cat > $dir/dhcp << 'EOF'
#!/bin/sh
[ "$1" = bound ] || exit 0
ip addr add $ip/${mask:-24} dev $interface
ip route add default via ${router%% *}
for d in $dns; do echo nameserver $d; done > /tmp/net/guest/resolv.conf
EOF
chmod +x $dir/dhcp
all_received() { same "$(wc -c < $dir/datagrams)" 64000; }
start_vnetd
unshare -n -m sleep 100000 &
guest=$!
soon is_apart $guest
guest ip link set lo up

echo 1..14
check "the device is made over vhost-net" ctl device create tap --vhost --netns=$guest
ctl device list --json=short > $dir/devices 2>&1
check "its kind is vhost-net" grep -q vhost-net $dir/devices
check "the worker runs" sh -c "ls /proc/$daemon/task/*/comm | xargs grep -l '^vhost-' || ps | grep '[v]host-$daemon'"
eth=$(guest ip -o link | sed -n 's/^[0-9]*: \(vnet[0-9]*\).*/\1/p')
check "the guest gets a lease" guest udhcpc -i "$eth" -n -q -t 60 -T 1 -s $dir/dhcp
check "the gateway answers" guest ping -c 3 -W 30 192.168.127.1

dd if=/dev/urandom of=$dir/www/blob bs=1M count="$size" 2> /dev/null || exit 1
page=http://$host:8080/blob
sum=$(sha256sum < $dir/www/blob)
httpd -p 127.0.0.1:8080 -h $dir/www
check "${size} MiB come down" sh -c "nsenter -t $guest -n curl -sf $page | sha256sum > $dir/down"
check "unchanged" same "$sum" "$(cat $dir/down)"

guest nc -l -p 9000 -e sh -c "cat $dir/www/blob" &
soon listens $guest tcp 9000
check "a port is exposed" ctl expose 6443 192.168.127.2:9000
(nc 127.0.0.1 6443 < /dev/null | sha256sum > $dir/up) 2> /dev/null
check "${size} MiB come up through it, unchanged" same "$sum" "$(cat $dir/up)"

# The laboratory: a device of no network, and one UDP super-segment of 64000 bytes from 192.0.2.2:5000 to 192.0.2.1:7000 injected.
unshare -n sleep 100000 &
lab=$!
soon is_apart $lab
check "a device of no network is made" ctl device create tap --vhost --network= --netns=$lab --name=lab0 --mac=52:54:00:00:00:09
eth=$(nsenter -t $lab -n ip -o link | sed -n 's/^[0-9]*: \(vnet[0-9]*\).*/\1/p')
nsenter -t $lab -n ip addr add 192.0.2.1/24 dev "$eth"
nsenter -t $lab -n socat -u UDP-RECV:7000,rcvbuf=1000000 OPEN:$dir/datagrams,creat > /dev/null 2>&1 &
receiver=$!
soon listens $lab udp 7000
printf '%b' "\\0122\\0124\\0000\\0000\\0000\\0011\\0122\\0124\\0000\\0000\\0000\\0010\\0010\\0000\\0105\\0000\
\\0372\\0034\\0000\\0001\\0000\\0000\\0100\\0021\\0374\\0313\\0300\\0000\\0002\\0002\\0300\\0000\
\\0002\\0001\\0023\\0210\\0033\\0130\\0372\\0010\\0176\\0036" > $dir/frame
head -c 64000 /dev/zero >> $dir/frame
check "a super-segment is injected" ctl inject lab0 --gso=udp --gso-size=1400 < $dir/frame
check "the guest's kernel has cut it, and its socket has it all" soon all_received
kill $receiver
kill $lab

# Without vhost-net the same command makes a plain TAP, and the log says why.
mv /dev/vhost-net /dev/vhost-net-hidden
unshare -n sleep 100000 &
other=$!
soon is_apart $other
check "without vhost-net a plain tap is made" ctl device create tap --vhost --netns=$other
check "and the log says so" grep -q "plain TAP.*/dev/vhost-net" $dir/vnetd.log
ctl stats 2> /dev/null | sed 's/^/# /'
kill $guest $other $daemon
[ $failed = 0 ] || sed 's/^/# vnetd: /' $dir/vnetd.log
exit $failed
