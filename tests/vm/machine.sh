#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# machine.sh NAME IFNAME SERVER - what a virtual machine of test-machines.py runs: takes a lease, then does what SERVER tells it.
# Commands come from http://SERVER:9000/NAME, one a request; what they print, and their status, goes to SERVER:9001.
name=$1 ifname=$2 server=$3

cat > /lease << 'END'
#!/bin/sh
[ "$1" = bound ] || exit 0
ip addr replace "$ip/$mask" dev "$interface"
ip link set "$interface" mtu "$mtu"
ip route replace default via "$router"
echo "nameserver $dns" > /etc/resolv.conf
END
chmod 755 /lease
ip link set "$ifname" up
for try in 1 2 3; do
        udhcpc -i "$ifname" -f -n -q -t 20 -T 1 -s /lease > /dev/null 2>&1 && break
done || { echo "no lease"; exit 1; }
mkdir -p /www /tmp
echo "$name" > /www/index.html
httpd -p 8080 -h /www
echo "ready $(ip -4 -o addr show dev "$ifname" | sed 's/.*inet \([0-9.]*\).*/\1/')"
while :; do
        wget -q -O /tmp/command "http://$server:9000/$name" || { sleep 1; continue; }
        { sh /tmp/command 2>&1; echo "status $?"; } > /tmp/output < /dev/null
        { echo "$name"; cat /tmp/output; } | nc "$server" 9001
done
