// cutting_proxy.h: a TCP proxy on a thread of its own that can lose answers: what the client sent arrives, and the
// connection ends before a byte of the answer. And that can stand still, as a network that swallows packets.
#pragma once

#include <poll.h>

#include <atomic>
#include <list>
#include <thread>

#include "postgres_server.h"

namespace kedge::datastore {

class cutting_proxy {
 public:
  explicit cutting_proxy(int to) : to_(to) {
    listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    auto a = loopback(0);
    REQUIRE(::bind(listener_, reinterpret_cast<sockaddr*>(&a), sizeof a) == 0);
    REQUIRE(::listen(listener_, 64) == 0);
    socklen_t size = sizeof a;
    ::getsockname(listener_, reinterpret_cast<sockaddr*>(&a), &size);
    port_ = ntohs(a.sin_port);
    thread_ = std::thread([this] { run(); });
  }
  ~cutting_proxy() {
    stop_ = true;
    thread_.join();
    for (auto& p : pairs_) end(p);
    ::close(listener_);
  }
  int port() const { return port_; }
  // The next answer on any connection is lost, and its connection with it.
  void lose_next_answer() { losing_ = true; }
  bool lost() const { return !losing_; }
  // Nothing passes any more, either way, and new connections wait.
  void stand_still(bool still) { still_ = still; }

 private:
  struct pair {
    int client, server;
  };
  static sockaddr_in loopback(int port) {
    sockaddr_in a{};
    a.sin_family = AF_INET;
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    a.sin_port = htons(static_cast<std::uint16_t>(port));
    return a;
  }
  static void end(pair& p) {
    ::close(p.client);
    ::close(p.server);
  }
  static bool pass(int from, int to, bool lose) {
    char buffer[65536];
    auto n = ::recv(from, buffer, sizeof buffer, 0);
    if (n <= 0 || lose) return false;
    for (ssize_t sent = 0; sent < n;) {
      auto m = ::send(to, buffer + sent, static_cast<std::size_t>(n - sent), MSG_NOSIGNAL);
      if (m <= 0) return false;
      sent += m;
    }
    return true;
  }
  void run() {
    while (!stop_) {
      if (still_) {
        ::poll(nullptr, 0, 5);
        continue;
      }
      std::vector<pollfd> fds{{listener_, POLLIN, 0}};
      for (auto& p : pairs_) {
        fds.push_back({p.client, POLLIN, 0});
        fds.push_back({p.server, POLLIN, 0});
      }
      if (::poll(fds.data(), fds.size(), 20) <= 0) continue;
      std::size_t i = 1;
      for (auto p = pairs_.begin(); p != pairs_.end(); i += 2) {
        bool alive = true;
        if (fds[i].revents) alive = pass(p->client, p->server, false);
        if (alive && fds[i + 1].revents) {
          bool lose = losing_.exchange(false);
          alive = pass(p->server, p->client, lose);
        }
        if (!alive) end(*p);
        p = alive ? std::next(p) : pairs_.erase(p);
      }
      if (fds[0].revents) {
        pair p{::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC), ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
        auto a = loopback(to_);
        if (p.client >= 0 && ::connect(p.server, reinterpret_cast<sockaddr*>(&a), sizeof a) == 0)
          pairs_.push_back(p);
        else
          end(p);
      }
    }
  }
  int to_, listener_, port_ = 0;
  std::atomic<bool> stop_{false}, losing_{false}, still_{false};
  std::list<pair> pairs_;
  std::thread thread_;
};

}  // namespace kedge::datastore
