// event_correlator.h: which of the things a controller tells become Events, as client-go's EventCorrelator decides it:
//
//   the same again           ─▶ counts up the Event that is there
//   ten that differ only in their message, within ten minutes ─▶ one "(combined from similar events): …" that counts up
//   more than 25 about one object ─▶ dropped, but for one every five minutes
//
// Without I/O. Bounded: at told_max of each table it is forgotten, and counting starts over.
#pragma once

#include <set>
#include <string>
#include <unordered_map>

#include "control/plan.h"

namespace kedge::control {

class event_correlator {
 public:
  enum class verdict : unsigned char { drop, create, count_up };
  struct answer {
    verdict what = verdict::drop;
    std::string key;  // for written() and lost()
    std::string message;
    std::string ns, name;  // count_up: the Event's
    std::int64_t count = 1;
  };
  answer observe(const notice& n, time_point now);
  // A created Event's place. One that couldn't be written is forgotten.
  void written(const std::string& key, std::string ns, std::string name);
  void lost(const std::string& key);

 private:
  struct group {
    std::set<std::string> messages;
    time_point last{};
  };
  struct told {
    std::string ns, name;
    std::int64_t count = 0;
  };
  struct bucket {
    double tokens;
    time_point filled;
  };
  bool combined(const notice& n, const std::string& object, time_point now);
  bool may_pass(const std::string& object, time_point now);

  std::unordered_map<std::string, group> groups_;
  std::unordered_map<std::string, told> told_;
  std::unordered_map<std::string, bucket> buckets_;
};

}  // namespace kedge::control
