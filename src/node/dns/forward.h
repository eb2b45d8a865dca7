// forward.h: questions for resolvers outside: UDP from a socket of its own each (so that its port is as hard to guess
// as its id), TCP where the answer was cut, the next resolver where one is silent or fails; and what they said, kept
// for a while.
#pragma once

#include <list>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/strings.h"
#include "base/time.h"
#include "node/dns/limits.h"
#include "node/dns/message.h"
#include "reactor/stream.h"
#include "reactor/sync.h"

namespace kedge::node::dns {

// Answers by question, as they came: at most cache_entries_max, the oldest goes first.
class cache {
 public:
  explicit cache(std::size_t bytes_max = cache_bytes_max) : bytes_max_(bytes_max) {}
  // The message with the question's id and its times to live shortened by its age; empty: none that is fresh.
  std::string find(const query& q, time_point now);
  void keep(const query& q, std::string message, const reply& r, time_point now, duration most);
  std::size_t size() const noexcept { return entries_.size(); }

 private:
  struct entry {
    std::string key, message;
    std::vector<std::size_t> ttls;
    time_point since, until;
  };
  static std::string key_of(const query& q);
  void drop(std::list<entry>::iterator i);
  std::list<entry> entries_;  // the newest first
  std::unordered_map<std::string, std::list<entry>::iterator> by_key_;
  std::size_t bytes_max_, bytes_ = 0;
};

struct forward_options {
  duration cache_time = cache_time_max;  // at most; zero: nothing is kept
  std::size_t cache_bytes = cache_bytes_max;
  bool always_tcp = false;
  bool in_order = false;  // from the first resolver each time, not from the one that answered last
};

class forwarder {
 public:
  explicit forwarder(std::vector<reactor::endpoint> upstreams, forward_options options = {})
      : upstreams_(std::move(upstreams)), options_(options), cache_(options.cache_bytes) {}
  // The answer's bytes, with the question's own id. `over_tcp`: the client asked by TCP and takes all. Fails when no
  // resolver answers.
  task<result<std::string>> ask(query q, bool over_tcp);
  void set_upstreams(std::vector<reactor::endpoint> all) { upstreams_ = std::move(all); }

 private:
  std::vector<reactor::endpoint> upstreams_;
  forward_options options_;
  std::size_t first_ = 0;  // the one that answered last
  cache cache_;
  reactor::semaphore room_{forwards_in_flight};
  static const std::size_t forwards_in_flight;
};

// The resolvers of a resolv.conf, in order, but for those that are `own` (which would ask us again).
std::vector<reactor::endpoint> parse_resolvers(std::string_view resolv_conf, const std::vector<ip_address>& own);
// Of this machine as K3s chooses: /etc/resolv.conf where all of its are other hosts', else systemd-resolved's own list,
// else public ones. `configured`: --resolv-conf. Blocks.
std::vector<reactor::endpoint> find_resolvers(const std::string& configured, const std::vector<ip_address>& own);

}  // namespace kedge::node::dns
