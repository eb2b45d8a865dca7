#include "control/scheduler/configuration.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/assert.h"
#include "base/strings.h"
#include "control/scheduler/fields.h"
#include "json/parse.h"

namespace kedge::control::scheduler {
namespace {

using type = field::type;

constexpr field plugin_fields[] = {{"name", type::text}, {"weight", type::number}};
constexpr field set_fields[] = {{"enabled", type::objects, plugin_fields}, {"disabled", type::objects, plugin_fields}};
constexpr field plugins_fields[] = {
    {"preEnqueue", type::object, set_fields},     {"queueSort", type::object, set_fields},
    {"preFilter", type::object, set_fields},      {"filter", type::object, set_fields},
    {"postFilter", type::object, set_fields},     {"preScore", type::object, set_fields},
    {"score", type::object, set_fields},          {"reserve", type::object, set_fields},
    {"permit", type::object, set_fields},         {"preBind", type::object, set_fields},
    {"bind", type::object, set_fields},           {"postBind", type::object, set_fields},
    {"multiPoint", type::object, set_fields},     {"placementGenerate", type::object, set_fields},
    {"placementScore", type::object, set_fields}, {"podGroupPostFilter", type::object, set_fields}};
constexpr field config_fields[] = {{"name", type::text}, {"args", type::object}};
constexpr field profile_fields[] = {{"schedulerName", type::text},
                                    {"percentageOfNodesToScore", type::number},
                                    {"plugins", type::object, plugins_fields},
                                    {"pluginConfig", type::objects, config_fields}};
constexpr field election_fields[] = {{"leaderElect", type::truth},     {"leaseDuration", type::text},
                                     {"renewDeadline", type::text},    {"retryPeriod", type::text},
                                     {"resourceLock", type::text},     {"resourceName", type::text},
                                     {"resourceNamespace", type::text}};
constexpr field connection_fields[] = {{"kubeconfig", type::text},
                                       {"acceptContentTypes", type::text},
                                       {"contentType", type::text},
                                       {"qps", type::fraction},
                                       {"burst", type::number}};
constexpr field configuration_fields[] = {{"apiVersion", type::text},
                                          {"kind", type::text},
                                          {"parallelism", type::number},
                                          {"leaderElection", type::object, election_fields},
                                          {"clientConnection", type::object, connection_fields},
                                          {"enableProfiling", type::truth},
                                          {"enableContentionProfiling", type::truth},
                                          {"percentageOfNodesToScore", type::number},
                                          {"podInitialBackoffSeconds", type::number},
                                          {"podMaxBackoffSeconds", type::number},
                                          {"profiles", type::objects, profile_fields},
                                          {"delayCacheUntilActive", type::truth}};
// What is another way of doing things in a process of its own.
constexpr std::string_view meaningless[] = {
    "parallelism",          "leaderElection", "clientConnection", "enableProfiling", "enableContentionProfiling",
    "delayCacheUntilActive"};

result<void> read_seconds(const json::value& field, std::string_view name, std::chrono::seconds& into) {
  if (field.is_null()) return {};
  if (field.as_integer() <= 0)
    return fail(errc::invalid, fmt::format("{}: Invalid value: {}: must be greater than 0", name, field.as_integer()));
  into = std::chrono::seconds(field.as_integer());
  return {};
}

result<void> read_backoff(const json::value& v, configuration& into) {
  KEDGE_CHECK(read_seconds(v["podInitialBackoffSeconds"], "podInitialBackoffSeconds", into.backoff_first));
  KEDGE_CHECK(read_seconds(v["podMaxBackoffSeconds"], "podMaxBackoffSeconds", into.backoff_most));
  if (into.backoff_most < into.backoff_first)
    return fail(errc::invalid, fmt::format("podMaxBackoffSeconds: Invalid value: {}: must be greater than or equal to "
                                           "PodInitialBackoffSeconds",
                                           into.backoff_most.count()));
  return {};
}

// With the arguments that extenders want NodeResourcesFit to have: they count some resources themselves.
json::value with_ignored(json::value profile, const json::array& resources) {
  if (resources.empty()) return profile;
  auto& config = profile.member("pluginConfig").make_array();
  auto fit = std::ranges::find_if(config, [](auto& c) { return c["name"].as_string() == "NodeResourcesFit"; });
  if (fit == config.end()) fit = config.insert(fit, json::object{{"name", "NodeResourcesFit"}});
  fit->member("args").set("ignoredResources", resources);
  return profile;
}

// The fields that are known; extenders' stand with them.
result<void> check(const json::value& v) {
  std::vector<field> all(std::begin(configuration_fields), std::end(configuration_fields));
  all.push_back({"extenders", type::objects, extender_fields()});
  return check_fields(v, all, "");
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
  KEDGE_CHECK(check(*v));
  configuration out;
  KEDGE_CHECK(read_backoff(*v, out));
  KEDGE_TRY(out.extenders, parse_extenders((*v)["extenders"]));
  const auto ignored = resources_ignored_for((*v)["extenders"]);
  for (auto name : meaningless)
    if (v->find(name)) out.without_effect.emplace_back(name);
  std::int64_t percent = 0;
  KEDGE_CHECK(read_percent((*v)["percentageOfNodesToScore"], "percentageOfNodesToScore", percent));
  auto& list = (*v)["profiles"];
  if (list.empty()) {
    KEDGE_TRY(auto p, make_profile(with_ignored({}, ignored), "profiles[0]", out.without_effect));
    out.profiles.push_back(std::move(p));
  }
  for (std::size_t i = 0; i < list.size(); ++i) {
    auto where = fmt::format("profiles[{}]", i);
    if (list.size() > 1 && list[i]["schedulerName"].as_string().empty())
      return fail(errc::invalid, where + ".schedulerName: Required value");
    KEDGE_TRY(auto p, make_profile(with_ignored(list[i], ignored), where, out.without_effect));
    if (out.find(p.scheduler_name))
      return fail(errc::invalid, fmt::format("{}.schedulerName: Duplicate value: {}", where, quote(p.scheduler_name)));
    out.profiles.push_back(std::move(p));
  }
  for (std::size_t i = 0; i < out.profiles.size(); ++i)
    if (list.empty() || list[i]["percentageOfNodesToScore"].is_null()) out.profiles[i].percent_of_nodes = percent;
  return out;
}

}  // namespace kedge::control::scheduler
