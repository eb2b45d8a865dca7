// upstream.h: one resolver outside: UDP from a socket of its own each time (so that its port is as hard to guess as the
// question's id), TCP, and DNS over TLS (RFC 7858), whose connections wait a while for the next question. Whether it is
// there is told by what it says; once it is silent it is asked by itself until it speaks again (CoreDNS' health_check).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/time.h"
#include "net/tls.h"
#include "node/dns/limits.h"
#include "node/dns/message.h"
#include "reactor/scope.h"
#include "reactor/stream.h"

namespace kedge::node::dns {

struct upstream_address {
  upstream_address(reactor::endpoint e, bool tls = false) : at(std::move(e)), over_tls(tls) {}
  upstream_address(std::string address, std::uint16_t port) : at{std::move(address), port} {}
  reactor::endpoint at;
  bool over_tls = false;
  std::string text() const { return (over_tls ? "tls://" : "") + at.text(); }
  friend bool operator==(const upstream_address&, const upstream_address&) = default;
};

// Who is believed to be a resolver: the authorities that certificates are checked with, read when they are first
// needed, and now and then again: the system's are brought up to date while this runs.
class tls_trust {
 public:
  // nullopt: the system's.
  explicit tls_trust(std::optional<std::string> ca_pem = std::nullopt) : ca_pem_(std::move(ca_pem)) {}
  task<result<std::shared_ptr<net::tls_client_context>>> context();

 private:
  std::optional<std::string> ca_pem_;
  std::shared_ptr<net::tls_client_context> context_;
  time_point read_at_{};
};

struct upstream_options {
  std::shared_ptr<tls_trust> trust;     // of those over TLS
  std::string tls_server_name;          // that their certificate must be for; empty: the address
  duration timeout = upstream_timeout;  // of an answer
  duration expire = upstream_idle;      // how long a connection waits for the next question
  std::size_t max_fails = 2;            // checks in a row until it counts as down; 0: it never does
  duration check_interval = upstream_check_interval;
  std::string check_name;  // of which a check asks NS
  bool check_recursion = true, check_by_stream = false;
  friend bool operator==(const upstream_options&, const upstream_options&) = default;
};

class upstream {
 public:
  upstream(upstream_address a, upstream_options o) : address_(std::move(a)), options_(std::move(o)) {}
  // The answer's bytes, with the question's own id. `by_stream`: not by UDP. Within its timeout. This outlives it.
  task<result<std::string>> ask(query q, bool by_stream);
  bool is_down() const noexcept { return options_.max_fails > 0 && fails_ >= options_.max_fails; }
  const upstream_address& address() const noexcept { return address_; }

 private:
  struct idle {
    std::unique_ptr<reactor::stream> connection;
    time_point until;
  };
  task<result<std::string>> ask_once(query q, bool by_stream);
  task<result<std::string>> ask_stream(query q);
  task<result<std::unique_ptr<reactor::stream>>> connect();
  task<void> close_idle();
  task<void> check_until_there();

  upstream_address address_;
  upstream_options options_;
  std::vector<idle> idle_;  // the last used last
  std::size_t fails_ = 0;
  bool is_checking_ = false, is_closing_ = false;
  reactor::scope tasks_;
};

}  // namespace kedge::node::dns
