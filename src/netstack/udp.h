/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* UDP translation (RFC 768, RFC 4787): endpoint-independent mapping, one host socket per guest address and port with many destinations;
 * endpoint-independent filtering towards the guest is not given: only those the guest has sent to may answer, by address (REQ-8). */

#include "netstack/netstack-private.h"

#define UDP_TIMEOUT_USEC (5 * USEC_PER_MINUTE)      /* RFC 4787 REQ-5 */
#define UDP_TIMEOUT_DNS_USEC (20 * USEC_PER_SEC)    /* mappings that only ever spoke to port 53 */
#define UDP_TIMEOUT_ONESHOT_USEC (60 * USEC_PER_SEC) /* never answered */
#define UDP_PEERS_MAX 64                            /* destination addresses remembered per mapping, oldest forgotten */
#define UDP_RECV_BATCH 32
#define UDP_SEGMENTS_MAX 64                         /* datagrams in one HostMsg: what UDP_SEGMENT takes */
#define UDP_GUEST_RUN_MAX 1024                      /* datagrams in one frame of a guest's: the kernel's sockets make 128 at most */
#define UDP_RUN_MAX (65535 - 48)                    /* payload of a run: it travels as one packet, of either family */
#define UDP_SHARES 256                              /* guests are told apart by a hash of their MAC address; one has 7/8 of the table at most */

typedef struct Flow Flow;
typedef struct Forward Forward;

int udp_new(Udp **ret, Netstack *s);
Udp *udp_free(Udp *u);
void udp_host_event(Netstack *s, Flow *f, uint32_t events);
void udp_forward_event(Netstack *s, Forward *fw, uint32_t events); /* datagrams at a forward's socket */
void udp_flow_close(Netstack *s, Flow *f); /* called by flow_close(): frees what hangs on it, not the flow itself */

/* The datagram at @l4 (in reserved room, UDP header yet to be written, payload of @len bytes behind it) on its way to a guest, as one frame:
 * @gso_size 0 or smaller than @len. @mac nullable. */
void udp_emit(Netstack *s, const Endpoint *src, const Endpoint *dst, const MacAddr *mac, uint32_t mtu, uint8_t *l4, size_t len,
              const HostMsg *m);

/* The inbound flow of a forward's client, who speaks to the host's address @local, made when there is none; NULL (counted) at the limits
 * or when there is no such guest. @local NULL: whichever the client speaks to, and none is made. */
Flow *udp_inbound_flow(Netstack *s, Forward *fw, const Endpoint *client, const IpAddr *local);
/* The flow of what a guest asks of a whole group, which anybody of the host's link may answer for a while. NULL (counted) at the limits. */
Flow *udp_search_flow(Netstack *s, const Packet *p, uint16_t sport, const Endpoint *group);
bool udp_peer_is_known(const Flow *f, const IpAddr *addr);
void udp_timer(Timer *timer, usec_t now, void *userdata); /* of every UDP flow */

/* udp-send.c: what goes to host sockets, collected until the batch ends (udp_input_done()) */
typedef struct UdpSend UdpSend;
int udp_send_new(UdpSend **ret, Netstack *s);
UdpSend *udp_send_free(UdpSend *u);
UdpSend *udp_sender(Udp *u);
/* The payload of one packet of flow @f, on its way by socket @fd to @peer; the guest sent it to port @dport of the packet's destination. */
void udp_collect_packet(Netstack *s, Flow *f, int fd, uint16_t dport, const Endpoint *peer, const Packet *p, IovCur *payload);

/* udp-receive.c: what comes from host sockets */
typedef struct UdpReceive UdpReceive;
int udp_receive_new(UdpReceive **ret, Netstack *s);
UdpReceive *udp_receive_free(UdpReceive *r);
UdpReceive *udp_receiver(Udp *u);

/* Sends one UDP datagram to a guest from one of the gateway's own services; payload copied. @mac nullable. */
void udp_send(Netstack *s, const Endpoint *src, const Endpoint *dst, const MacAddr *mac, const void *payload, size_t len);
