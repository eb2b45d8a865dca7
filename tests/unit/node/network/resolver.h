// resolver.h: a resolver for tests, by UDP, TCP and TLS: each name has an IPv4 address, its letters' sum (as in
// tests/answers/record_dns.py).
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <string_view>

#include "../loop.h"
#include "base/random.h"
#include "base/time.h"
#include "crypto/certificate.h"
#include "net/tls.h"
#include "node/dns/limits.h"
#include "node/dns/message.h"
#include "reactor/scope.h"
#include "reactor/stream.h"
#include "sockets.h"

namespace kedge::node::dns {

struct letters_resolver {
  enum class moods : unsigned char { answers, fails, silent } mood = moods::answers;  // fails: SERVFAIL
  std::uint16_t port = free_port(), sealed_port = free_port();
  int datagrams = 0, messages = 0, connections_begun = 0;
  std::uint16_t guesses = 0;  // answers with other ids that come before its own
  std::set<std::string> asked_for;

  // Its certificate is for dns.test and 127.0.0.1.
  std::string authority_pem() const { return authority.bundle_pem(); }

  // Until it is dropped.
  task<void> run() {
    reactor::scope parts;
    parts.spawn(serve_datagrams());
    parts.spawn(serve_streams(port, false));
    parts.spawn(serve_streams(sealed_port, true));
    co_await parts.join();
  }
  // As one that was idle for too long does it.
  void hang_up() { connections.cancel(); }

 private:
  crypto::authority authority = *crypto::authority::create("dns-test-ca", system_wall_time());
  reactor::scope connections;

  std::string answer_to(std::string_view message) {
    auto p = parse_query(as_bytes(message));
    if (p.query) asked_for.insert(p.query->asked);
    if (!p.query || mood == moods::silent) return {};
    unsigned total = 0;
    for (unsigned char c : p.query->asked) total += c;
    answer a{.code = mood == moods::fails ? rcode::server_failure : rcode::no_error, .authoritative = false};
    if (p.query->type == type::a && mood == moods::answers)
      a.answers.push_back(address_record(
          {}, ip_address::parse("10.0." + std::to_string(total >> 8) + "." + std::to_string(total & 255)).value(), 30));
    return write_answer(*p.query, a, message_bytes_max);
  }

  std::shared_ptr<net::tls_server_context> make_context() {
    auto key = *crypto::private_key::generate(crypto::key_kind::ecdsa_p256);
    crypto::leaf_request wanted{
        .common_name = "dns.test", .dns_names = {"dns.test"}, .addresses = {"127.0.0.1"}, .server = true};
    auto leaf = *crypto::issue(authority, key.public_part(), wanted, system_wall_time(), system_random());
    return *net::tls_server_context::make({.http2 = false, .ask_client_certificate = false},
                                          crypto::chain_pem(leaf, authority), key.pem());
  }

  task<void> serve_datagrams() {
    int fd = bound(port);
    reactor::descriptor s(fd);
    std::array<char, 4096> room;
    for (;;) {
      if (!(co_await s.readable())) co_return;
      sockaddr_in from{};
      socklen_t size = sizeof from;
      auto got = ::recvfrom(fd, room.data(), room.size(), 0, reinterpret_cast<sockaddr*>(&from), &size);
      if (got < 0) continue;
      ++datagrams;
      auto said = answer_to(std::string_view(room.data(), static_cast<std::size_t>(got)));
      if (said.empty()) continue;
      const auto id = load_be16(as_bytes(said).data());
      for (std::uint16_t left = guesses + 1; left-- > 0;) {
        const auto told = static_cast<std::uint16_t>(id + left);
        said[0] = static_cast<char>(told >> 8);
        said[1] = static_cast<char>(told);
        ::sendto(fd, said.data(), said.size(), 0, reinterpret_cast<sockaddr*>(&from), size);
      }
    }
  }

  task<void> serve_streams(std::uint16_t at, bool sealed) {
    auto context = sealed ? make_context() : nullptr;
    auto listener = reactor::os_network().listen({"127.0.0.1", at});
    NEEDS(listener);
    for (;;) {
      auto s = co_await (*listener)->accept();
      if (!s) co_return;
      ++connections_begun;
      connections.spawn(talk(*std::move(s), context));
    }
  }

  task<void> talk(std::unique_ptr<reactor::stream> s, std::shared_ptr<net::tls_server_context> context) {
    if (context) {
      auto sealed = co_await net::tls_accept(std::move(s), context);
      if (!sealed) co_return;  // who doesn't believe the certificate hangs up
      s = *std::move(sealed);
    }
    std::string held;
    for (;;) {
      while (held.size() < 2 || held.size() < 2U + load_be16(as_bytes(held).data())) {
        auto piece = co_await s->receive();
        if (!piece || piece->empty()) co_return;
        held += as_text(piece->view());
      }
      ++messages;
      const auto size = load_be16(as_bytes(held).data());
      auto said = answer_to(std::string_view(held).substr(2, size));
      held.erase(0, 2U + size);
      if (said.empty()) continue;
      std::string framed;
      append_be16(framed, static_cast<std::uint16_t>(said.size()));
      framed += said;
      if (!(co_await s->send(as_bytes(framed)))) co_return;
    }
  }
};

}  // namespace kedge::node::dns
