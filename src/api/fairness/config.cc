#include "api/fairness/config.h"

#include <algorithm>

#include "api/fairness/shuffle.h"
#include "base/strings.h"
#include "json/parse.h"
#include "schema/bootstrap.h"

namespace kedge::api::fairness {
namespace {

std::vector<std::string> strings(const json::value& list) {
  std::vector<std::string> out;
  for (std::size_t i = 0; i < list.size(); ++i) out.emplace_back(list[i].as_string());
  return out;
}

std::optional<subject> read_subject(const json::value& v) {
  auto kind = v["kind"].as_string();
  if (kind == "User" && v["user"].is_object())
    return subject{subject::kind::user, std::string(v["user"]["name"].as_string()), {}};
  if (kind == "Group" && v["group"].is_object())
    return subject{subject::kind::group, std::string(v["group"]["name"].as_string()), {}};
  if (kind == "ServiceAccount" && v["serviceAccount"].is_object())
    return subject{subject::kind::service_account, std::string(v["serviceAccount"]["name"].as_string()),
                   std::string(v["serviceAccount"]["namespace"].as_string())};
  return std::nullopt;
}

rule read_rule(const json::value& v) {
  rule r;
  for (std::size_t i = 0; i < v["subjects"].size(); ++i)
    if (auto s = read_subject(v["subjects"][i])) r.subjects.push_back(*std::move(s));
  for (std::size_t i = 0; i < v["resourceRules"].size(); ++i) {
    auto& from = v["resourceRules"][i];
    r.resources.push_back({strings(from["verbs"]), strings(from["apiGroups"]), strings(from["resources"]),
                           strings(from["namespaces"]), from["clusterScope"].as_bool()});
  }
  for (std::size_t i = 0; i < v["nonResourceRules"].size(); ++i) {
    auto& from = v["nonResourceRules"][i];
    r.paths.push_back({strings(from["verbs"]), strings(from["nonResourceURLs"])});
  }
  return r;
}

std::optional<priority_level> read_level(const json::value& o) {
  priority_level out{.name = std::string(o["metadata"]["name"].as_string()),
                     .uid = std::string(o["metadata"]["uid"].as_string())};
  auto& spec = o["spec"];
  const auto type = spec["type"].as_string();
  auto& limited = spec["limited"];
  auto& exempt = spec["exempt"];
  out.exempt = type == "Exempt";
  // Exempt is a level by its name; no other can become it, nor it another.
  if ((type == "Limited") != limited.is_object() || out.exempt != exempt.is_object() ||
      out.exempt != (out.name == "exempt"))
    return std::nullopt;
  auto& common = out.exempt ? exempt : limited;
  out.shares = static_cast<double>(std::max<std::int64_t>(0, common["nominalConcurrencyShares"].as_integer()));
  out.lendable_percent = static_cast<int>(std::clamp<std::int64_t>(common["lendablePercent"].as_integer(), 0, 100));
  if (out.exempt) return out;
  if (auto& most = limited["borrowingLimitPercent"]; most.is_integer())
    out.borrowing_percent = static_cast<int>(std::clamp<std::int64_t>(most.as_integer(), 0, 1'000'000));
  auto& response = limited["limitResponse"];
  auto& queuing = response["queuing"];
  if ((response["type"].as_string() == "Reject") == queuing.is_object()) return std::nullopt;
  if (!queuing.is_object()) return out;
  auto number = [&](const char* name) {
    return static_cast<unsigned>(std::clamp<std::int64_t>(queuing[name].as_integer(), 0, 10'000'000));
  };
  out.queues = {number("queues"), number("handSize"), number("queueLengthLimit")};
  if (!may_deal(out.queues.queues, out.queues.hand_size)) return std::nullopt;
  return out;
}

flow_schema read_schema(const json::value& o) {
  auto& spec = o["spec"];
  flow_schema out{.name = std::string(o["metadata"]["name"].as_string()),
                  .uid = std::string(o["metadata"]["uid"].as_string()),
                  .precedence = static_cast<int>(spec["matchingPrecedence"].as_integer())};
  auto by = spec["distinguisherMethod"]["type"].as_string();
  out.flows = by == "ByUser"        ? distinguisher::by_user
              : by == "ByNamespace" ? distinguisher::by_namespace
                                    : distinguisher::none;
  for (std::size_t i = 0; i < spec["rules"].size(); ++i) out.rules.push_back(read_rule(spec["rules"][i]));
  return out;
}

// What a fresh server would create under that name.
json::value bootstrap_object(std::string_view category, std::string_view name) {
  auto list = json::parse(schema::bootstrap_json(category));
  for (std::size_t i = 0; list && i < list->size(); ++i)
    if ((*list)[i]["metadata"]["name"].as_string() == name) return (*list)[i];
  return {};
}

constexpr std::string_view exempt_name = "exempt", catch_all_name = "catch-all";

template <typename T>
bool has(const std::vector<T>& all, std::string_view name) {
  return std::ranges::any_of(all, [&](auto& x) { return x.name == name; });
}

}  // namespace

configuration configuration::make(const std::vector<json::value>& levels, const std::vector<json::value>& schemas) {
  configuration out;
  for (auto& o : levels)
    if (auto l = read_level(o)) out.levels.push_back(*std::move(l));
  for (auto name : {exempt_name, catch_all_name})
    if (!has(out.levels, name))
      if (auto l = read_level(bootstrap_object("prioritylevelconfigurations", name)))
        out.levels.push_back(*std::move(l));
  std::ranges::sort(out.levels, {}, &priority_level::name);

  auto level_of = [&](const json::value& o) -> std::optional<std::size_t> {
    auto at = std::ranges::lower_bound(out.levels, o["spec"]["priorityLevelConfiguration"]["name"].as_string(), {},
                                       &priority_level::name);
    if (at == out.levels.end() || at->name != o["spec"]["priorityLevelConfiguration"]["name"].as_string())
      return std::nullopt;
    return static_cast<std::size_t>(at - out.levels.begin());
  };
  auto add = [&](const json::value& o, auto where) {
    auto level = level_of(o);
    if (!level) return;
    auto s = read_schema(o);
    s.level = *level;
    out.schemas.insert(where, std::move(s));
  };
  for (auto& o : schemas) add(o, out.schemas.end());
  std::ranges::sort(out.schemas,
                    [](auto& a, auto& b) { return std::tie(a.precedence, a.name) < std::tie(b.precedence, b.name); });
  if (!has(out.schemas, exempt_name)) add(bootstrap_object("flowschemas", exempt_name), out.schemas.begin());
  if (!has(out.schemas, catch_all_name)) add(bootstrap_object("flowschemas", catch_all_name), out.schemas.end());
  for (std::size_t i = 0; i < out.schemas.size(); ++i)
    if (out.schemas[i].name == catch_all_name) out.catch_all = i;
  return out;
}

}  // namespace kedge::api::fairness
