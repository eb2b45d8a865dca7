// cache.h: what resolvers outside said, kept for a while, as CoreDNS' plugin cache keeps it: an answer's records all
// get the time that it may be kept, whoever gave it. When that is over it may still be given, with no time to live,
// while nobody can say it anew (RFC 8767).
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/time.h"
#include "node/dns/limits.h"
#include "node/dns/message.h"

namespace kedge::node::dns {

struct cache_options {
  // Of answers, and of there being none: seconds at most and at least. Zero at most: none is kept.
  duration success = cache_time_max, denial = cache_time_max;
  duration success_least = cache_time_least, denial_least = cache_time_least;
  std::vector<std::string> zones;  // whose names are kept; none: all
  std::vector<std::string> no_success, no_denial;
  duration stale = stale_time_max;  // how long after its time an answer is still good for something
  bool stale_at_once = false;       // is given before somebody is asked anew, not only when nobody answers
  std::size_t bytes = cache_bytes_max;

  // How long an answer about `asked` holds that has records, or has none; nullopt: as long as it says.
  std::optional<duration> time_of(std::string_view asked, bool has_records, std::uint32_t least_ttl) const;
  friend bool operator==(const cache_options&, const cache_options&) = default;
  static cache_options none() { return {.success = duration(0), .denial = duration(0)}; }
};

// By question. At most cache_entries_max, the oldest goes first.
class cache {
 public:
  explicit cache(cache_options o = {}) : options_(std::move(o)) {}
  // The message with the question's id and its times to live shortened by its age; empty: none that is fresh.
  std::string find(const query& q, time_point now);
  // The same of one whose time is over.
  std::string find_stale(const query& q, time_point now);
  // What of `message` is to be told: itself, with the times to live that it is kept for.
  std::string keep(const query& q, std::string message, const reply& r, time_point now);
  std::size_t size() const noexcept { return entries_.size(); }

 private:
  struct entry {
    std::string key, message;
    std::vector<std::size_t> ttls;
    time_point since, until;
  };
  static std::string key_of(const query& q);
  static std::string told(const entry& e, const query& q, std::uint32_t ttl);
  entry* lookup(const query& q, time_point now);
  void drop(std::list<entry>::iterator i);

  cache_options options_;
  std::list<entry> entries_;  // the newest first
  std::unordered_map<std::string, std::list<entry>::iterator> by_key_;
  std::size_t bytes_ = 0;
};

}  // namespace kedge::node::dns
