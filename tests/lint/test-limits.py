#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""
Limits that the pages quote are the code's: test-limits.py SOURCE-DIRECTORY

Each line of LIMITS says which page quotes which constant in which words: {n} is its value, {s}, {KiB} and {MiB} the same in that unit. A page that is worded anew is told so, too: then its line here has to follow.
"""
import pathlib
import re
import sys

LIMITS = """
man/vnetctl.1            MANAGER_FORWARD_PORTS_MAX     may be a range of up to {n},
man/vnetctl.1            TAP_QUEUES_MAX                Number of queues of an interface, 1 to {n}
man/vnetctl.1            GUEST_QUEUES_MAX              Number of queues of an interface, 1 to {n}
man/vnetctl.1            GUEST_PARALLEL_MAX            processors for them, at most {n},
man/vnetctl.1            CAPTURE_SNAPLEN_MAX           Default: {n}, the most there is
man/vnetctl.1            LOOPBACK_SEGMENT_MAX          super-segments of {KiB} KiB on its
man/vnetctl.1            DNS_ZONE_TTL_SEC              Default: {n}s.
man/vnetd.8              HTTP_TIMEOUT_SEC              A connection may take {n} seconds in silence
man/vnetd.8              HTTP_REQUEST_SEC              and {n} for a request and its answer
man/vnetd.8              HTTP_CONNECTIONS_MAX          a socket has {n} at once
man/vnetd.8              HTTP_BODY_MAX                 a body of more than {MiB} MiB
man/vnetd.8              TCP_HOPS_MAX                  may go no further than {n} hops
man/vnetd.json.5         MULTICAST_RETRY_USEC          looked for every {s} seconds
man/vnetd.json.5         MULTICAST_PER_SEC             At most {n} a second are reflected
man/vnetd.json.5         MULTICAST_PAYLOAD_MAX         none longer than {n} bytes
man/vnetd.json.5         UDP_TIMEOUT_DNS_USEC          reach that guest for {s} seconds
man/vnetd.json.5         DEVICE_MTU_MIN                offered to guests, {n} to
man/vnetd.json.5         DEVICE_MTU_MAX                to {n}; a device that carries less lowers it. Default: {n}.
man/vnetd.json.5         NETSTACK_RESOLVERS_MAX        {n} at most): whom names
man/vnetd.json.5         NETSTACK_DNS_ROUTE_SERVERS_MAX  DNS servers ({n} at most,
man/vnetd.json.5         POLICY_NAT_MAX                {n} at most, each address once
man/vnetd.json.5         NETSTACK_NTP_MAX              (up to {n} IPv4 addresses of time servers
man/vnetd.json.5         NETSTACK_SEARCH_MAX           (up to {n} search domains
man/vnetd.json.5         POLICY_RULES_MAX              what guests may reach, {n} at most:
man/vnetd.json.5         CONFIG_LEASE_SEC_MIN          from "{n}s" to
man/vnetd.json.5         DNS_ZONE_TTL_SEC              "1s" to "7d". Default: {n}s.
man/vnetd.json.5         MANAGER_FORWARD_PORTS_MAX     a range of up to {n},
man/vnetd.json.5         DNS_PATTERN_MAX               (POSIX, extended, {n} bytes at most)
org.vnetd1.Manager.xml   NAME_MAX_LEN                  @name: 1 to {n} of
org.vnetd1.Manager.xml   BUS_STRING_MAX                Strings are at most {n} bytes
org.vnetd1.Manager.xml   BUS_LIST_MAX                  lists and dictionaries at most {n} entries
org.vnetd1.Manager.xml   DEVICE_MTU_MAX                to {n}: the most that DHCP offers
org.vnetd1.Manager.xml   TAP_QUEUES_MAX                Queues u (of an interface, 1 to {n}:
org.vnetd1.Manager.xml   TAP_VHOST_QUEUE_SIZE_MIN      a power of two, {n} to
org.vnetd1.Manager.xml   TAP_VHOST_QUEUE_SIZE_MAX      a power of two, 32 to {n})
org.vnetd1.Manager.xml   LEND_SOCKETS_MAX              a pidfd and 1 to {n} TCP sockets
org.vnetd1.Network.xml   NETSTACK_SERVICES_MAX         at most {n} a network
org.vnetd1.Network.xml   BUS_FLOWS_MAX                 Limit u (1 to {n}, the default)
org.vnetd1.Network.xml   DNS_ZONE_TTL_SEC              Ttl u: seconds, {n} when it is not given
org.vnetd1.Device.xml    FRAME_LEN_MAX                 an Ethernet frame, 14 to {n} bytes
org.vnetd1.Device.xml    CAPTURE_FILTER_MAX            at most {n} bytes, "" takes all
org.vnetd1.Device.xml    CAPTURE_SNAPLEN_MAX           1 to {n}, which is the default
org.vnetd1.Device.xml    PACKET_SOCKETS_MAX            QuotaExceeded: {n} of one device
org.vnetd1.Device.xml    DEVICE_WATCHES_MAX            of one device, {n} with its captures
org.vnetd1.Device.xml    MANAGER_CAPTURES_MAX          QuotaExceeded: {n} captures in all
org.vnetd1.Device.xml    MANAGER_PER_USER_CAPTURES_MAX  captures in all, {n} of one user
org.vnetd1.Device.xml    DEVICE_WATCHES_MAX            {n} watchers of one device
docs/conformance.md      FRAG_TIMEOUT_USEC             wait {s} seconds, not 60
docs/conformance.md      FRAG_PIECES_MAX               At most {n} pieces make a datagram
docs/conformance.md      FRAG_PER_GUEST_MAX            make a datagram, {n} datagrams a guest
docs/gvproxy.md          NETSTACK_SEARCH_MAX           the first {n} are told
docs/gvproxy.md          DNS_ZONES_MAX                 at most {n} zones of
docs/gvproxy.md          DNS_ZONE_RECORDS_MAX          zones of {n} records
docs/gvproxy.md          HTTP_TIMEOUT_SEC              closed after {n} s of silence
docs/gvproxy.md          HTTP_REQUEST_SEC              and after {n} s for a request
docs/gvproxy.md          HTTP_CONNECTIONS_MAX          {n} connections at once
docs/ARCHITECTURE.md     FRAME_BATCH_MAX               batches of up to {n}, never singly
docs/ARCHITECTURE.md     TCP_STEADY                    has answered {n} small requests in a row
docs/ARCHITECTURE.md     UDP_SEGMENTS_MAX              walked once for up to {n} of them
docs/ARCHITECTURE.md     UDP_GUEST_RUN_MAX             A guest's frame of more than {n} datagrams
docs/ARCHITECTURE.md     TAP_BATCH_LEN                 and {KiB} KiB from the first short frame on
docs/ARCHITECTURE.md     LOOPBACK_SEGMENT_MAX          super-segments of {KiB} KiB there
"""
NUMBER = re.compile(r"(?<![\w])(0x[0-9a-fA-F]+|\d+)[uUlL]+\b")


def defines(source):
    found = {}
    for path in sorted(source.glob("src/**/*.[ch]")) + sorted(source.glob("ctl/*.[ch]")):
        for name, value in re.findall(r"^#define (\w+) +(.+?) *(?:/\*.*)?$", path.read_text(), re.M):
            found.setdefault(name, value)
    return found


def evaluate(name, found):
    """The value of a constant made of numbers and other constants."""
    text = re.sub(r"\((?:usec_t|size_t)\)", "", NUMBER.sub(r"\1", found[name]))
    text = re.sub(r"[A-Z]\w+", lambda m: str(evaluate(m[0], found)), text)
    if not re.fullmatch(r"[\dxa-fA-F\s()+*/-]+", text):
        sys.exit(f"{name}: '{found[name]}' is more than this test can read")
    return int(eval(text.replace("/", "//")))


def page(source, name):
    path = source / ("dbus-interfaces" if name.endswith(".xml") else ".") / name
    text = path.read_text()
    if path.parent.name == "man":
        text = re.sub(r"^\.(?:[BIR]{1,2}|SM) ", "", text, flags=re.M)
        text = text.replace("\\(dq", '"').replace("\\-", "-").replace("\\&", "")
    return re.sub(r"[\s`]+", " ", text)


def main():
    source = pathlib.Path(sys.argv[1])
    found, failures = defines(source), []
    lines = [line.split(None, 2) for line in LIMITS.strip().splitlines()]
    pages = {name: page(source, name) for name in {line[0] for line in lines}}
    for name, constant, words in lines:
        value = evaluate(constant, found)
        units = {"s": value // 10**6, "KiB": value // 1024, "MiB": value // 1024**2}
        says = {words.format(n=n, **units) for n in (value, f"{value:,}")}
        if not any(text in pages[name] for text in says):
            failures.append(f"{name} does not say '{min(says)}': {constant} in the code")
    print("\n".join(failures) or f"{len(lines)} limits")
    return 1 if failures else 0


sys.exit(main())
