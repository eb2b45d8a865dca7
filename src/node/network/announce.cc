#include "node/network/announce.h"

#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>

#include "base/bytes.h"

namespace kedge::node {

namespace {

class raw_socket {
 public:
  raw_socket(int family, int type, int protocol) : fd_(::socket(family, type | SOCK_CLOEXEC, protocol)) {}
  raw_socket(const raw_socket&) = delete;
  raw_socket& operator=(const raw_socket&) = delete;
  ~raw_socket() {
    if (fd_ >= 0) ::close(fd_);
  }
  explicit operator bool() const noexcept { return fd_ >= 0; }
  void set(int level, int name, int value) const noexcept { ::setsockopt(fd_, level, name, &value, sizeof value); }
  int fd() const noexcept { return fd_; }

 private:
  int fd_;
};

std::string_view text_of(const mac_address& m) { return {reinterpret_cast<const char*>(m.data()), m.size()}; }
std::string_view v4_of(const ip_address& a) { return {reinterpret_cast<const char*>(a.octets().data()) + 12, 4}; }
std::string_view v6_of(const ip_address& a) { return {reinterpret_cast<const char*>(a.octets().data()), 16}; }

error cannot(const ip_address& a) { return os_error(errno, "announce " + a.text()); }

result<void> announce_v4(const link_info& link, const ip_address& a) {
  raw_socket s(AF_PACKET, SOCK_RAW, 0);
  if (!s) return fail(cannot(a));
  sockaddr_ll to{};
  to.sll_family = AF_PACKET;
  to.sll_ifindex = link.index;
  auto packet = arp_announcement(link.mac, a);
  if (::sendto(s.fd(), packet.data(), packet.size(), MSG_DONTWAIT, reinterpret_cast<sockaddr*>(&to), sizeof to) < 0)
    return fail(cannot(a));
  return {};
}

result<void> announce_v6(const link_info& link, const ip_address& a) {
  constexpr int hops = 255;  // others are dropped: they came over a router
  raw_socket s(AF_INET6, SOCK_RAW, IPPROTO_ICMPV6);
  if (!s) return fail(cannot(a));
  s.set(IPPROTO_IPV6, IPV6_MULTICAST_HOPS, hops);
  s.set(IPPROTO_IPV6, IPV6_MULTICAST_IF, link.index);
  s.set(IPPROTO_IPV6, IPV6_MULTICAST_LOOP, 0);
  sockaddr_in6 from{}, to{};
  from.sin6_family = to.sin6_family = AF_INET6;
  std::memcpy(&from.sin6_addr, a.octets().data(), sizeof from.sin6_addr);
  if (::bind(s.fd(), reinterpret_cast<sockaddr*>(&from), sizeof from) != 0) return fail(cannot(a));
  constexpr unsigned char all_nodes[16] = {0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
  std::memcpy(&to.sin6_addr, all_nodes, sizeof all_nodes);
  to.sin6_scope_id = static_cast<std::uint32_t>(link.index);
  auto message = neighbour_advertisement(link.mac, a);
  if (::sendto(s.fd(), message.data(), message.size(), MSG_DONTWAIT, reinterpret_cast<sockaddr*>(&to), sizeof to) < 0)
    return fail(cannot(a));
  return {};
}

}  // namespace

std::string arp_announcement(const mac_address& mac, const ip_address& a) {
  constexpr std::uint16_t ethernet = 1, request = 1;
  std::string out(6, '\xff');
  out += text_of(mac);
  append_be16(out, ETHERTYPE_ARP);
  append_be16(out, ethernet);
  append_be16(out, ETHERTYPE_IP);
  out += '\x06';
  out += '\x04';
  // A request, not a reply: every stack brings its cache up to date by it.
  append_be16(out, request);
  out += text_of(mac);
  out += v4_of(a);
  out.append(6, '\0');
  out += v4_of(a);
  return out;
}

std::string neighbour_advertisement(const mac_address& mac, const ip_address& a) {
  constexpr char advertisement = static_cast<char>(136), target_link_address = 2, units_of_eight = 1;
  constexpr std::uint32_t override_cached = 0x20000000;
  std::string out;
  out += advertisement;
  out.append(3, '\0');  // code, checksum
  append_be32(out, override_cached);
  out += v6_of(a);
  out += target_link_address;
  out += units_of_eight;
  out += text_of(mac);
  return out;
}

result<void> announce_address(const link_info& link, const ip_address& a) {
  return a.is_v4() ? announce_v4(link, a) : announce_v6(link, a);
}

}  // namespace kedge::node
