#include "control/scheduler/profile.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/strings.h"
#include "control/scheduler/fields.h"

namespace kedge::control::scheduler {
namespace {

struct entry {
  std::string name;
  std::int64_t weight = 0;
};
using entries = std::vector<entry>;

// Names of kube-scheduler that need no plugin of ours: they are part of the queue, the binding, or of preemption.
constexpr std::string_view built_in[] = {"SchedulingGates", "PrioritySort", "DefaultBinder", "DefaultPreemption"};
// Its others, which are not here.
constexpr std::string_view absent[] = {"GangScheduling", "DeferredPodScheduling", "TopologyPlacementGenerator",
                                       "PodGroupPodsCount"};
constexpr std::string_view removed[] = {"AzureDiskLimits", "CinderLimits", "EBSLimits", "GCEPDLimits"};
// Its extension points (those of filters and scores, and of preemption, stand apart).
constexpr std::string_view other_points[] = {
    "preEnqueue", "queueSort", "preFilter", "preScore",          "reserve",        "permit",
    "preBind",    "bind",      "postBind",  "placementGenerate", "placementScore", "podGroupPostFilter"};

using type = field::type;
constexpr field resource_fields[] = {{"name", type::text}, {"weight", type::number}};
constexpr field point_fields[] = {{"utilization", type::number}, {"score", type::number}};
constexpr field ratio_fields[] = {{"shape", type::objects, point_fields}};
constexpr field strategy_fields[] = {{"type", type::text},
                                     {"resources", type::objects, resource_fields},
                                     {"requestedToCapacityRatio", type::object, ratio_fields}};
constexpr field constraint_fields[] = {{"maxSkew", type::number},         {"topologyKey", type::text},
                                       {"whenUnsatisfiable", type::text}, {"labelSelector", type::object},
                                       {"minDomains", type::number},      {"nodeAffinityPolicy", type::text},
                                       {"nodeTaintsPolicy", type::text},  {"matchLabelKeys", type::texts}};
constexpr field affinity_fields[] = {{"requiredDuringSchedulingIgnoredDuringExecution", type::object},
                                     {"preferredDuringSchedulingIgnoredDuringExecution", type::objects}};

constexpr field preemption_arguments[] = {{"kind", type::text},
                                          {"apiVersion", type::text},
                                          {"minCandidateNodesPercentage", type::number},
                                          {"minCandidateNodesAbsolute", type::number}};
constexpr field pod_affinity_arguments[] = {{"kind", type::text},
                                            {"apiVersion", type::text},
                                            {"hardPodAffinityWeight", type::number},
                                            {"ignorePreferredTermsOfExistingPods", type::truth}};
constexpr field node_affinity_arguments[] = {
    {"kind", type::text}, {"apiVersion", type::text}, {"addedAffinity", type::object, affinity_fields}};
constexpr field fit_arguments[] = {{"kind", type::text},
                                   {"apiVersion", type::text},
                                   {"ignoredResources", type::texts},
                                   {"ignoredResourceGroups", type::texts},
                                   {"scoringStrategy", type::object, strategy_fields}};
constexpr field balance_arguments[] = {
    {"kind", type::text}, {"apiVersion", type::text}, {"resources", type::objects, resource_fields}};
constexpr field spread_arguments[] = {{"kind", type::text},
                                      {"apiVersion", type::text},
                                      {"defaultConstraints", type::objects, constraint_fields},
                                      {"defaultingType", type::text}};
constexpr field binding_arguments[] = {{"kind", type::text},
                                       {"apiVersion", type::text},
                                       {"bindTimeoutSeconds", type::number},
                                       {"shape", type::objects, point_fields}};

constexpr field device_arguments[] = {
    {"kind", type::text}, {"apiVersion", type::text}, {"filterTimeout", type::text}, {"bindingTimeout", type::text}};

struct arguments_of_plugin {
  std::string_view plugin;
  std::span<const field> fields;
};
constexpr arguments_of_plugin known_arguments[] = {
    {"DefaultPreemption", preemption_arguments},  {"DynamicResources", device_arguments},
    {"InterPodAffinity", pod_affinity_arguments}, {"NodeAffinity", node_affinity_arguments},
    {"NodeResourcesFit", fit_arguments},          {"NodeResourcesBalancedAllocation", balance_arguments},
    {"PodTopologySpread", spread_arguments},      {"VolumeBinding", binding_arguments}};

bool is_one_of(std::span<const std::string_view> names, std::string_view name) {
  return std::ranges::find(names, name) != names.end();
}
bool is_known(std::string_view name) {
  return is_one_of(built_in, name) || is_one_of(absent, name) ||
         std::ranges::any_of(default_plugins(), [&](auto& p) { return p.name == name; });
}

entries defaults() {
  entries out;
  for (auto& p : default_plugins()) out.push_back({std::string(p.name), p.weight});
  for (auto name : built_in) out.push_back({std::string(name), 0});
  return out;
}

bool has(const json::value& list, std::string_view name) {
  for (std::size_t i = 0; i < list.size(); ++i)
    if (list[i]["name"].as_string() == name) return true;
  return false;
}
bool is_disabled(const json::value& set, std::string_view name) {
  return has(set["disabled"], "*") || has(set["disabled"], name);
}
bool has(const entries& list, std::string_view name) {
  return std::ranges::find(list, name, &entry::name) != list.end();
}

result<void> check_set(const json::value& set, const std::string& where, std::vector<std::string>& without_effect) {
  auto& list = set["enabled"];
  for (std::size_t i = 0; i < list.size(); ++i) {
    auto name = list[i]["name"].as_string();
    auto place = fmt::format("{}.enabled[{}]", where, i);
    if (is_one_of(removed, name))
      return fail(errc::invalid, fmt::format("{}: Invalid value: {}: was invalid in version "
                                             "\"kubescheduler.config.k8s.io/v1\"",
                                             place, quote(name)));
    if (!is_known(name))
      return fail(errc::invalid,
                  fmt::format("{}.name: Invalid value: {}: plugin does not exist in registry", place, quote(name)));
    for (std::size_t k = 0; k < i; ++k)
      if (list[k]["name"].as_string() == name)
        return fail(errc::invalid, fmt::format("{}.name: Duplicate value: {}", place, quote(name)));
    if (is_one_of(absent, name)) without_effect.push_back(fmt::format("{} ({})", place, name));
  }
  return {};
}

// The defaults with what `set` says: the enabled ones in their places, or at the end.
entries merged(entries base, const json::value& set) {
  auto& enabled = set["enabled"];
  entries out;
  for (auto& e : base) {
    if (is_disabled(set, e.name)) continue;
    for (std::size_t i = 0; i < enabled.size(); ++i)
      if (enabled[i]["name"].as_string() == e.name) e.weight = enabled[i]["weight"].as_integer();
    out.push_back(std::move(e));
  }
  for (std::size_t i = 0; i < enabled.size(); ++i)
    if (auto name = enabled[i]["name"].as_string(); !has(out, name))
      out.push_back({std::string(name), enabled[i]["weight"].as_integer()});
  return out;
}

// What runs at one point: what it sets anew of what runs everywhere, then the others of that, then what only it has.
entries at_point(const entries& everywhere, const json::value& set) {
  auto& enabled = set["enabled"];
  entries first, last;
  for (std::size_t i = 0; i < enabled.size(); ++i) {
    entry e{std::string(enabled[i]["name"].as_string()), enabled[i]["weight"].as_integer()};
    (has(everywhere, e.name) && !is_disabled(set, e.name) ? first : last).push_back(std::move(e));
  }
  entries out = first;
  for (auto& e : everywhere)
    if (!is_disabled(set, e.name) && !has(first, e.name)) out.push_back(e);
  out.insert(out.end(), last.begin(), last.end());
  return out;
}

// pluginConfig's arguments, checked as far as no plugin must be asked.
class plugin_arguments {
 public:
  static result<plugin_arguments> of(const json::value& list, const std::string& where,
                                     std::vector<std::string>& without_effect) {
    plugin_arguments out(list, where);
    for (std::size_t i = 0; i < list.size(); ++i) {
      auto name = list[i]["name"].as_string();
      auto place = fmt::format("{}[{}]", where, i);
      for (std::size_t k = 0; k < i; ++k)
        if (list[k]["name"].as_string() == name)
          return fail(errc::invalid, fmt::format("{}: Duplicate value: {}", place, quote(name)));
      if (!is_known(name))
        return fail(errc::invalid,
                    fmt::format("{}.name: Invalid value: {}: plugin does not exist in registry", place, quote(name)));
      if (is_one_of(absent, name)) {
        without_effect.push_back(fmt::format("{} ({})", place, name));
        continue;
      }
      auto& args = list[i]["args"];
      if (!args.is_object()) continue;
      auto known = std::ranges::find(known_arguments, name, &arguments_of_plugin::plugin);
      if (known == std::end(known_arguments))
        return fail(errc::invalid, fmt::format("{}.args: Forbidden: plugin {} takes no arguments", place, name));
      if (auto kind = args["kind"].as_string(); !kind.empty() && kind != std::string(name) + "Args")
        return fail(errc::invalid,
                    fmt::format("{}.args.kind: Invalid value: {}: must be {}Args", place, quote(kind), name));
      KEDGE_CHECK(check_fields(args, known->fields, place + ".args"));
    }
    return out;
  }
  const json::value& operator[](std::string_view name) const {
    static const json::value none;
    auto i = index_of(name);
    return i ? (*list_)[*i]["args"] : none;
  }
  // Where they stand.
  std::string place(std::string_view name) const {
    auto i = index_of(name);
    return i ? fmt::format("{}[{}].args", where_, *i) : fmt::format("{}[{}].args", where_, name);
  }

 private:
  plugin_arguments(const json::value& list, std::string where) : list_(&list), where_(std::move(where)) {}
  std::optional<std::size_t> index_of(std::string_view name) const {
    for (std::size_t i = 0; i < list_->size(); ++i)
      if ((*list_)[i]["name"].as_string() == name) return i;
    return std::nullopt;
  }
  const json::value* list_;
  std::string where_;
};

// The queue and the binding are what they are here: what leaves them out is refused or told.
result<void> check_built_in(const profile& of, const entries& everywhere, const json::value& sets,
                            std::string_view where, std::vector<std::string>& without_effect) {
  auto on = [&](std::string_view point, std::string_view name) { return has(at_point(everywhere, sets[point]), name); };
  if (!on("queueSort", "PrioritySort"))
    return fail(errc::invalid,
                fmt::format("{}.plugins: only one queue sort plugin required for profile with scheduler name {}, but "
                            "got 0",
                            where, quote(of.scheduler_name)));
  if (!on("bind", "DefaultBinder"))
    return fail(errc::invalid, fmt::format("{}.plugins: at least one bind plugin is needed for profile with scheduler "
                                           "name {}",
                                           where, quote(of.scheduler_name)));
  if (!on("preEnqueue", "SchedulingGates"))
    without_effect.push_back(fmt::format("{}.plugins without SchedulingGates", where));
  return {};
}

result<void> read_preemption(const plugin_arguments& arguments, profile& into) {
  auto& a = arguments["DefaultPreemption"];
  into.candidates_percent = a["minCandidateNodesPercentage"].as_integer(10);
  into.candidates_least = a["minCandidateNodesAbsolute"].as_integer(100);
  auto refuse = [&](std::string_view name, std::int64_t value, std::string_view why) {
    return fail(errc::invalid,
                fmt::format("{}.{}: Invalid value: {}: {}", arguments.place("DefaultPreemption"), name, value, why));
  };
  if (into.candidates_percent < 0 || into.candidates_percent > 100)
    return refuse("minCandidateNodesPercentage", into.candidates_percent, "not in valid range [0, 100]");
  if (into.candidates_least < 0)
    return refuse("minCandidateNodesAbsolute", into.candidates_least, "not in valid range [0, inf)");
  if (into.candidates_percent == 0 && into.candidates_least == 0)
    return refuse("minCandidateNodesPercentage", 0, "cannot be zero at the same time as minCandidateNodesAbsolute");
  return {};
}

result<void> read_devices(const plugin_arguments& arguments, profile& into, std::vector<std::string>& without_effect) {
  auto& a = arguments["DynamicResources"];
  // The search ends by its steps here, not by a clock.
  if (a.find("filterTimeout")) without_effect.push_back(arguments.place("DynamicResources") + ".filterTimeout");
  if (!a.find("bindingTimeout")) return {};
  auto text = a["bindingTimeout"].as_string();
  auto parsed = parse_duration(text);
  if (!parsed || *parsed < std::chrono::seconds(1))
    return fail(errc::invalid, fmt::format("{}.bindingTimeout: Invalid value: {}: must be at least 1 second",
                                           arguments.place("DynamicResources"), quote(text)));
  into.device_timeout = std::chrono::duration_cast<std::chrono::seconds>(*parsed);
  return {};
}

}  // namespace

result<void> read_percent(const json::value& given, std::string_view where, std::int64_t& into) {
  if (given.is_null()) return {};
  into = given.as_integer();
  if (into >= 0 && into <= 100) return {};
  return fail(errc::invalid, fmt::format("{}: Invalid value: {}: not in valid range [0-100]", where, into));
}

result<profile> make_profile(const json::value& given, std::string_view where,
                             std::vector<std::string>& without_effect) {
  profile out;
  if (auto name = given["schedulerName"].as_string(); !name.empty()) out.scheduler_name = name;
  KEDGE_CHECK(read_percent(given["percentageOfNodesToScore"], fmt::format("{}.percentageOfNodesToScore", where),
                           out.percent_of_nodes));
  auto& sets = given["plugins"];
  if (auto all = sets.object())
    for (auto& set : *all)
      KEDGE_CHECK(check_set(set.value, fmt::format("{}.plugins.{}", where, set.name), without_effect));
  for (auto point : other_points)
    if (!sets[point]["enabled"].empty() || !sets[point]["disabled"].empty())
      without_effect.push_back(fmt::format("{}.plugins.{}", where, point));
  const auto everywhere = merged(defaults(), sets["multiPoint"]);
  KEDGE_CHECK(check_built_in(out, everywhere, sets, where, without_effect));
  KEDGE_TRY(auto arguments,
            plugin_arguments::of(given["pluginConfig"], fmt::format("{}.pluginConfig", where), without_effect));

  auto find = [&](const std::string& name) -> result<const plugin*> {
    for (auto& p : out.plugins)
      if (p->name() == name) return p.get();
    auto made = make_plugin(name, arguments[name]);
    if (!made) return fail(errc::invalid, fmt::format("{}.{}", arguments.place(name), made.error().message));
    if (!*made) return nullptr;
    out.plugins.push_back(*std::move(made));
    return out.plugins.back().get();
  };
  for (auto& e : at_point(everywhere, sets["filter"])) {
    KEDGE_TRY(auto p, find(e.name));
    if (p && p->filters()) out.filters.push_back(p);
  }
  for (auto& e : at_point(everywhere, sets["score"])) {
    KEDGE_TRY(auto p, find(e.name));
    if (p && p->scores()) out.scorers.push_back({p, std::max<std::int64_t>(1, e.weight)});
  }
  out.preempts = has(at_point(everywhere, sets["postFilter"]), "DefaultPreemption");
  KEDGE_CHECK(read_preemption(arguments, out));
  out.binds_volumes = std::ranges::any_of(out.filters, [](auto p) { return p->name() == "VolumeBinding"; });
  if (auto found = std::ranges::find(out.filters, "DynamicResources", &plugin::name); found != out.filters.end())
    out.devices = *found;
  KEDGE_CHECK(read_devices(arguments, out, without_effect));
  out.bind_timeout = std::chrono::seconds(arguments["VolumeBinding"]["bindTimeoutSeconds"].as_integer(600));
  return out;
}

}  // namespace kedge::control::scheduler
