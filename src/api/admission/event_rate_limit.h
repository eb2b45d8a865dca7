// event_rate_limit.h: how many Events somebody may write (EventRateLimit): token buckets for the server, for each
// namespace, user, or source and object.
//
// One a server, on its home loop: the limits are the server's, whichever core a request comes to.
#pragma once

#include <cstdint>
#include <list>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "api/admission/admission.h"
#include "base/strings.h"
#include "base/time.h"

namespace kedge::api {

struct event_limit {
  enum class kind : unsigned char { server, name_space, user, source_and_object } of = kind::server;
  std::int64_t per_second = 1, burst = 1;
  std::size_t buckets = 4'096;  // that are remembered; the one that was not used longest goes. kube-apiserver's number
};
std::string_view name_of(event_limit::kind k) noexcept;  // "Server", "Namespace" …

// What decides about one Event: its bucket for each kind.
struct event_keys {
  std::string ns, user, source_and_object;
};
// Nullopt: it isn't about an Event of the core group that would be written.
std::optional<event_keys> keys_of_event(const admission_request& r);

class event_limiter {
 public:
  explicit event_limiter(const std::vector<event_limit>& limits);
  // Takes a token of each; the texts of those that had none left.
  std::vector<std::string> take(const event_keys& of, time_point now);

 private:
  struct bucket {
    std::string key;
    double tokens = 0;
    time_point at{};
  };
  struct limit {
    event_limit by;
    std::list<bucket> newest_first = {};
    std::unordered_map<std::string, std::list<bucket>::iterator, string_hash, std::equal_to<>> by_key = {};
    bool take(const std::string& key, time_point now);
  };
  std::vector<limit> limits_;
};

}  // namespace kedge::api
