// namespace_lifecycle.cc: empties a namespace that is being deleted, pods first (KEP-5080), then everything else, and
// lets it go by the finalize subresource (namespace-controller). What holds it back stands in its conditions.
//
// Nothing is created in it meanwhile: a create is refused by the namespace as it is when it is written, on whatever
// server.
#include <map>
#include <set>

#include "base/log.h"
#include "control/cleanup/other_content.h"
#include "control/conditions.h"
#include "control/controllers.h"
#include "control/limits.h"
#include "control/owners.h"
#include "control/resources.h"

namespace kedge::control {

namespace {

// While something remains that nothing tells of: finalizers, pods that end.
constexpr auto look_again_first = std::chrono::milliseconds(500);
constexpr auto look_again_most = std::chrono::seconds(15);
// Many things of a namespace go together: one look for all of them.
constexpr auto gather = std::chrono::milliseconds(20);

// What is left of a resource in a namespace.
struct remaining {
  std::size_t count = 0;
  std::map<std::string, std::size_t> by_finalizer;
  std::string error;  // of a removal that was refused
};

struct leftover {
  std::map<std::string, std::size_t> by_resource;  // "pods." → how many
  std::map<std::string, std::size_t> by_finalizer;
  std::vector<std::string> errors;
  std::vector<std::string> unread;  // groups' versions of servers that don't say what they have

  void add(other_content o) {
    for (auto& [name, n] : o.by_resource) by_resource[name] += n;
    for (auto& [name, n] : o.by_finalizer) by_finalizer[name] += n;
    for (auto& e : o.errors) errors.push_back(std::move(e));
    unread = std::move(o.unread);
  }
  bool empty() const noexcept { return by_resource.empty() && errors.empty() && unread.empty(); }
  void add(const std::string& resource, const remaining& r) {
    if (r.count) by_resource[resource] = r.count;
    for (auto& [name, n] : r.by_finalizer) by_finalizer[name] += n;
    if (!r.error.empty()) errors.push_back(r.error);
  }
};

bool holds_namespace(const json::value& ns) {
  auto& finalizers = ns["spec"]["finalizers"];
  for (std::size_t i = 0; i < finalizers.size(); ++i)
    if (finalizers[i].as_string() == "kubernetes") return true;
  return false;
}

// In kube-controller-manager's words. `whole`: everything was gone through, not the pods alone.
std::vector<condition> conditions_of(const leftover& left, bool whole) {
  auto list = [](auto& of, auto word) {
    std::string out;
    for (auto& [name, n] : of) out += (out.empty() ? "" : ", ") + word(name, n);
    return out;
  };
  auto instances = [](std::size_t n) { return std::to_string(n) + " resource instances"; };
  auto content = list(left.by_resource, [&](auto& name, auto n) { return name + " has " + instances(n); });
  auto finalizers = list(left.by_finalizer, [&](auto& name, auto n) { return name + " in " + instances(n); });
  std::string errors;
  for (auto& e : left.errors) errors += (errors.empty() ? "" : ", ") + e;
  std::string unread;
  for (auto& gv : left.unread) unread += (unread.empty() ? "" : ", ") + gv + ": stale GroupVersion discovery: " + gv;
  auto either = [](std::string type, bool bad, std::string reason, std::string message, std::string good,
                   std::string good_message) {
    return bad ? condition{std::move(type), "True", std::move(reason), std::move(message)}
               : condition{std::move(type), "False", std::move(good), std::move(good_message)};
  };
  return {
      either("NamespaceDeletionDiscoveryFailure", !left.unread.empty(), "DiscoveryFailed",
             "Discovery failed for some groups, " + std::to_string(left.unread.size()) +
                 " failing: unable to retrieve the complete list of server APIs: " + unread,
             "ResourcesDiscovered", "All resources successfully discovered"),
      either("NamespaceDeletionGroupVersionParsingFailure", false, "", "", "ParsedGroupVersions",
             "All legacy kube types successfully parsed"),
      either("NamespaceDeletionContentFailure", !errors.empty(), "ContentDeletionFailed",
             "Failed to delete all resource types, " + std::to_string(left.errors.size()) + " remaining: " + errors,
             "ContentDeleted", "All content successfully deleted, may be waiting on finalization"),
      either("NamespaceContentRemaining", whole && !content.empty(), "SomeResourcesRemain",
             "Some resources are remaining: " + content, "ContentRemoved", "All content successfully removed"),
      either("NamespaceFinalizersRemaining", whole && !finalizers.empty(), "SomeFinalizersRemain",
             "Some content in the namespace has finalizers remaining: " + finalizers, "ContentHasNoFinalizers",
             "All content-preserving finalizers finished"),
  };
}

class namespace_lifecycle final : public controller {
 public:
  std::vector<source> sources() override {
    return {{namespaces,
             [](const seen& s, keys& k) {
               if (!s.deleted() && is_deleting(s.value())) own_key(s, k);
             }},
            // What still was in one that waits went.
            {{}, [this](const seen& s, keys& k) {
               if (!s.deleted() || waits_.empty()) return;
               if (auto it = waits_.find(namespace_in_key(s.key())); it != waits_.end()) k.add_after(it->first, gather);
             }}};
  }

  task<api::api_result<void>> work(shell& s, std::string name) override {
    auto cluster = s.now();
    auto space = cluster.get(namespaces, {}, name);
    if (!space || !is_deleting(*space)) {
      waits_.erase(name);
      co_return api::api_result<void>();
    }
    if (!holds_namespace(*space)) co_return api::api_result<void>();  // others' finalizers are others' business
    leftover left;
    bool whole = true;
    left.add("pods.", co_await empty(s, pods, name));
    if (left.by_resource.empty()) {
      for (auto& r : resources_in(s, name)) left.add(r.plural + "." + r.group, co_await empty(s, r, name));
      left.add(co_await empty_others(s, name));
    } else {
      whole = false;
    }
    if (!left.empty()) co_return co_await wait(s, name, left, whole);
    waits_.erase(name);
    co_return co_await finalize(s, name);
  }

 private:
  // Those of which something is there: several versions of a resource are the same objects.
  static std::vector<api::resource_id> resources_in(shell& s, const std::string& ns) {
    std::vector<api::resource_id> out;
    auto cluster = s.now();
    std::set<std::string_view> seen;
    for (auto r : cluster.served().all())
      if (r->namespaced() && r->has_verb("delete") && seen.insert(r->key_prefix).second &&
          cluster.cluster().count(r->prefix(ns)) > 0)
        out.push_back({r->group, r->version, r->resource});
    return out;
  }

  // Deletes every object of the resource in the namespace, some at once; what is left had finalizers or grace.
  static task<remaining> empty(shell& s, api::resource_id id, std::string ns) {
    remaining out;
    auto prefix = s.now().prefix(id, ns);
    std::string start;
    for (bool more = true; more;) {
      std::vector<store::object_ref> piece;
      s.store().current().scan(prefix, start, [&](const store::object_ref& o) {
        piece.push_back(o);
        return piece.size() < writes_at_once;
      });
      more = piece.size() == writes_at_once;
      if (more) start = std::string(piece.back()->key()) + '\0';
      std::vector<change> removals;
      for (auto& o : piece)
        if (o->bytes().find("\"deletionTimestamp\"") == std::string_view::npos)
          removals.push_back({.kind = change::what::remove,
                              .resource = id,
                              .ns = ns,
                              .name = std::string(name_under(prefix, o->key())),
                              .options = {.propagation_policy = "Background"}});
      for (auto& done : co_await s.write_group(std::move(removals)))
        if (!done && done.error().code != 409 && out.error.empty()) out.error = done.error().message;
      for (auto& before : piece) {
        if (auto o = s.store().current().find(before->key())) note(out, o);
        co_await reactor::maybe_yield();
      }
    }
    co_return out;
  }

  static void note(remaining& out, const store::object_ref& o) {
    ++out.count;
    if (o->bytes().find("\"finalizers\":[") == std::string_view::npos) return;
    if (auto v = value_of(o))
      for (std::size_t i = 0; i < (*v)["metadata"]["finalizers"].size(); ++i)
        ++out.by_finalizer[std::string((*v)["metadata"]["finalizers"][i].as_string())];
  }

  task<api::api_result<void>> wait(shell& s, std::string name, leftover left, bool whole) {
    auto& pause = waits_.try_emplace(name, look_again_first).first->second;
    s.queue().add_after(name, pause);
    pause = std::min<duration>(pause * 2, look_again_most);
    auto cluster = s.now();
    auto space = cluster.get(namespaces, {}, name);
    if (!space) co_return api::api_result<void>();
    auto next = *space;
    bool changed = false;
    for (auto& c : conditions_of(left, whole)) changed = set_condition(next, c, s.when().wall) || changed;
    if (!changed) co_return api::api_result<void>();
    auto told = co_await s.client().update(namespaces, {}, std::move(next), "status");
    if (!told && told.error().code != 404 && told.error().code != 409) co_return api::fail(told.error());
    co_return api::api_result<void>();
  }

  static task<api::api_result<void>> finalize(shell& s, std::string name) {
    auto cluster = s.now();
    auto space = cluster.get(namespaces, {}, name);
    if (!space) co_return api::api_result<void>();
    auto next = *space;
    json::array kept;
    auto& list = (*space)["spec"]["finalizers"];
    for (std::size_t i = 0; i < list.size(); ++i)
      if (list[i].as_string() != "kubernetes") kept.push_back(list[i]);
    next.member("spec").set("finalizers", std::move(kept));
    auto done = co_await s.client().update(namespaces, {}, std::move(next), "finalize");
    if (!done && done.error().code != 404) co_return api::fail(done.error());
    log::info("namespace {} is empty and gone", name);
    co_return api::api_result<void>();
  }

  std::map<std::string, duration, std::less<>> waits_;  // namespace → the next pause
};

}  // namespace

std::unique_ptr<controller> make_namespace_lifecycle(const settings&) {
  return std::make_unique<namespace_lifecycle>();
}

}  // namespace kedge::control
