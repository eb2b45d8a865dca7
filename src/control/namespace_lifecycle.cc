// namespace_lifecycle.cc: empties a namespace that is being deleted, pods first (KEP-5080), then everything else, and lets it
// go by the finalize subresource. What holds it back stands in its conditions.
#include <set>

#include "api/registry.h"
#include "base/log.h"
#include "control/controller.h"
#include "json/parse.h"

namespace kedge::control {

namespace {

const api::resource_id namespaces{"", "v1", "namespaces"};
constexpr auto look_again = std::chrono::milliseconds(500);  // while something remains

// What is left of a resource in a namespace, counted over its distinct log prefixes.
struct remaining {
  std::string resource;
  std::size_t count = 0;
  std::size_t with_finalizers = 0;
  std::string finalizer;
};

void set_condition(json::value& ns, std::string_view type, bool on, std::string_view reason, std::string message, const std::string& now) {
  auto& list = ns.member("status").member("conditions").make_array();
  json::value* found = nullptr;
  for (auto& c : list)
    if (c["type"].as_string() == type) found = &c;
  if (!found) {
    list.push_back(json::object{{"type", std::string(type)}});
    found = &list.back();
  }
  auto state = on ? "True" : "False";
  if ((*found)["status"].as_string() != state) found->set("lastTransitionTime", now);
  found->set("status", state);
  found->set("reason", std::string(reason));
  found->set("message", std::move(message));
}

class lifecycle {
 public:
  explicit lifecycle(context& c) : c_(c) {}

  task<void> run() {
    auto prefix = c_.objects.prefix(namespaces);
    reactor::scope tasks;
    tasks.spawn(follow(c_.objects.objects_store(), prefix, [&](const store::event& e) {
      if (e.type == store::event_type::deleted) return;
      if (e.object->bytes().find("\"deletionTimestamp\"") != std::string_view::npos)
        queue_.add(std::string(name_under(prefix, e.object->key())));
    }));
    co_await work("namespace", queue_, 4, [this](std::string name) { return reconcile(std::move(name)); });
  }

 private:
  task<api::api_result<void>> reconcile(std::string name) {
    auto ns = c_.objects.get(namespaces, "", name);
    if (!ns || !(*ns)["metadata"].find("deletionTimestamp")) co_return api::api_result<void>();
    bool held = false;
    auto& finalizers = (*ns)["spec"]["finalizers"];
    for (std::size_t i = 0; i < finalizers.size(); ++i) held = held || finalizers[i].as_string() == "kubernetes";
    if (!held) co_return api::api_result<void>();

    auto left = co_await empty({"", "v1", "pods"}, name);
    std::vector<remaining> rest;
    if (left.count) {
      rest.push_back(left);
    } else {
      // The tables are kept while they are gone through: custom resources come and go.
      auto served = c_.objects.resources();
      std::set<std::string_view> seen;  // several versions of a resource are the same objects
      for (auto r : served->all()) {
        if (!r->namespaced() || !r->has_verb("delete") || !r->has_verb("list") || !seen.insert(r->key_prefix).second) continue;
        auto what = co_await empty({r->group, r->version, r->resource}, name);
        if (what.count) rest.push_back(what);
      }
    }
    if (!rest.empty()) {
      auto told = co_await tell(name, rest);
      queue_.add_after(name, look_again);
      if (!told && told.error().code != 404) co_return api::fail(told.error());
      co_return api::api_result<void>();
    }
    auto done = co_await c_.objects.modify(
        namespaces, "", name,
        [](json::value& n) {
          json::array kept;
          auto& list = n["spec"]["finalizers"];
          for (std::size_t i = 0; i < list.size(); ++i)
            if (list[i].as_string() != "kubernetes") kept.push_back(list[i]);
          n.member("spec").set("finalizers", std::move(kept));
          return true;
        },
        "finalize");
    if (!done && done.error().code != 404) co_return api::fail(done.error());
    log::info("namespace {} is empty and gone", name);
    co_return api::api_result<void>();
  }

  // Deletes every object of the resource in the namespace; what is left had finalizers or grace.
  task<remaining> empty(api::resource_id id, std::string ns) {
    auto prefix = c_.objects.prefix(id, ns);
    auto& store = c_.objects.objects_store();
    remaining out{id.plural + "." + id.group, 0, 0, {}};
    if (store.current().count(prefix) == 0) co_return out;
    std::vector<std::string> names;
    store.current().scan(prefix, "", [&](const store::object_ref& o) {
      names.emplace_back(name_under(prefix, o->key()));
      return true;
    });
    for (auto& name : names) {
      auto o = store.current().find(prefix + name);
      if (!o) continue;
      if (o->bytes().find("\"deletionTimestamp\"") == std::string_view::npos)
        (void)co_await c_.objects.remove(id, ns, name, {.propagation_policy = "Background"});
      o = store.current().find(prefix + name);
      if (!o) continue;
      ++out.count;
      if (auto v = json::parse(o->bytes()))
        if (auto& f = (*v)["metadata"]["finalizers"]; f.size()) {
          ++out.with_finalizers;
          out.finalizer = f[0].as_string();
        }
    }
    co_return out;
  }

  task<api::api_result<json::value>> tell(std::string name, std::vector<remaining> rest) {
    std::string content, finalizers;
    for (auto& r : rest) {
      content += (content.empty() ? "" : ", ") + r.resource + " has " + std::to_string(r.count) + " resource instances";
      if (r.with_finalizers)
        finalizers += (finalizers.empty() ? "" : ", ") + r.finalizer + " in " + std::to_string(r.with_finalizers) + " resource instances";
    }
    auto now = format_rfc3339(reactor::loop::current().wall_now());
    co_return co_await c_.objects.modify(
        namespaces, "", name,
        [&](json::value& n) {
          auto before = n["status"];
          set_condition(n, "NamespaceDeletionDiscoveryFailure", false, "ResourcesDiscovered", "All resources successfully discovered", now);
          set_condition(n, "NamespaceDeletionGroupVersionParsingFailure", false, "ParsedGroupVersions", "All legacy kube types successfully parsed", now);
          set_condition(n, "NamespaceDeletionContentFailure", false, "ContentDeleted", "All content successfully deleted, may be waiting on finalization", now);
          set_condition(n, "NamespaceContentRemaining", true, "SomeResourcesRemain", "Some resources are remaining: " + content, now);
          set_condition(n, "NamespaceFinalizersRemaining", !finalizers.empty(), finalizers.empty() ? "ContentHasNoFinalizers" : "SomeFinalizersRemain",
                        finalizers.empty() ? "All content-preserving finalizers finished" : "Some content in the namespace has finalizers remaining: " + finalizers, now);
          return !(before == n["status"]);
        },
        "status");
  }

  context& c_;
  work_queue queue_;
};

}  // namespace

task<void> run_namespace_lifecycle(context& c) {
  lifecycle l(c);
  co_await l.run();
}

}  // namespace kedge::control
