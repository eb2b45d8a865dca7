// disruption.cc: status of PodDisruptionBudgets: how many of the selected pods are healthy, how many must be, and how many may
// be evicted now. The eviction subresource charges disruptionsAllowed and notes the pod; here both are made true again.
#include <algorithm>
#include <map>

#include "api/registry.h"
#include "api/selector.h"
#include "base/strings.h"
#include "base/time.h"
#include "control/controller.h"
#include "json/parse.h"

namespace kedge::control {

namespace {

const api::resource_id budgets{"policy", "v1", "poddisruptionbudgets"};
const api::resource_id pods{"", "v1", "pods"};
constexpr auto settle = std::chrono::milliseconds(50);
// How long an eviction may take until its pod is counted again: kube-controller-manager's DeletionTimeout.
constexpr auto eviction_time = std::chrono::minutes(2);

bool ready(const json::value& pod) {
  auto& list = pod["status"]["conditions"];
  for (std::size_t i = 0; i < list.size(); ++i)
    if (list[i]["type"].as_string() == "Ready") return list[i]["status"].as_string() == "True";
  return false;
}

const json::value* controller_of(const json::value& o) {
  auto& owners = o["metadata"]["ownerReferences"];
  for (std::size_t i = 0; i < owners.size(); ++i)
    if (owners[i]["controller"].as_bool()) return &owners[i];
  return nullptr;
}

// An integer, or a percentage of `whole`, rounded up.
std::int64_t scaled(const json::value& amount, std::int64_t whole) {
  if (amount.is_integer()) return amount.as_integer();
  auto text = amount.as_string();
  auto percent = text.ends_with('%') ? parse_int(text.substr(0, text.size() - 1)) : std::nullopt;
  return percent ? (whole * *percent + 99) / 100 : 0;
}

struct counts {
  std::int64_t expected = 0, desired = 0, healthy = 0;
};

class budget_keeper {
 public:
  explicit budget_keeper(context& c)
      : c_(c), store_(c.objects.objects_store()), prefix_(c.objects.prefix(budgets)), pods_prefix_(c.objects.prefix(pods)) {}

  task<void> run() {
    reactor::scope tasks;
    tasks.spawn(follow(store_, prefix_, [this](const store::event& e) {
      if (e.type != store::event_type::deleted) queue_.add(std::string(name_under(prefix_, e.object->key())));
    }));
    tasks.spawn(follow(store_, pods_prefix_, [this](const store::event& e) {
      auto key = name_under(pods_prefix_, e.object->key());
      add_namespace(key.substr(0, key.find('/')));
    }));
    co_await work("disruption", queue_, 4, [this](std::string key) { return reconcile(std::move(key)); });
  }

 private:
  void add_namespace(std::string_view ns) {
    store_.current().scan(c_.objects.prefix(budgets, ns), {}, [&](const store::object_ref& o) {
      queue_.add_after(std::string(name_under(prefix_, o->key())), settle);
      return true;
    });
  }

  std::vector<json::value> selected(const json::value& budget, const std::string& ns) const {
    auto which = api::label_selector::from_object(budget["spec"]["selector"]);
    std::vector<json::value> out;
    store_.current().scan(c_.objects.prefix(pods, ns), {}, [&](const store::object_ref& o) {
      if (!which.matches_text(o->labels_text())) return true;
      if (auto v = json::parse(o->bytes())) {
        auto phase = (*v)["status"]["phase"].as_string();
        if (phase != "Succeeded" && phase != "Failed") out.push_back(*std::move(v));
      }
      return true;
    });
    return out;
  }

  // Replicas that the pods' controllers want, each controller once; a Deployment stands above its ReplicaSets.
  std::int64_t wanted(const std::vector<json::value>& all, const std::string& ns) const {
    std::map<std::string, std::int64_t> by_uid;
    auto resources = c_.objects.resources();
    for (auto& pod : all) {
      auto owner = controller_of(pod);
      json::value found;
      for (int level = 0; owner && level < 2; ++level) {
        auto s = resources->find_kind((*owner)["apiVersion"].as_string(), (*owner)["kind"].as_string());
        auto o = s ? c_.objects.get({s->group, s->version, s->resource}, ns, (*owner)["name"].as_string()) : api::fail(api::no_such_resource());
        if (!o || !((*o)["metadata"]["uid"] == (*owner)["uid"])) break;
        found = *std::move(o);
        owner = found["kind"].as_string() == "ReplicaSet" ? controller_of(found) : nullptr;
      }
      if (found.is_object()) by_uid[std::string(found["metadata"]["uid"].as_string())] = found["spec"]["replicas"].as_integer(1);
    }
    std::int64_t sum = 0;
    for (auto& [uid, n] : by_uid) sum += n;
    return sum;
  }

  counts count(const json::value& budget, const std::string& ns, const json::value& disrupted) const {
    auto all = selected(budget, ns);
    counts n;
    auto& most_gone = budget["spec"]["maxUnavailable"];
    auto& least = budget["spec"]["minAvailable"];
    if (!most_gone.is_null()) {
      n.expected = wanted(all, ns);
      n.desired = std::max<std::int64_t>(0, n.expected - scaled(most_gone, n.expected));
    } else if (least.is_integer()) {
      n.expected = static_cast<std::int64_t>(all.size());
      n.desired = least.as_integer();
    } else {
      n.expected = least.is_null() ? static_cast<std::int64_t>(all.size()) : wanted(all, ns);
      n.desired = least.is_null() ? 1 : scaled(least, n.expected);
    }
    for (auto& pod : all)
      n.healthy += ready(pod) && !pod["metadata"]["deletionTimestamp"].is_string() && !disrupted.find(pod["metadata"]["name"].as_string());
    return n;
  }

  // Evicted pods that are not gone yet, and may still go.
  json::value still_disrupted(const json::value& budget, const std::string& ns, std::optional<wall_time>& next) const {
    json::object kept;
    auto noted = budget["status"]["disruptedPods"].object();
    if (!noted) return kept;
    auto now = reactor::loop::current().wall_now();
    for (auto& m : *noted) {
      auto pod = c_.objects.get(pods, ns, m.name);
      if (!pod || (*pod)["metadata"]["deletionTimestamp"].is_string()) continue;
      auto since = parse_rfc3339(m.value.as_string());
      if (!since || *since + eviction_time <= now) continue;
      kept.set(m.name, m.value);
      if (!next || *since + eviction_time < *next) next = *since + eviction_time;
    }
    return kept;
  }

  void settle_status(json::value& v, const std::string& ns, std::optional<wall_time>& next) const {
    auto disrupted = still_disrupted(v, ns, next);
    auto n = count(v, ns, disrupted);
    auto allowed = n.expected > 0 ? std::max<std::int64_t>(0, n.healthy - n.desired) : 0;
    auto& status = v.member("status");
    if (disrupted.empty())
      status.erase("disruptedPods");
    else
      status.set("disruptedPods", std::move(disrupted));
    status.set("currentHealthy", n.healthy);
    status.set("desiredHealthy", n.desired);
    status.set("disruptionsAllowed", allowed);
    status.set("expectedPods", n.expected);
    status.set("observedGeneration", v["metadata"]["generation"].as_integer());
    auto& list = status.member("conditions").make_array();
    auto at = std::find_if(list.begin(), list.end(), [](auto& c) { return c["type"].as_string() == "DisruptionAllowed"; });
    if (at == list.end()) {
      list.push_back(json::object{{"type", "DisruptionAllowed"}});
      at = list.end() - 1;
    }
    auto state = allowed > 0 ? "True" : "False";
    if ((*at)["status"].as_string() != state) at->set("lastTransitionTime", format_rfc3339(reactor::loop::current().wall_now()));
    at->set("status", state);
    at->set("reason", allowed > 0 ? "SufficientPods" : "InsufficientPods");
    at->set("message", "");
    at->set("observedGeneration", v["metadata"]["generation"].as_integer());
  }

  task<api::api_result<void>> reconcile(std::string key) {
    auto slash = key.find('/');
    auto ns = key.substr(0, slash), name = key.substr(slash + 1);
    std::optional<wall_time> next;
    auto done = co_await c_.objects.modify(
        budgets, ns, name,
        [&](json::value& v) {
          auto before = v["status"];
          settle_status(v, ns, next);
          return !(before == v["status"]);
        },
        "status");
    if (next) queue_.add_after(key, std::max<duration>(settle, *next - reactor::loop::current().wall_now()));
    if (!done && done.error().code != 404) co_return api::fail(done.error());
    co_return api::api_result<void>();
  }

  context& c_;
  store::store& store_;
  std::string prefix_, pods_prefix_;
  work_queue queue_;
};

}  // namespace

task<void> run_disruption(context& c) {
  budget_keeper k(c);
  co_await k.run();
}

}  // namespace kedge::control
