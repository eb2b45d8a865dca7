// custom_resources.cc: what a CustomResourceDefinition goes through: its names are accepted unless another of its group
// has them, then it is established and served; when it is deleted its objects go first, then it.
#include <algorithm>
#include <set>

#include "api/custom/definition.h"
#include "base/log.h"
#include "base/strings.h"
#include "control/controller.h"
#include "control/finalizers.h"

namespace kedge::control {

namespace {

const api::resource_id definitions{"apiextensions.k8s.io", "v1", "customresourcedefinitions"};
constexpr std::string_view cleanup_finalizer = "customresourcecleanup.apiextensions.k8s.io";
constexpr auto look_again = std::chrono::milliseconds(200);  // while objects with finalizers remain

void set_condition(json::value& crd, std::string_view type, std::string_view state, std::string_view reason,
                   std::string_view message, const std::string& now) {
  auto& list = crd.member("status").member("conditions").make_array();
  auto found = std::find_if(list.begin(), list.end(), [&](auto& c) { return c["type"].as_string() == type; });
  if (found == list.end()) {
    list.push_back(json::object{{"type", type}});
    found = list.end() - 1;
  }
  if ((*found)["status"].as_string() != state) found->set("lastTransitionTime", now);
  found->set("status", state);
  found->set("reason", reason);
  found->set("message", message);
}

// What the other definitions of the group have been given.
struct taken_names {
  std::set<std::string> resources, kinds;

  void add(const json::value& names) {
    for (auto member : {"plural", "singular"}) insert(resources, names[member]);
    for (std::size_t i = 0; i < names["shortNames"].size(); ++i) insert(resources, names["shortNames"][i]);
    for (auto member : {"kind", "listKind"}) insert(kinds, names[member]);
  }

 private:
  static void insert(std::set<std::string>& into, const json::value& v) {
    if (!v.as_string().empty()) into.emplace(v.as_string());
  }
};

std::string in_use(std::string_view name) { return quote(name) + " is already in use"; }

// status.acceptedNames and the conditions NamesAccepted and Established, from spec.names. As kube-apiserver's naming
// and establishing controllers, in one step.
void accept_names(json::value& crd, const taken_names& taken, const std::string& now) {
  auto& wanted = crd["spec"]["names"];
  json::value accepted =
      crd["status"]["acceptedNames"].is_object() ? crd["status"]["acceptedNames"] : json::value(json::object{});
  std::string reason, message;
  auto take = [&](const char* member, const std::set<std::string>& used, std::string_view conflict) {
    auto name = std::string(wanted[member].as_string());
    if (name != accepted[member].as_string() && used.contains(name)) {
      reason = conflict;
      message = in_use(name);
      return;
    }
    accepted.set(member, name);
  };
  take("plural", taken.resources, "PluralConflict");
  take("singular", taken.resources, "SingularConflict");
  std::string short_conflicts;
  for (std::size_t i = 0; i < wanted["shortNames"].size(); ++i) {
    auto name = wanted["shortNames"][i].as_string();
    if (!taken.resources.contains(std::string(name))) continue;
    short_conflicts += (short_conflicts.empty() ? "" : ", ") + in_use(name);
  }
  if (!short_conflicts.empty()) {
    reason = "ShortNamesConflict";
    message = short_conflicts.find(", ") == std::string::npos ? short_conflicts : "[" + short_conflicts + "]";
  } else if (wanted["shortNames"].empty()) {
    accepted.erase("shortNames");
  } else {
    accepted.set("shortNames", wanted["shortNames"]);
  }
  take("kind", taken.kinds, "KindConflict");
  take("listKind", taken.kinds, "ListKindConflict");
  if (wanted["categories"].empty())
    accepted.erase("categories");
  else
    accepted.set("categories", wanted["categories"]);
  crd.member("status").set("acceptedNames", std::move(accepted));

  const bool good = reason.empty();
  set_condition(crd, "NamesAccepted", good ? "True" : "False", good ? "NoConflicts" : reason,
                good ? "no conflicts found" : message, now);
  if (api::custom::has_condition(crd, "Established")) return;
  if (good)
    set_condition(crd, "Established", "True", "InitialNamesAccepted", "the initial names have been accepted", now);
  else
    set_condition(crd, "Established", "False", "NotAccepted", "not all names are accepted", now);
}

void judge_approval(json::value& crd, const std::string& now) {
  auto group = crd["spec"]["group"].as_string();
  if (!group.ends_with(".k8s.io") && !group.ends_with(".kubernetes.io")) return;
  auto text = std::string(crd["metadata"]["annotations"]["api-approved.kubernetes.io"].as_string());
  constexpr std::string_view type = "KubernetesAPIApprovalPolicyConformant";
  if (text.starts_with("http"))
    set_condition(crd, type, "True", "ApprovedAnnotation", "approved in " + text, now);
  else if (text.starts_with("unapproved"))
    set_condition(crd, type, "False", "UnapprovedAnnotation", "not approved: " + quote(text), now);
}

class definition_keeper {
 public:
  explicit definition_keeper(context& c) : c_(c), prefix_(c.objects.prefix(definitions)) {}

  task<void> run() {
    reactor::scope tasks;
    tasks.spawn(follow(c_.objects.objects_store(), prefix_, [this](const store::event& e) {
      queue_.add(std::string(name_under(prefix_, e.object->key())));
      // Names may have become free for another of the group.
      if (e.type == store::event_type::deleted) add_all();
    }));
    co_await work("customresourcedefinition", queue_, 2,
                  [this](std::string name) { return reconcile(std::move(name)); });
  }

 private:
  void add_all() {
    c_.objects.objects_store().current().scan(prefix_, {}, [&](const store::object_ref& o) {
      queue_.add(std::string(name_under(prefix_, o->key())));
      return true;
    });
  }

  task<api::api_result<void>> reconcile(std::string name) {
    auto crd = c_.objects.get(definitions, "", name);
    if (!crd) co_return api::api_result<void>();
    if ((*crd)["metadata"]["deletionTimestamp"].is_string()) {
      if (has_finalizer(*crd, cleanup_finalizer)) co_return co_await finalize(std::move(name));
      co_return api::api_result<void>();
    }
    auto now = format_rfc3339(reactor::loop::current().wall_now());
    auto done = co_await c_.objects.modify(
        definitions, "", name,
        [&](json::value& v) {
          // Read again for each try: another one may have got the names meanwhile.
          taken_names taken;
          for (auto& other : c_.objects.list(definitions))
            if (other["metadata"]["name"].as_string() != name && other["spec"]["group"] == v["spec"]["group"])
              taken.add(other["status"]["acceptedNames"]);
          auto before = v["status"];
          accept_names(v, taken, now);
          judge_approval(v, now);
          return !(before == v["status"]);
        },
        "status");
    if (!done) co_return api::fail(done.error());
    co_return api::api_result<void>();
  }

  // Deletes the objects; the definition goes when none is left.
  task<api::api_result<void>> finalize(std::string name) {
    auto left = co_await remove_objects(name);
    auto now = format_rfc3339(reactor::loop::current().wall_now());
    auto told = co_await c_.objects.modify(
        definitions, "", name,
        [&](json::value& v) {
          auto before = v["status"];
          if (left)
            set_condition(v, "Terminating", "True", "InstanceDeletionInProgress",
                          "CustomResource deletion is in progress", now);
          else
            set_condition(v, "Terminating", "False", "InstanceDeletionCompleted", "removed all instances", now);
          return !(before == v["status"]);
        },
        "status");
    if (!told) co_return api::fail(told.error());
    if (left) {
      queue_.add_after(name, look_again);
      co_return api::api_result<void>();
    }
    auto done = co_await c_.objects.modify(definitions, "", name, [](json::value& v) {
      remove_finalizer(v, cleanup_finalizer);
      return true;
    });
    if (!done && done.error().code != 404) co_return api::fail(done.error());
    log::info("custom resource definition {} and its objects are gone", name);
    co_return api::api_result<void>();
  }

  // How many are left: those with finalizers.
  task<std::size_t> remove_objects(std::string name) {
    // Kept while its objects are deleted.
    auto resources = c_.objects.resources();
    const api::served* s = nullptr;
    for (auto& d : resources->definitions())
      if (d->name() == name) s = d->versions().front();
    if (!s) co_return 0;  // never established: nothing was ever created
    api::resource_id id{s->group, s->version, s->resource};
    auto& store = c_.objects.objects_store();
    std::vector<std::string> keys;
    store.current().scan(s->key_prefix, {}, [&](const store::object_ref& o) {
      keys.emplace_back(name_under(s->key_prefix, o->key()));
      return true;
    });
    for (auto& key : keys) {
      auto slash = s->namespaced() ? key.find('/') : std::string::npos;
      auto ns = slash == std::string::npos ? std::string() : key.substr(0, slash);
      auto own = slash == std::string::npos ? key : key.substr(slash + 1);
      (void)co_await c_.objects.remove(id, std::move(ns), std::move(own), {.propagation_policy = "Background"});
    }
    co_return store.current().count(s->key_prefix);
  }

  context& c_;
  std::string prefix_;
  work_queue queue_;
};

}  // namespace

task<void> run_custom_resources(context& c) {
  definition_keeper k(c);
  co_await k.run();
}

}  // namespace kedge::control
