// server.h: the cluster's DNS on this node: its address is this node's own, answered over UDP and TCP, to pods and the
// node alone.
//
//   datagram | TCP message ─▶ parse_query ─▶ what users configured ─▶ names (cluster, nodes) ─┬─▶ write_answer
//                             (custom.h: renamed, hosts, other zones)  not ours ─▶ forwarder ─┘
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "node/dns/custom.h"
#include "node/dns/forward.h"
#include "node/dns/names.h"
#include "reactor/descriptor.h"
#include "reactor/scope.h"

namespace kedge::node::dns {

struct server_settings {
  std::vector<ip_address> addresses;  // the cluster DNS'
  std::uint16_t port = 53;
  std::function<bool(const ip_address&)> may_ask;
};

class server {
 public:
  server(server_settings s, names& n, forwarder& f) : settings_(std::move(s)), names_(n), forwarder_(f) {}
  // Never ends: what can't be bound now (the address has yet to come, another has the port) is tried again. `ready` is
  // set once it answers.
  task<void> run();
  reactor::event& ready() noexcept { return ready_; }
  // What users configure, from the next question on. The machine's resolvers are the caller's to set.
  void use(custom_config c) { custom_ = std::make_shared<const custom_config>(std::move(c)); }
  // Who is asked for what lies outside: the machine's resolvers first, then those that users name, each with a zone
  // that it is asked about.
  struct asked_outside {
    std::string zone;
    std::shared_ptr<forwarder> by;  // null: the machine's
  };
  std::vector<asked_outside> all_asked_outside() const;
  // Whether a question that is asked there comes back here (CoreDNS' plugin loop), which that forwarder then knows;
  // nullopt: nobody answered.
  task<std::optional<bool>> look_for_loop(asked_outside to);
  std::uint64_t answered() const noexcept { return answered_; }

 private:
  task<void> serve_udp(ip_address at);
  task<void> serve_tcp(ip_address at);
  task<void> talk(std::unique_ptr<reactor::stream> s);
  // What is said at once; empty when it has to be asked for outside, or nothing is to be said.
  struct at_once {
    std::string bytes;
    std::optional<query> outside;
    std::optional<names::found> with_alias;
    std::optional<query> renamed;   // what was asked for, when `outside` is another name
    std::shared_ptr<forwarder> by;  // null: the machine's resolvers
    bool tell_errors = false;
  };
  task<result<std::string>> ask_outside(const at_once& open, query q, bool over_tcp);
  at_once decide(query q, bool over_tcp);
  at_once answer(bytes message, bool over_tcp);
  task<std::string> answer_from_outside(at_once open, bool over_tcp);

  server_settings settings_;
  names& names_;
  forwarder& forwarder_;
  std::shared_ptr<const custom_config> custom_ = std::make_shared<const custom_config>();
  std::uint64_t answered_ = 0;
  std::string loop_mark_;  // a name that nobody else asks for; empty: none is on its way
  bool mark_came_back_ = false;
  reactor::event ready_;
  reactor::scope tasks_, connections_;
};

}  // namespace kedge::node::dns
