#include "api/custom/tables.h"

#include <mutex>
#include <unordered_map>

#include "api/custom/limits.h"
#include "base/log.h"
#include "reactor/loop.h"

namespace kedge::api::custom {
namespace {

using definitions = std::vector<std::shared_ptr<const definition>>;

constexpr auto index_kept = 4 * custom_watch_check;             // after its definition is gone or another one
constexpr auto restart_pause = std::chrono::milliseconds(100);  // between a lost watch and a new start

const std::string& crd_prefix() {
  static const std::string prefix = schema::custom_key_prefix("apiextensions.k8s.io", "customresourcedefinitions");
  return prefix;
}

// Definitions by the stored object they were made of, so that all cores share one. The mutex is taken when a CRD
// changes, never on a request's way; entries don't keep a definition alive.
class shared_definitions {
 public:
  std::shared_ptr<const definition> make(const store::object_ref& crd,
                                         const std::shared_ptr<const definition>& previous) {
    std::lock_guard lock(mutex_);
    std::erase_if(known_, [](auto& e) { return e.second.made.expired(); });
    auto& entry = known_[&*crd];
    if (auto made = entry.made.lock()) return made;
    auto made = definition::make(crd, previous);
    entry = {crd, made};
    // Older objects of the same definition need not be kept: whoever still meets one finds the definition as its
    // previous.
    std::erase_if(known_, [&](auto& e) { return e.first != &*crd && e.second.made.lock() == made; });
    return made;
  }

 private:
  struct entry {
    store::object_ref source;  // keeps the address from being used again
    std::weak_ptr<const definition> made;
  };
  std::mutex mutex_;
  std::unordered_map<const store::object*, entry> known_;
};

shared_definitions& shared() {
  static shared_definitions one;
  return one;
}

}  // namespace

std::shared_ptr<const registry> builtin_tables() { return {std::shared_ptr<const registry>(), &builtin_registry()}; }

tables::tables(store::store& s, std::vector<const served*> more)
    : store_(s),
      more_(std::move(more)),
      now_(more_.empty() ? builtin_tables()
                         : std::make_shared<const registry>(builtin_registry(), definitions(), more_)) {
  refresh();
}

void tables::refresh() {
  std::map<std::string, store::object_ref> seen;
  store_.current().scan(crd_prefix(), {}, [&](const store::object_ref& o) {
    seen.emplace(o->key().substr(crd_prefix().size()), o);
    return true;
  });
  bool changed = false;
  for (auto& [name, object] : seen) {
    auto before = seen_.find(name);
    if (before != seen_.end() && before->second->mod() == object->mod()) continue;
    auto& d = known_[name];
    auto made = shared().make(object, d);
    changed = changed || made != d;
    d = std::move(made);
  }
  changed = std::erase_if(known_, [&](auto& k) { return !seen.contains(k.first); }) > 0 || changed;
  seen_ = std::move(seen);
  if (!changed) return;
  definitions all;
  for (auto& [name, d] : known_)
    if (!d->versions().empty()) all.push_back(d);
  now_ = all.empty() && more_.empty() ? builtin_tables()
                                      : std::make_shared<const registry>(builtin_registry(), std::move(all), more_);
  keep_indexes();
}

void tables::keep_indexes() {
  std::set<std::string, std::less<>> wanted;
  for (auto& d : now_->definitions()) {
    for (auto& i : d->indexes()) {
      wanted.insert(i.name);
      if (indexed_.insert(i.name).second) store_.add_index(std::move(i));
    }
  }
  for (auto& name : indexed_)
    if (!wanted.contains(name)) following_.spawn(drop_index(name));
}

task<void> tables::drop_index(std::string name) {
  // Watches that were woken by it end by themselves when they see that their resource is another one.
  co_await reactor::sleep_for(index_kept);
  for (auto& d : now_->definitions())
    for (auto& i : d->indexes())
      if (i.name == name) co_return;
  if (indexed_.erase(name) > 0) store_.remove_index(name);
}

task<void> tables::keep() {
  for (;;) {
    auto at = store_.current().at();
    auto source = store_.watch(crd_prefix(), at);
    if (source) {
      refresh();
      for (;;) {
        auto events = co_await (*source)->next();
        if (!events) break;
        refresh();
      }
    }
    co_await reactor::sleep_for(restart_pause);
  }
}

}  // namespace kedge::api::custom
