// forward.h: questions for resolvers outside: one of them is asked, the next one where it is silent or fails; what they
// said is kept for a while, and given beyond its time while none of them answers.
//
//   query ─▶ cache ─ fresh ─▶ answer
//             ├─ over, and they were away a moment ago ─▶ answer; asked anew beside
//             └─▶ upstreams ─▶ kept ─▶ answer;   none: what is over, if there is any
#pragma once

#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/strings.h"
#include "base/time.h"
#include "node/dns/cache.h"
#include "node/dns/limits.h"
#include "node/dns/message.h"
#include "node/dns/upstream.h"
#include "reactor/stream.h"
#include "reactor/sync.h"

namespace kedge::node::dns {

struct forward_options {
  cache_options cache = {};
  bool always_tcp = false;
  bool prefer_udp = false;  // for who asks by TCP too, as long as the answer fits
  // Whom to ask first: who answered last, the first one, each in turn, any.
  enum class order : unsigned char { last_good, listed, in_turn, random } first = order::last_good;
  bool fail_fast = false;              // while all are down
  std::size_t at_once = forwards_max;  // questions that wait
  upstream_options upstream = {};
  friend bool operator==(const forward_options&, const forward_options&) = default;
};

class forwarder {
 public:
  explicit forwarder(std::vector<upstream_address> upstreams, forward_options options = {});
  // The answer's bytes, with the question's own id. `over_tcp`: the client asked by TCP and takes all. Fails when no
  // resolver answers. This outlives it.
  task<result<std::string>> ask(query q, bool over_tcp);
  // The same of resolvers alone, whatever is kept.
  task<result<std::string>> ask_upstreams(query q, bool over_tcp);
  void set_upstreams(const std::vector<upstream_address>& all);
  void set_options(forward_options o);
  std::string upstreams_text() const;
  // Whether its questions are known to come back here; then nobody is asked. Also: whether that was looked at.
  void set_loops(bool yes) noexcept { loops_ = yes, is_checked_ = true; }
  bool loops() const noexcept { return loops_; }
  bool is_checked() const noexcept { return is_checked_; }

 private:
  using upstreams = std::vector<std::shared_ptr<upstream>>;
  std::size_t first_of(const upstreams& all);
  void refresh(query q, bool over_tcp);

  upstreams upstreams_;
  forward_options options_;
  std::size_t last_good_ = 0, turn_ = 0, waiting_ = 0;
  bool loops_ = false, is_checked_ = false;
  time_point away_until_{};
  cache cache_;
  std::set<std::string> refreshed_;  // questions that are asked anew
  reactor::scope tasks_;
};

// The resolvers of a resolv.conf, in order, but for those that are `own` (which would ask us again).
std::vector<reactor::endpoint> parse_resolvers(std::string_view resolv_conf, const std::vector<ip_address>& own);
// Of this machine as K3s chooses: /etc/resolv.conf where all of its are other hosts', else systemd-resolved's own list,
// else public ones. `configured`: --resolv-conf. Blocks.
std::vector<reactor::endpoint> find_resolvers(const std::string& configured, const std::vector<ip_address>& own);

}  // namespace kedge::node::dns
