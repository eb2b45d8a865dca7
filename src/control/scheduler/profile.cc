#include "control/scheduler/profile.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/assert.h"
#include "base/strings.h"
#include "json/parse.h"

namespace kedge::control::scheduler {
namespace {

struct entry {
  std::string name;
  std::int64_t weight = 0;
};
using entries = std::vector<entry>;

// Names of kube-scheduler that need no plugin of ours: they are part of the queue, the binding, or of preemption.
constexpr std::string_view built_in[] = {"SchedulingGates", "PrioritySort", "DefaultBinder", "DefaultPreemption"};
// Its extension points (those of filters and scores stand apart).
constexpr std::string_view other_points[] = {"preEnqueue", "queueSort", "preFilter", "postFilter", "preScore",
                                             "reserve",    "permit",    "preBind",   "bind",       "postBind"};

bool is_built_in(std::string_view name) {
  return std::find(std::begin(built_in), std::end(built_in), name) != std::end(built_in);
}
bool is_known(std::string_view name) {
  auto all = default_plugins();
  return is_built_in(name) || std::any_of(all.begin(), all.end(), [&](auto& p) { return p.name == name; });
}

entries defaults() {
  entries out;
  for (auto& p : default_plugins()) out.push_back({std::string(p.name), p.weight});
  for (auto name : built_in) out.push_back({std::string(name), 0});
  return out;
}

bool has(const json::value& list, std::string_view name) {
  for (std::size_t i = 0; i < list.size(); ++i)
    if (list[i]["name"].as_string() == name || list[i]["name"].as_string() == "*") return true;
  return false;
}

// A point's set over what it has by default: disabled ones go, enabled ones keep their place or come at the end.
result<entries> merged(entries base, const json::value& set, std::string_view where) {
  entries out;
  auto& enabled = set["enabled"];
  for (auto& e : base) {
    if (has(set["disabled"], e.name)) continue;
    for (std::size_t i = 0; i < enabled.size(); ++i)
      if (enabled[i]["name"].as_string() == e.name && enabled[i]["weight"].as_integer() != 0)
        e.weight = enabled[i]["weight"].as_integer();
    out.push_back(std::move(e));
  }
  for (std::size_t i = 0; i < enabled.size(); ++i) {
    auto name = enabled[i]["name"].as_string();
    if (!is_known(name))
      return fail(errc::invalid,
                  fmt::format("{}.enabled[{}].name: Invalid value: {}: plugin does not exist in registry", where, i,
                              quote(name)));
    if (std::any_of(out.begin(), out.end(), [&](auto& e) { return e.name == name; })) continue;
    out.push_back({std::string(name), enabled[i]["weight"].as_integer()});
  }
  return out;
}

result<profile> make_profile(const json::value& given, std::string_view where,
                             std::vector<std::string>& without_effect) {
  profile out;
  if (auto name = given["schedulerName"].as_string(); !name.empty()) out.scheduler_name = name;
  auto& sets = given["plugins"];
  KEDGE_TRY(auto everywhere, merged(defaults(), sets["multiPoint"], fmt::format("{}.plugins.multiPoint", where)));
  KEDGE_TRY(auto filters, merged(everywhere, sets["filter"], fmt::format("{}.plugins.filter", where)));
  KEDGE_TRY(auto scores, merged(everywhere, sets["score"], fmt::format("{}.plugins.score", where)));
  KEDGE_TRY(auto after, merged(everywhere, sets["postFilter"], fmt::format("{}.plugins.postFilter", where)));
  for (auto point : other_points)
    if (point != "postFilter" && !sets[point].empty())
      without_effect.push_back(fmt::format("{}.plugins.{}", where, point));
  out.preempts = std::any_of(after.begin(), after.end(), [](auto& e) { return e.name == "DefaultPreemption"; });

  auto arguments_of = [&](std::string_view name) -> const json::value& {
    auto& list = given["pluginConfig"];
    for (std::size_t i = 0; i < list.size(); ++i)
      if (list[i]["name"].as_string() == name) return list[i]["args"];
    static const json::value none;
    return none;
  };
  for (std::size_t i = 0; i < given["pluginConfig"].size(); ++i)
    if (auto name = given["pluginConfig"][i]["name"].as_string(); !is_known(name))
      return fail(errc::invalid,
                  fmt::format("{}.pluginConfig[{}].name: Invalid value: {}: plugin does not exist in registry", where,
                              i, quote(name)));
  auto find = [&](const std::string& name) -> result<const plugin*> {
    for (auto& p : out.plugins)
      if (p->name() == name) return p.get();
    auto made = make_plugin(name, arguments_of(name));
    if (!made)
      return fail(errc::invalid, fmt::format("{}.pluginConfig[{}].args: {}", where, name, made.error().message));
    if (!*made) return nullptr;
    out.plugins.push_back(*std::move(made));
    return out.plugins.back().get();
  };
  for (auto& e : filters) {
    KEDGE_TRY(auto p, find(e.name));
    if (p && p->filters()) out.filters.push_back(p);
  }
  for (auto& e : scores) {
    KEDGE_TRY(auto p, find(e.name));
    if (p && p->scores()) out.scorers.push_back({p, std::max<std::int64_t>(1, e.weight)});
  }
  auto& preemption = arguments_of("DefaultPreemption");
  out.candidates_percent = preemption["minCandidateNodesPercentage"].as_integer(10);
  out.candidates_least = preemption["minCandidateNodesAbsolute"].as_integer(100);
  if (out.candidates_percent < 0 || out.candidates_percent > 100)
    return fail(errc::invalid, fmt::format("{}.pluginConfig[DefaultPreemption].args.minCandidateNodesPercentage: "
                                           "Invalid value: {}: not in valid range [0, 100]",
                                           where, out.candidates_percent));
  if (out.candidates_least < 0)
    return fail(errc::invalid, fmt::format("{}.pluginConfig[DefaultPreemption].args.minCandidateNodesAbsolute: Invalid "
                                           "value: {}: not in valid range [0, inf)",
                                           where, out.candidates_least));
  return out;
}

}  // namespace

const profile* configuration::find(std::string_view scheduler_name) const noexcept {
  for (auto& p : profiles)
    if (p.scheduler_name == scheduler_name) return &p;
  return nullptr;
}

configuration default_configuration() {
  configuration out;
  auto made = make_profile(json::value(), "profiles[0]", out.without_effect);
  kedge_assert(made.has_value());
  out.profiles.push_back(*std::move(made));
  return out;
}

result<configuration> parse_configuration(std::string_view text) {
  auto v = json::parse_yaml(text);
  if (!v) return fail(errc::invalid, v.error().message);
  auto version = (*v)["apiVersion"].as_string(), kind = (*v)["kind"].as_string();
  if (kind != "KubeSchedulerConfiguration" || version != "kubescheduler.config.k8s.io/v1")
    return fail(errc::invalid,
                fmt::format("it is {} of {}, not KubeSchedulerConfiguration of kubescheduler.config.k8s.io/v1",
                            quote(kind), quote(version)));
  configuration out;
  auto seconds = [&](std::string_view name, std::chrono::seconds& into) -> result<void> {
    auto& field = (*v)[name];
    if (field.is_null()) return {};
    if (!field.is_integer() || field.as_integer() <= 0)
      return fail(errc::invalid, fmt::format("{}: Invalid value: must be greater than 0", name));
    into = std::chrono::seconds(field.as_integer());
    return {};
  };
  KEDGE_CHECK(seconds("podInitialBackoffSeconds", out.backoff_first));
  KEDGE_CHECK(seconds("podMaxBackoffSeconds", out.backoff_most));
  if (out.backoff_most < out.backoff_first)
    return fail(errc::invalid,
                "podMaxBackoffSeconds: Invalid value: must be greater than or equal to PodInitialBackoffSeconds");
  if (!(*v)["extenders"].empty())
    return fail(errc::unsupported,
                "extenders are not supported: take them out, or run kube-scheduler under a schedulerName of its own");
  for (auto name : {"parallelism", "percentageOfNodesToScore", "leaderElection", "clientConnection", "enableProfiling",
                    "enableContentionProfiling"})
    if (v->find(name)) out.without_effect.emplace_back(name);
  auto& list = (*v)["profiles"];
  if (list.empty()) {
    out.profiles = default_configuration().profiles;
    return out;
  }
  for (std::size_t i = 0; i < list.size(); ++i) {
    auto where = fmt::format("profiles[{}]", i);
    if (list.size() > 1 && list[i]["schedulerName"].as_string().empty())
      return fail(errc::invalid, where + ".schedulerName: Required value");
    KEDGE_TRY(auto p, make_profile(list[i], where, out.without_effect));
    if (out.find(p.scheduler_name))
      return fail(errc::invalid, fmt::format("{}.schedulerName: Duplicate value: {}", where, quote(p.scheduler_name)));
    out.profiles.push_back(std::move(p));
  }
  return out;
}

}  // namespace kedge::control::scheduler
