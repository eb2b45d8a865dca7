// announce.h: telling an interface's neighbours that an address is here now: gratuitous ARP (RFC 5227 §3), unsolicited
// neighbour advertisement (RFC 4861 §7.2.6). Switches and neighbours' caches follow at once.
#pragma once

#include "base/ip.h"
#include "node/network/links.h"

namespace kedge::node {

// The packet as it goes out on the link: an Ethernet frame with an ARP announcement.
std::string arp_announcement(const mac_address& mac, const ip_address& a);
// The ICMPv6 message without its checksum, which the kernel fills in.
std::string neighbour_advertisement(const mac_address& mac, const ip_address& a);

// Sends one. `a` is an address of the link. Blocks no longer than a send.
result<void> announce_address(const link_info& link, const ip_address& a);

}  // namespace kedge::node
