#include "api/admission/policy/tables.h"

#include <algorithm>
#include <map>
#include <mutex>
#include <set>

#include "api/registry/registry.h"
#include "api/registry/stored.h"
#include "reactor/loop.h"

namespace kedge::api::policy {
namespace {

constexpr auto restart_pause = std::chrono::milliseconds(100);  // between a lost watch and a new start

const std::string& prefix_of(std::string_view resource) {
  static const auto all = [] {
    std::map<std::string, std::string, std::less<>> out;
    for (auto name : {"validatingadmissionpolicies", "validatingadmissionpolicybindings", "mutatingadmissionpolicies",
                      "mutatingadmissionpolicybindings"})
      out.emplace(name, builtin_registry().find("admissionregistration.k8s.io", "v1", name)->stored->key_prefix);
    return out;
  }();
  return all.find(resource)->second;
}

// What was made of a stored object, for all cores. The mutex is taken when a policy changes, never on a request's way;
// entries don't keep what was made alive.
template <typename T>
class made_once {
 public:
  std::shared_ptr<const T> of(const store::object_ref& o) {
    std::lock_guard lock(mutex_);
    std::erase_if(known_, [](auto& e) { return e.second.made.expired(); });
    auto& entry = known_[std::string(o->key())];
    if (auto made = entry.made.lock(); made && is_same(*entry.source, *o)) return made;
    auto v = value_of(*o);
    auto made = std::make_shared<const T>(v ? *v : json::value());
    entry = {o, made};
    return made;
  }

 private:
  struct entry {
    store::object_ref source;
    std::weak_ptr<const T> made;
  };
  // The same version may lie in other memory by now (store/settled.h), or be another store's.
  static bool is_same(const store::object& a, const store::object& b) {
    return &a == &b || (a.mod() == b.mod() && a.bytes() == b.bytes());
  }
  std::mutex mutex_;
  std::unordered_map<std::string, entry> known_;  // by key
};

template <typename T>
std::shared_ptr<const T> make(const store::object_ref& o) {
  static made_once<T> all;
  return all.of(o);
}

template <typename Policy>
hooks<Policy> hooks_in(const store::snapshot& cluster, std::string_view policies, std::string_view bindings) {
  std::map<std::string, std::vector<std::shared_ptr<const binding>>> bound;
  cluster.scan(prefix_of(bindings), {}, [&](const store::object_ref& o) {
    auto b = make<binding>(o);
    bound[b->policy].push_back(std::move(b));
    return true;
  });
  std::vector<hook<Policy>> out;
  if (bound.empty()) return {};
  cluster.scan(prefix_of(policies), {}, [&](const store::object_ref& o) {
    auto it = bound.find(std::string(o->key().substr(prefix_of(policies).size())));
    if (it != bound.end()) out.push_back({make<Policy>(o), std::move(it->second)});
    return true;
  });
  return hooks<Policy>(std::move(out));
}

}  // namespace

template <typename Policy>
hooks<Policy>::hooks(std::vector<hook<Policy>> all) : all_(std::move(all)) {
  for (std::size_t i = 0; i < all_.size(); ++i) {
    auto resources = all_[i].policy->where.resources();
    std::set<std::string_view> names(resources.begin(), resources.end());
    if (names.empty() || names.contains("*"))
      any_.push_back(i);
    else
      for (auto name : names) named_[std::string(name)].push_back(i);
  }
}

template <typename Policy>
std::vector<const hook<Policy>*> hooks<Policy>::about(std::string_view resource) const {
  std::vector<const hook<Policy>*> out;
  auto named = named_.find(resource);
  if (any_.empty() && named == named_.end()) return out;
  std::vector<std::size_t> both = any_;
  if (named != named_.end()) both.insert(both.end(), named->second.begin(), named->second.end());
  std::ranges::sort(both);
  for (auto i : both) out.push_back(&all_[i]);
  return out;
}

template class hooks<validating_policy>;
template class hooks<mutating_policy>;

tables::tables(store::store& s) : store_(s), now_(std::make_shared<const table>()) { refresh(); }

void tables::refresh() {
  auto cluster = store_.current();
  now_ = std::make_shared<const table>(table{
      .validating =
          hooks_in<validating_policy>(cluster, "validatingadmissionpolicies", "validatingadmissionpolicybindings"),
      .mutating = hooks_in<mutating_policy>(cluster, "mutatingadmissionpolicies", "mutatingadmissionpolicybindings")});
}

void tables::follow() {
  for (auto name : {"validatingadmissionpolicies", "validatingadmissionpolicybindings", "mutatingadmissionpolicies",
                    "mutatingadmissionpolicybindings"})
    following_.spawn(keep(prefix_of(name)));
}

task<void> tables::keep(std::string prefix) {
  for (;;) {
    auto source = store_.watch(prefix, store_.current().at());
    if (source) {
      refresh();
      while (auto events = co_await (*source)->next()) refresh();
    }
    co_await reactor::sleep_for(restart_pause);
  }
}

}  // namespace kedge::api::policy
