// members.h: the objects that belong to a workload: those that name it as their controller, and orphans that its
// selector means (client-go's ControllerRefManager; KEP "controllerRef").
//
//   names me, selected ─▶ mine     names me, not selected ─▶ released     names nobody, selected ─▶ adopted     names
//   another ─▶ not mine
//
// An owner that is being deleted adopts and releases nothing.
#pragma once

#include <functional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "control/shell.h"
#include "meta/selector.h"

namespace kedge::control {

// Orphans by namespace, from the events: what names no controller. A controller remembers these few, so that nobody
// goes over all objects to find them.
class orphans {
 public:
  void see(const seen& s);
  const std::set<std::string, std::less<>>& in(std::string_view ns) const;

 private:
  std::unordered_map<std::string, std::set<std::string, std::less<>>, string_hash, std::equal_to<>> by_namespace_;
};

struct owner_kind {
  std::string_view api_version, kind;
};

// {"apiVersion", "kind", "name", "uid", "controller": true, "blockOwnerDeletion": true}
json::value controller_reference(const owner_kind& k, const json::value& owner);

struct claimed {
  std::vector<const json::value*> mine;  // in key order; as they are in the view
  std::vector<change> changes;           // adoptions and releases, to be written before anything is decided
};
// `counts`: which objects are looked at at all (null: all).
claimed claim(const view& cluster, const api::resource_id& members, const owner_kind& k, const json::value& owner,
              const api::label_selector& selector, const orphans& without,
              const std::function<bool(const json::value&)>& counts = nullptr);

// Names the owners whose selectors mean an orphan: the key of the source is the orphan's, marked. `owners_of` as the
// controller's look at an orphan's key.
inline constexpr std::string_view orphan_mark = "orphan:";
void orphan_key(const seen& s, keys& k);
// The keys of the owners (a kind of the namespace) that would adopt the object.
std::vector<std::string> adopters(const view& cluster, const api::resource_id& owners, const json::value& orphan,
                                  const std::function<api::label_selector(const json::value& owner)>& selector_of);

// A controller of a kind that owns pods by its selector: which of its objects a pod's change names, and who is asked
// about orphans.
class pod_owner : public controller {
 public:
  pod_owner(owner_kind k, api::resource_id owners) : kind_(k), owners_(std::move(owners)) {}
  task<api::api_result<void>> work(shell& s, std::string key) override;

 protected:
  virtual api::label_selector selector_of(const json::value& owner) const {
    return api::label_selector::from_object(owner["spec"]["selector"]);
  }
  source pod_source();

  const owner_kind kind_;
  const api::resource_id owners_;
  orphans orphan_pods_;
};

}  // namespace kedge::control
