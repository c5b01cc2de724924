# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash disable=SC2034
# For tools/try and tools/check: which Debian packages are needed, and how they get installed. Sourced, not run.

# What the build needs.
packages_build=(gcc libc6-dev dpkg-dev meson ninja-build pkg-config # dpkg-dev: without it meson puts libraries where Debian does not look
        libsystemd-dev libnl-route-3-dev libldns-dev libxxhash-dev libpcap-dev libsmartcols-dev libjsmn-dev uthash-dev
        libmicrohttpd-dev libyaml-dev)

# What tools/try needs to show it: a bus, something that serves a page, something that fetches one, and ip for who looks around.
packages_try=(dbus-daemon python3 curl iproute2)

# What the tests need beside that: GLib and its mocks; real clients and tools for the guests they make.
packages_test=(libglib2.0-dev libglib-testing-0-dev dbus-daemon python3 systemd
        iproute2 iputils-ping procps curl openssh-client openssh-server bind9-dnsutils udhcpc busybox-static iperf3 ethtool socat tcpdump)

# What some builds and tests use where the distribution has it.
packages_wanted=(systemtap-sdt-dev binutils isc-dhcp-client dhcpcd-base ndisc6 nmap hping3 python3-scapy polkitd man-db nftables python3-prometheus-client qemu-system-x86 cpio kmod xz-utils mmdebstrap squashfs-tools util-linux zsh bash-completion)

package_is_installed() {
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# install_packages PACKAGE...: those not there yet, by apt, as root or by sudo; says which.
install_packages() {
        local missing=() package as_root=()

        for package in "$@"; do
                package_is_installed "$package" || missing+=("$package")
        done
        [ ${#missing[@]} -gt 0 ] || return 0

        echo "Installing with apt: ${missing[*]}"
        if ! command -v apt-get >/dev/null; then
                echo "There is no apt-get here: install the like of these packages first: ${missing[*]}" >&2
                return 1
        fi
        if [ "$(id -u)" -ne 0 ]; then
                if ! command -v sudo >/dev/null; then
                        echo "Run this as root first: apt-get install ${missing[*]}" >&2
                        return 1
                fi
                as_root=(sudo)
        fi
        "${as_root[@]}" apt-get update -qq </dev/null || true # a stale list may do
        "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
                apt-get install -y -qq --no-install-recommends "${missing[@]}" </dev/null >/dev/null || {
                echo "apt-get could not install: ${missing[*]}" >&2
                return 1
        }
}

# The ones of PACKAGE... that the distribution has.
available_packages() {
        local package

        for package in "$@"; do
                if package_is_installed "$package" || apt-cache policy "$package" 2>/dev/null | grep -q 'Candidate: [^(]'; then
                        echo "$package"
                fi
        done
}
