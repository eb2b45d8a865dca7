// Placing pods as a real kube-scheduler's plugins do: tests/answers/scheduler has small clusters, a pod, and what they
// said.
#include <fmt/format.h>
#include <zlib.h>

#include <algorithm>
#include <map>

#include "control/scheduler/plugins/dynamic_resources.h"
#include "json/write.h"
#include "kit.h"

using namespace kedge;
using namespace kedge::control::scheduler;

namespace {

std::vector<json::value> cases(const std::string& name) {
  auto* file = ::gzopen((KEDGE_ANSWERS "/scheduler/" + name + ".jsonl.gz").c_str(), "rb");
  REQUIRE(file);
  std::string text;
  char some[64 * 1024];
  for (int n; (n = ::gzread(file, some, sizeof some)) > 0;) text.append(some, static_cast<std::size_t>(n));
  ::gzclose(file);
  std::vector<json::value> out;
  for (std::size_t begin = 0, end; (end = text.find('\n', begin)) != text.npos; begin = end + 1) {
    auto v = json::parse(std::string_view(text).substr(begin, end - begin));
    REQUIRE(v.has_value());
    out.push_back(*std::move(v));
  }
  return out;
}

std::vector<std::string> texts(const json::value& list) {
  std::vector<std::string> out;
  for (std::size_t i = 0; i < list.size(); ++i) out.emplace_back(list[i].as_string());
  return out;
}

void fill(kit::world& w, const json::value& asked) {
  auto each = [&](std::string_view list, auto set) {
    for (std::size_t i = 0; i < asked[list].size(); ++i) set(asked[list][i]);
  };
  auto& storage = w.cluster.storage();
  for (auto& n : *asked["namespaces"].object()) w.cluster.set_namespace(n.name, n.value);
  each("nodes", [&](auto& v) { w.cluster.set_node(v); });
  each("pods", [&](auto& v) { w.add(v); });
  each("budgets", [&](auto& v) { w.cluster.set_budget(v); });
  each("claims", [&](auto& v) { storage.set_claim(v); });
  each("volumes", [&](auto& v) { storage.set_volume(v); });
  each("classes", [&](auto& v) { storage.set_class(v); });
  each("csiNodes", [&](auto& v) { storage.set_csi_node(v); });
  each("csiDrivers", [&](auto& v) { storage.set_csi_driver(v); });
  each("capacities", [&](auto& v) { storage.set_capacity(v); });
  each("attachments", [&](auto& v) { storage.set_attachment(v); });
  auto& devices = w.cluster.devices();
  each("slices", [&](auto& v) { devices.set_slice(v); });
  each("deviceClasses", [&](auto& v) { devices.set_class(v); });
  each("deviceClaims", [&](auto& v) { devices.set_claim(v); });
  each("taintRules", [&](auto& v) { devices.set_rule(v); });
}

// The default profile, with more resources that count in NodeResourcesFit's scores.
configuration with_scoring(const json::value& names) {
  if (names.empty()) return default_configuration();
  json::array resources{json::object{{"name", "cpu"}}, json::object{{"name", "memory"}}};
  for (std::size_t i = 0; i < names.size(); ++i) resources.push_back(json::object{{"name", names[i]}});
  json::value args =
      json::object{{"scoringStrategy", json::object{{"type", "LeastAllocated"}, {"resources", resources}}}};
  json::value file = json::object{
      {"apiVersion", "kubescheduler.config.k8s.io/v1"},
      {"kind", "KubeSchedulerConfiguration"},
      {"profiles", json::array{json::object{
                       {"schedulerName", "default-scheduler"},
                       {"pluginConfig", json::array{json::object{{"name", "NodeResourcesFit"}, {"args", args}}}}}}}};
  auto read = parse_configuration(json::write(file));
  REQUIRE_MESSAGE(read.has_value(), (read ? "" : read.error().message));
  return *std::move(read);
}

// "n1: a b (1 budgets broken)" of each node where the removal of pods helps.
std::map<std::string, std::string> candidates_told(const json::value& told) {
  std::map<std::string, std::string> out;
  if (auto all = told["candidates"].object())
    for (auto& c : *all)
      out[c.name] = fmt::format("{} ({} budgets broken)", fmt::join(texts(c.value["pods"]), " "),
                                c.value["violations"].as_integer());
  return out;
}

void compare_victims(const kit::world& w, const pod_view& pod, const outcome& refused, const json::value& told,
                     auto& differ) {
  auto& by = w.settings.profiles.front();
  seeded_random random{7};
  auto plan = find_victims(by, pod, refused, w.cluster, random);
  auto theirs = candidates_told(told);
  if (theirs.empty()) {
    auto message = fmt::format("preemption: {}", told["preemption"].as_string());
    if (plan.message != message) differ("preemption", plan.message, message);
    return;
  }
  std::map<std::string, std::string> ours;
  for (auto& c : find_candidates(by, pod, refused, w.cluster, random).all) {
    std::vector<std::string> names;
    for (auto& v : c.victims) names.push_back(v->name);
    ours[c.node->name] = fmt::format("{} ({} budgets broken)", fmt::join(names, " "), c.violations);
  }
  for (auto& [node, victims] : theirs)
    if (ours[node] != victims) differ("victims on " + node, ours[node], victims);
  if (ours.size() != theirs.size()) differ("candidates", ours.size(), theirs.size());
  auto chosen = texts(told["chosen"]);
  auto node = plan.chosen.node ? plan.chosen.node->name : std::string("none");
  if (std::ranges::find(chosen, node) == chosen.end())
    differ("nominated", node, fmt::format("{}", fmt::join(chosen, " or ")));
}

// What is different, in words; empty when nothing is.
std::vector<std::string> differences(const json::value& c) {
  kit::world w;
  auto &asked = c["case"], &told = c["answer"];
  w.settings = with_scoring(asked["scoring"]);
  fill(w, asked);
  auto pod = w.cluster.read_pod(asked["pod"], {});
  auto& by = w.settings.profiles.front();
  auto found = w.place(pod);
  // In as many turns as it takes.
  auto fits = [&](const node_view& node) {
    for (;;) {
      auto no = control::scheduler::fits(by, found.states, *pod, node, w.cluster);
      if (no.why.what != verdict::kind::unfinished) return no;
      found.unfinished = true;
      found = place(by, *pod, w.cluster, w.random, std::move(found));
    }
  };

  std::vector<std::string> out;
  auto differ = [&](std::string what, const auto& ours, const auto& theirs) {
    out.push_back(fmt::format("{}: {} is not {}", what, ours, theirs));
  };
  // The error that ends an attempt is that of the first node that is looked at.
  if (auto failures = texts(told["failed"]); !found.failed.empty() || !failures.empty()) {
    if (std::ranges::find(failures, found.failed) == failures.end())
      differ("failed", found.failed, fmt::format("{}", fmt::join(failures, " or ")));
    return out;
  }
  const auto fitting = texts(told["fits"]);
  if ((found.node != nullptr) != !fitting.empty()) differ("fits", found.node != nullptr, !fitting.empty());
  auto message = std::string(told["message"].as_string());
  if (fitting.empty() && found.why.text() != message) differ("message", found.why.text(), message);
  // A pod that was promised a node, and fits there, looks at no other.
  const bool promised = found.node && found.node->name == pod->nominated;
  std::set<std::string> blamed;
  for (auto p : found.why.plugins) blamed.emplace(p->name());
  if (auto theirs = texts(told["by"]); !promised && !std::ranges::equal(blamed, theirs))
    differ("plugins", fmt::format("{}", fmt::join(blamed, " ")), fmt::format("{}", fmt::join(theirs, " ")));
  if (found.states.of.empty()) return out;

  std::vector<const node_view*> nodes;
  for (auto& name : fitting) {
    auto node = w.cluster.find_node(name);
    nodes.push_back(node);
    auto no = fits(*node);
    if (!no.why) differ(name, fmt::format("{}", fmt::join(no.why.reasons, "; ")), "fits");
  }
  auto never = texts(told["never"]);
  if (auto why = told["why"].object())
    for (auto& n : *why) {
      auto no = fits(*w.cluster.find_node(n.name));
      // A Go map's order is another each time.
      auto theirs = texts(n.value);
      std::ranges::sort(theirs);
      std::ranges::sort(no.why.reasons);
      if (no.why.reasons != theirs)
        differ(n.name, fmt::format("{}", fmt::join(no.why.reasons, "; ")), fmt::format("{}", fmt::join(theirs, "; ")));
      const bool unresolvable = std::ranges::find(never, n.name) != never.end();
      if (!no.why && (no.why.what == verdict::kind::unresolvable) != unresolvable)
        differ(n.name + " for ever", !unresolvable, unresolvable);
    }
  for (auto& name : fitting) {
    json::array ours;
    auto plan = device_plan_on(by, found.states, name);
    for (auto& one : plan.claims)
      if (!one.allocation.is_null()) ours.push_back(one.allocation);
    if (plan.for_resources) {
      ours.push_back(plan.for_resources->allocation);
      ours.push_back(plan.for_resources->what.requests);
      ours.push_back(plan.for_resources->what.mappings);
    }
    auto& theirs = told["allocations"][name];
    if (!ours.empty() || !theirs.empty())
      if (json::value all = std::move(ours); !(all == theirs))
        differ(name + " allocations", json::write(all), json::write(theirs));
  }
  if (nodes.empty() && asked["preempts"].as_bool()) compare_victims(w, *pod, found, told, differ);
  if (!out.empty() || nodes.empty()) return out;
  for (auto& s : scores_of(by, found.states, *pod, nodes, w.cluster))
    for (std::size_t i = 0; i < by.scorers.size(); ++i) {
      auto plugin = std::string(by.scorers[i].of->name());
      if (auto theirs = told["scores"][s.node->name][plugin].as_integer(); s.of[i] != theirs)
        differ(s.node->name + " " + plugin, s.of[i], theirs);
    }
  return out;
}

void check_all(const std::string& name, std::size_t least) {
  auto all = cases(name);
  CHECK(all.size() >= least);
  std::size_t wrong = 0, number = 0;
  for (auto& c : all) {
    ++number;
    auto found = differences(c);
    if (found.empty()) continue;
    if (++wrong <= 10) MESSAGE(fmt::format("case {}: {}", number, fmt::join(found, "\n  ")));
  }
  CHECK(wrong == 0);
}

}  // namespace

TEST_CASE("pods are placed as kube-scheduler places them") { check_all("cases", 5000); }

TEST_CASE("pods are placed by their volumes as kube-scheduler places them") { check_all("volumes", 1400); }

TEST_CASE("pods are given devices as kube-scheduler gives them") { check_all("devices", 900); }

TEST_CASE("pods are given devices for extended resources as kube-scheduler gives them") { check_all("resources", 900); }

TEST_CASE("pods go where what they need is declared as with kube-scheduler") { check_all("features", 500); }

TEST_CASE("pods are preempted as kube-scheduler preempts them") { check_all("preemption", 900); }
