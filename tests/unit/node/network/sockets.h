// sockets.h: ports of this machine, and datagrams to them, for tests of what answers there.
#pragma once

#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <string>

#include "reactor/descriptor.h"
#include "reactor/sync.h"

namespace kedge::node {

inline int bound(std::uint16_t& port) {
  int s = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  at.sin_port = htons(port);
  CHECK(::bind(s, reinterpret_cast<sockaddr*>(&at), sizeof at) == 0);
  socklen_t size = sizeof at;
  ::getsockname(s, reinterpret_cast<sockaddr*>(&at), &size);
  port = ntohs(at.sin_port);
  return s;
}

// One that nobody has, for datagrams and for connections.
inline std::uint16_t free_port() {
  for (;;) {
    std::uint16_t port = 0;
    int datagrams = bound(port);
    int s = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    at.sin_port = htons(port);
    bool free = ::bind(s, reinterpret_cast<sockaddr*>(&at), sizeof at) == 0;
    ::close(s);
    ::close(datagrams);
    if (free) return port;
  }
}

inline task<std::string> ask_udp(std::uint16_t port, std::string message) {
  std::uint16_t own = 0;
  int fd = bound(own);
  reactor::descriptor s(fd);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  to.sin_port = htons(port);
  ::sendto(fd, message.data(), message.size(), 0, reinterpret_cast<sockaddr*>(&to), sizeof to);
  std::array<char, 65536> room;
  for (;;) {
    auto got = ::recv(fd, room.data(), room.size(), 0);
    if (got >= 0) co_return std::string(room.data(), static_cast<std::size_t>(got));
    auto waited =
        co_await reactor::with_deadline(s.readable(), reactor::loop::current().now() + std::chrono::seconds(8));
    if (!waited) co_return std::string();
  }
}

}  // namespace kedge::node
