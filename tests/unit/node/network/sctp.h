// sctp.h: SCTP's first two packets (RFC 9260), made by hand, since few kernels have the protocol: who answers an INIT,
// and from which address it came there. Connection tracking and rules take them for what they are.
#pragma once

#include <doctest/doctest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "base/bytes.h"
#include "namespaces.h"
#include "pods.h"

namespace kedge::node {

// CRC32c of a packet whose own checksum is zero (RFC 9260 appendix A).
inline std::uint32_t sctp_checksum(std::string_view packet) {
  std::uint32_t crc = 0xffff'ffff;
  for (unsigned char byte : packet) {
    crc ^= byte;
    for (int i = 0; i < 8; ++i) crc = crc & 1 ? crc >> 1 ^ 0x82f6'3b78 : crc >> 1;
  }
  return ~crc;
}

struct sctp_packet {
  std::uint16_t from = 0, to = 0;  // ports
  std::uint32_t tag = 0;           // the receiver's
  std::uint8_t chunk = 1;          // INIT; 2: INIT ACK
  std::uint32_t own_tag = 1, window = 65536;

  std::string write() const {
    std::string p;
    append_be16(p, from);
    append_be16(p, to);
    append_be32(p, tag);
    append_be32(p, 0);
    p += static_cast<char>(chunk);
    p += '\0';
    append_be16(p, 20);
    append_be32(p, own_tag);
    append_be32(p, window);
    append_be16(p, 1);
    append_be16(p, 1);
    append_be32(p, 1);
    auto sum = sctp_checksum(p);
    for (int i = 0; i < 4; ++i) p[8 + static_cast<std::size_t>(i)] = static_cast<char>(sum >> 8 * i);
    return p;
  }
  // Of an IPv4 packet as a raw socket gives it; false: no such chunk, or the checksum is wrong.
  bool read(std::string_view ip) {
    const auto header = ip.empty() ? 0U : (static_cast<unsigned char>(ip[0]) & 0xfU) * 4U;
    if (ip.size() < header + 32 || header < 20) return false;
    auto p = std::string(ip.substr(header));
    std::uint32_t sum = 0;
    for (int i = 3; i >= 0; --i) sum = sum << 8 | static_cast<unsigned char>(p[8 + static_cast<std::size_t>(i)]);
    std::memset(p.data() + 8, 0, 4);
    auto* at = as_bytes(p).data();
    from = load_be16(at);
    to = load_be16(at + 2);
    tag = load_be32(at + 4);
    chunk = static_cast<std::uint8_t>(p[12]);
    own_tag = load_be32(at + 16);
    window = load_be32(at + 20);
    return sum == sctp_checksum(p) && (chunk == 1 || chunk == 2);
  }
};

// Who serves an SCTP port in namespaces, each by a thread: an INIT is answered with the server's number as its tag, and
// the address from which it came as the window.
class sctp_servers {
 public:
  sctp_servers() = default;
  sctp_servers(const sctp_servers&) = delete;
  sctp_servers& operator=(const sctp_servers&) = delete;
  ~sctp_servers() {
    for (int fd : fds_) ::shutdown(fd, SHUT_RDWR);
    if (end_[1] >= 0) ::close(end_[1]);
    for (auto& t : threads_) t.join();
    for (int fd : fds_) ::close(fd);
    if (end_[0] >= 0) ::close(end_[0]);
  }
  void add(const test_namespace& pod, std::uint16_t port) {
    if (end_[0] < 0) CHECK(::pipe(end_.data()) == 0);
    int fd = raw_in(pod);
    fds_.push_back(fd);
    threads_.emplace_back([fd, port, number = static_cast<std::uint32_t>(fds_.size()), end = end_[0]] {
      for (;;) {
        pollfd both[] = {{fd, POLLIN, 0}, {end, POLLIN, 0}};
        if (::poll(both, 2, -1) < 0 || both[1].revents) return;
        std::array<char, 2048> room;
        sockaddr_in who{};
        socklen_t size = sizeof who;
        auto got = ::recvfrom(fd, room.data(), room.size(), 0, reinterpret_cast<sockaddr*>(&who), &size);
        sctp_packet p;
        if (got < 0 || !p.read({room.data(), static_cast<std::size_t>(got)}) || p.chunk != 1 || p.to != port) continue;
        auto said = sctp_packet{.from = port,
                                .to = p.from,
                                .tag = p.own_tag,
                                .chunk = 2,
                                .own_tag = number,
                                .window = ntohl(who.sin_addr.s_addr)}
                        .write();
        ::sendto(fd, said.data(), said.size(), 0, reinterpret_cast<sockaddr*>(&who), size);
      }
    });
  }
  // "0 10.42.3.1": who answered, and from which address the question came; or "refused", "nothing". From a port of its
  // own each time.
  std::string ask(const test_namespace& from, std::string_view address, std::uint16_t port, int patience_ms = 1500) {
    const int fd = raw_in(from);
    auto at = socket_address(address, 0);
    CHECK(::connect(fd, reinterpret_cast<sockaddr*>(&at), sizeof at) == 0);
    const sctp_packet asked{.from = next_port_++, .to = port, .own_tag = 77};
    auto text = asked.write();
    std::string out = "nothing";
    // The node's own rules tell their own sender at once.
    if (::send(fd, text.data(), text.size(), 0) < 0)
      out = errno == EPERM || errno == ECONNREFUSED ? "refused" : "not sent";
    for (pollfd p{fd, POLLIN, 0}; out == "nothing" && ::poll(&p, 1, patience_ms) == 1;) {
      std::array<char, 2048> room;
      auto got = ::recv(fd, room.data(), room.size(), 0);
      if (got < 0) {
        out = errno == ECONNREFUSED ? "refused" : "error " + std::to_string(errno);
        break;
      }
      sctp_packet said;
      if (!said.read({room.data(), static_cast<std::size_t>(got)}) || said.chunk != 2 || said.to != asked.from ||
          said.from != port || said.tag != asked.own_tag)
        continue;
      in_addr who{.s_addr = htonl(said.window)};
      std::array<char, INET_ADDRSTRLEN> shown;
      ::inet_ntop(AF_INET, &who, shown.data(), shown.size());
      out = std::to_string(said.own_tag - 1) + " " + shown.data();
    }
    ::close(fd);
    return out;
  }

 private:
  static int raw_in(const test_namespace& ns) {
    int fd = -1;
    ns.run([&] { fd = ::socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_SCTP); });
    CHECK(fd >= 0);
    return fd;
  }
  std::vector<int> fds_;
  std::vector<std::thread> threads_;
  std::array<int, 2> end_{-1, -1};  // closing the second ends the threads
  std::uint16_t next_port_ = 20'000;
};

}  // namespace kedge::node
