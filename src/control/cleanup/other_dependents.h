// other_dependents.h: objects of the API servers behind this one that have owners: the garbage collector deletes and
// orphans them as its own, and owners wait for them.
//
//   each server that lists what it has ── pages of PartialObjectMetadata ──▶ those with ownerReferences, by owner's uid
//
// Each server is asked by itself, within its time. One that doesn't answer leaves what it said last, and holds up
// nobody but those whose dependents it has.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "control/shell.h"
#include "reactor/sync.h"

namespace kedge::control {

struct other_dependent {
  std::string path;   // of itself
  json::value about;  // apiVersion, kind and metadata
};

class other_dependents {
 public:
  using list = std::shared_ptr<const std::vector<other_dependent>>;

  // Looks at all servers, unless that was done a moment ago. Who comes meanwhile waits for that.
  task<void> look(shell& s);

  // As the last look found them: a list a server, which looks replace.
  std::vector<list> all() const;
  // Nobody in another namespace than the owner's is its dependent.
  std::vector<other_dependent> of(const json::value& owner) const;
  bool has(std::string_view owner_uid) const { return owners_.contains(std::string(owner_uid)); }

  // As it was found: of another version since, nothing is done, and the error says so.
  static task<api::api_result<void>> remove(shell& s, other_dependent d, std::string policy);
  // Takes these owners away.
  static task<api::api_result<void>> forget(shell& s, other_dependent d, std::vector<std::string> owners);

 private:
  struct kept {
    list found = std::make_shared<const std::vector<other_dependent>>();
    bool cut = false;                      // there were more than are kept, which has been said
    std::optional<time_point> rest_until;  // it took too long, or refused: others don't wait for it again at once
  };
  static task<result<list>> read(shell& s, std::string path, bool& cut);
  task<void> look_at(shell& s, std::string path, kept& into);

  std::map<std::string, kept> servers_;  // by the path of a group's version
  reactor::semaphore turn_{1};
  std::unordered_set<std::string> owners_;  // uids
  std::optional<time_point> looked_;
};

}  // namespace kedge::control
