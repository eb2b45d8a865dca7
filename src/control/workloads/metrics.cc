#include "control/workloads/metrics.h"

#include <fmt/format.h>

#include <algorithm>
#include <initializer_list>
#include <limits>
#include <utility>

#include "api/registry/registry.h"
#include "base/strings.h"
#include "json/parse.h"
#include "meta/selector.h"
#include "schema/quantity.h"

namespace kedge::control {

namespace {

constexpr auto longest_window = std::chrono::seconds(std::chrono::hours(24));

// client-go's words for an answer that says no more than its code.
std::string generic_text(int code) {
  switch (code) {
    case 400: return "the server rejected our request for an unknown reason";
    case 401: return "the server has asked for the client to provide credentials";
    case 404: return "the server could not find the requested resource";
    case 429: return "the server has received too many requests and has asked us to try again later";
    case 503: return "the server is currently unable to handle the request";
    case 504:
      return "the server was unable to return a response in the time allotted, but may still be processing the request";
    default:
      return fmt::format("the server responded with the status code {} but did not return more information", code);
  }
}

// `what` was asked for: "pods.metrics.k8s.io".
std::string refusal_text(const api::raw_answer& a, std::string_view what) {
  auto status = json::parse(a.body);
  auto message = status ? (*status)["message"].as_string() : std::string_view();
  // A Status that names nothing says no more than the code either.
  if (message.empty() || message == generic_text(a.code)) return fmt::format("{} (get {})", generic_text(a.code), what);
  return std::string(message);
}

constexpr std::string_view usage_api = "resource metrics API", custom_api = "custom metrics API",
                           external_api = "external metrics API";

std::unexpected<std::string> unable(std::string_view api, std::string_view why) {
  return std::unexpected(fmt::format("unable to fetch metrics from {}: {}", api, why));
}

task<std::expected<json::value, std::string>> ask_list(api::objects& client, std::string_view api, std::string path,
                                                       std::string what) {
  auto answer = co_await client.ask({.path = std::move(path)});
  if (!answer) co_return unable(api, answer.error().message);
  if (answer->code != 200) co_return unable(api, refusal_text(*answer, what));
  auto list = json::parse(answer->body);
  if (!list) co_return unable(api, list.error().message);
  if ((*list)["items"].empty()) co_return std::unexpected(fmt::format("no metrics returned from {}", api));
  co_return *std::move(list);
}

// The group's version that is preferred, or else any that is known here.
task<std::expected<std::string, std::string>> custom_version(api::objects& client) {
  constexpr std::string_view known[] = {"v1beta2", "v1beta1"};
  auto is_known = [&](std::string_view v) { return std::ranges::find(known, v) != std::end(known); };
  auto answer = co_await client.ask({.path = "/apis/custom.metrics.k8s.io"});
  if (!answer) co_return std::unexpected(answer.error().message);
  auto group = json::parse(answer->body);
  if (answer->code != 200 || !group)
    co_return std::unexpected("no custom metrics API (custom.metrics.k8s.io) registered");
  if (auto v = (*group)["preferredVersion"]["version"].as_string(); is_known(v)) co_return std::string(v);
  auto& versions = (*group)["versions"];
  for (std::size_t i = 0; i < versions.size(); ++i)
    if (auto v = versions[i]["version"].as_string(); is_known(v)) co_return std::string(v);
  co_return std::unexpected("no known available metric versions found");
}

// "ingresses.networking.k8s.io", as the adapters name what a metric is of.
std::expected<std::string, std::string> resource_of(const api::registry& served, const json::value& described) {
  auto version = described["apiVersion"].as_string(), kind = described["kind"].as_string();
  auto group = version.find('/') == version.npos ? std::string_view() : version.substr(0, version.find('/'));
  auto found = served.find_kind(version, kind);
  if (!found)
    return std::unexpected(fmt::format("unable to map kind {0}{1}{2} to resource: no matches for kind {3} in group {4}",
                                       kind, group.empty() ? "" : ".", group, quote(kind), quote(group)));
  return group.empty() ? std::string(found->resource) : fmt::format("{}.{}", found->resource, group);
}

std::string selector_text(const json::value& selector) {
  return selector.is_object() ? api::label_selector::from_object(selector).text() : std::string();
}

// "?a=b&c=d" of those that say something.
std::string query(std::initializer_list<std::pair<std::string_view, std::string_view>> all) {
  std::string out;
  for (auto& [name, value] : all)
    if (!value.empty()) out += fmt::format("{}{}={}", out.empty() ? '?' : '&', name, percent_encode(value));
  return out;
}

task<metric_values> ask_custom(api::objects& client, const json::value& source, const std::string& ns,
                               std::string pod_selector, bool of_pods) {
  auto version = co_await custom_version(client);
  if (!version) co_return unable(custom_api, version.error());
  std::string metric(source["metric"]["name"].as_string()), of_metric = selector_text(source["metric"]["selector"]);
  auto& about = source["describedObject"];
  std::string path = fmt::format("/apis/custom.metrics.k8s.io/{}/namespaces/{}/", *version, ns), what;
  if (!of_pods && about["kind"].as_string() == "Namespace" &&
      about["apiVersion"].as_string().find('/') == std::string_view::npos) {
    path += fmt::format("metrics/{}", percent_encode(metric));
    what = fmt::format("metrics.custom.metrics.k8s.io {}", metric);
  } else {
    std::string resource = "pods", name = "*";
    if (!of_pods) {
      auto found = resource_of(*client.resources(), about);
      if (!found) co_return unable(custom_api, found.error());
      resource = *std::move(found);
      name = about["name"].as_string();
    }
    path += fmt::format("{}/{}/{}", resource, percent_encode(name), percent_encode(metric));
    what = fmt::format("{}.custom.metrics.k8s.io {}", resource, name);
  }
  path += query({{"labelSelector", of_pods ? pod_selector : std::string()}, {"metricLabelSelector", of_metric}});
  auto list = co_await ask_list(client, custom_api, std::move(path), std::move(what));
  if (of_pods) co_return list;
  const auto n = list ? (*list)["items"].size() : 0;
  const bool none = !list && list.error() == fmt::format("no metrics returned from {}", custom_api);
  if (none || (list && n != 1))
    co_return unable(custom_api,
                     fmt::format("the custom metrics API server returned {} results when we asked for exactly one", n));
  co_return list;
}

std::optional<std::int64_t> milli_of(const json::value& usage, std::string_view resource) {
  auto q = schema::quantity::parse(usage[resource].as_string());
  return q ? std::optional(q->milli_value()) : std::nullopt;
}

std::optional<std::int64_t> use_of(const json::value& containers, std::string_view resource,
                                   std::string_view container) {
  std::int64_t sum = 0;
  for (std::size_t i = 0; i < containers.size(); ++i) {
    if (!container.empty() && containers[i]["name"].as_string() != container) continue;
    auto one = milli_of(containers[i]["usage"], resource);
    if (!one || !container.empty()) return one;
    if (__builtin_add_overflow(sum, *one, &sum)) sum = std::numeric_limits<std::int64_t>::max();
  }
  return container.empty() && !containers.empty() ? std::optional(sum) : std::nullopt;
}

}  // namespace

task<pod_metrics> ask_pod_metrics(api::objects& client, std::string ns, std::string selector) {
  return ask_list(
      client, usage_api,
      fmt::format("/apis/metrics.k8s.io/v1beta1/namespaces/{}/pods?labelSelector={}", ns, percent_encode(selector)),
      "pods.metrics.k8s.io");
}

const pod_metrics& not_measured() {
  static const pod_metrics none = unable(usage_api, refusal_text({404, {}}, "pods.metrics.k8s.io"));
  return none;
}

task<metric_values> ask_metric(api::objects& client, json::value metric, std::string ns, std::string pod_selector) {
  auto type = metric["type"].as_string();
  if (type == "Pods") co_return co_await ask_custom(client, metric["pods"], ns, std::move(pod_selector), true);
  if (type == "Object") co_return co_await ask_custom(client, metric["object"], ns, {}, false);
  auto& source = metric["external"]["metric"];
  std::string name(source["name"].as_string());
  co_return co_await ask_list(
      client, external_api,
      fmt::format("/apis/external.metrics.k8s.io/v1beta1/namespaces/{}/{}{}", ns, percent_encode(name),
                  query({{"labelSelector", selector_text(source["selector"])}})),
      fmt::format("{}.external.metrics.k8s.io", name));
}

usages usages_of(const json::value& list) {
  usages out;
  auto& items = list["items"];
  for (std::size_t i = 0; i < items.size(); ++i) {
    auto& m = items[i];
    pod_usage u{.milli = milli_of(m, "value").value_or(0)};
    if (auto t = parse_rfc3339(m["timestamp"].as_string())) u.at = *t;
    if (m["windowSeconds"].is_integer())
      u.window =
          std::chrono::seconds(std::clamp<std::int64_t>(m["windowSeconds"].as_integer(), 0, longest_window.count()));
    out.insert_or_assign(std::string(m["describedObject"]["name"].as_string()), u);
  }
  return out;
}

std::int64_t sum_of(const json::value& list) {
  std::int64_t sum = 0;
  auto& items = list["items"];
  for (std::size_t i = 0; i < items.size(); ++i)
    if (__builtin_add_overflow(sum, milli_of(items[i], "value").value_or(0), &sum))
      return std::numeric_limits<std::int64_t>::max();
  return sum;
}

usages usages_in(const json::value& list, std::string_view resource, std::string_view container) {
  usages out;
  auto& items = list["items"];
  for (std::size_t i = 0; i < items.size(); ++i) {
    auto& m = items[i];
    auto used = use_of(m["containers"], resource, container);
    if (!used) continue;
    pod_usage u{.milli = *used};
    if (auto t = parse_rfc3339(m["timestamp"].as_string())) u.at = *t;
    if (auto w = parse_duration(m["window"].as_string())) u.window = *w;
    out.insert_or_assign(std::string(m["metadata"]["name"].as_string()), u);
  }
  return out;
}

}  // namespace kedge::control
