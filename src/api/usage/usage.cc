#include "api/usage/usage.h"

#include <fmt/format.h>

#include <algorithm>

#include "api/registry/field_text.h"
#include "api/registry/registry.h"
#include "api/usage/limits.h"
#include "json/parse.h"
#include "schema/quantity.h"

namespace kedge::api {

namespace {

constexpr std::int64_t interval_ms = std::chrono::milliseconds(usage_interval).count();
// A container that began so long ago, and no longer than the interval, has its rate since then.
constexpr std::int64_t fresh_least_ms = 10'000;

// What a rate is made from and to; nullopt: there is none yet.
std::optional<usage> between(const usage_point& before, const usage_point& now) {
  if (!before.complete() || !now.complete()) return std::nullopt;
  if (now.at_ms <= before.at_ms || now.cpu_nanoseconds < before.cpu_nanoseconds) return std::nullopt;
  auto window = now.at_ms - before.at_ms;
  auto rate = static_cast<double>(now.cpu_nanoseconds - before.cpu_nanoseconds) * 1e3 / static_cast<double>(window);
  if (rate > static_cast<double>(usage_cores_max) * 1e9) return std::nullopt;
  return usage{.nanocores = static_cast<std::uint64_t>(rate),
               .memory_bytes = now.memory_bytes,
               .at_ms = now.at_ms,
               .window_ms = window};
}

// The point that stands before `now` from here on: the last one, if that is older; else the one before it.
usage_point keep_before(const usage_point& now, const usage_point* last, const usage_point* before) {
  if (last && now.at_ms > last->at_ms) return *last;
  if (before && now.at_ms > before->at_ms) return *before;
  return {};
}

const usage_point* find(const node_sample& s, std::string_view pod, std::string_view container) {
  auto p = s.pods.find(pod);
  if (p == s.pods.end()) return nullptr;
  auto c = p->second.find(container);
  return c == p->second.end() ? nullptr : &c->second;
}

std::optional<usage_point> before_of_container(const usage_point& now, const usage_point* last,
                                               const usage_point* before) {
  const auto age = now.at_ms - now.started_ms;
  if (now.started_ms > 0 && age >= fresh_least_ms && age < interval_ms) {
    auto start = now;
    start.at_ms = now.started_ms;
    start.cpu_nanoseconds = 0;
    return start;
  }
  // It began after the last sample: another run of it counts from nothing.
  if (!last || now.started_ms >= last->at_ms) return std::nullopt;
  auto kept = keep_before(now, last, before);
  return kept.complete() ? std::optional(kept) : std::nullopt;
}

// All containers, or the pod isn't known: part of a sum misleads who scales by it.
container_usages usages_of(const container_points& now, const container_points& before) {
  container_usages out;
  for (auto& [name, point] : now) {
    auto known = before.find(name);
    auto used = known == before.end() ? std::nullopt : between(known->second, point);
    if (!used) return {};
    out.emplace_back(name, *used);
  }
  return out;
}

std::string time_text(std::int64_t ms) { return format_rfc3339(wall_time(std::chrono::milliseconds(ms))); }
std::string window_text(std::int64_t ms) { return format_duration(std::chrono::milliseconds(ms)); }

json::value amounts(const usage& u) {
  auto cpu = schema::quantity::parse(fmt::format("{}n", u.nanocores));
  auto memory = schema::quantity::of(static_cast<std::int64_t>(u.memory_bytes), schema::quantity::format::binary_si);
  return json::object{{"cpu", cpu ? cpu->text() : "0"}, {"memory", memory.text()}};
}

json::value metadata(std::string_view ns, std::string_view name, std::string_view labels, wall_time now) {
  json::object out{{"name", name}};
  if (!ns.empty()) out.set("namespace", ns);
  out.set("creationTimestamp", format_rfc3339(now));
  if (!labels.empty())
    if (auto parsed = json::parse(labels)) out.set("labels", *std::move(parsed));
  return out;
}

std::unique_ptr<served> make_served(std::string resource, std::string kind, bool namespaced) {
  auto s = std::make_unique<served>();
  s->group = usage_group;
  s->version = usage_version;
  s->api_version = fmt::format("{}/{}", usage_group, usage_version);
  s->resource = std::move(resource);
  s->kind = std::move(kind);
  s->rules = &rules_of(s->group, s->resource);
  s->key_prefix = fmt::format("/registry/{}/{}/", usage_group, s->resource);  // where nothing lies
  s->list_kind = s->kind + "List";
  s->verbs = {"get", "list"};
  s->columns = {{.name = "Name", .type = "string", .format = "name", .description = "Name of the resource"},
                {.name = "cpu", .type = "string", .format = "quantity", .description = ""},
                {.name = "memory", .type = "string", .format = "quantity", .description = ""},
                {.name = "Window", .type = "string", .format = "duration", .description = ""}};
  s->is_namespaced = namespaced;
  s->is_measured = true;
  s->stored = s.get();
  return s;
}

}  // namespace

void usage_record::take(node_sample now) {
  node_sample before;
  before.node = keep_before(now.node, last_.node.complete() ? &last_.node : nullptr,
                            before_.node.complete() ? &before_.node : nullptr);
  for (auto& [pod, containers] : now.pods)
    for (auto& [name, point] : containers)
      if (auto b = before_of_container(point, find(last_, pod, name), find(before_, pod, name)))
        before.pods[pod].emplace(name, *b);
  last_ = std::move(now);
  before_ = std::move(before);
}

told_usage usage_record::told() const {
  told_usage out;
  out.node = between(before_.node, last_.node);
  for (auto& [pod, containers] : last_.pods) {
    auto before = before_.pods.find(pod);
    if (before == before_.pods.end()) continue;
    if (auto all = usages_of(containers, before->second); !all.empty()) out.pods.emplace(pod, std::move(all));
  }
  return out;
}

const container_usages* usage_of_pod(const usage_by_node& all, const store::object& pod, std::string_view ns,
                                     std::string_view name) {
  std::string buffer;
  auto node = all.find(field_text(pod.bytes(), "spec.nodeName", buffer));
  if (node == all.end()) return nullptr;
  auto& pods = node->second->pods;
  auto found = pods.find(fmt::format("{}/{}", ns, name));
  return found == pods.end() ? nullptr : &found->second;
}

json::value node_metrics(std::string_view name, std::string_view labels, const usage& u, wall_time now) {
  return json::object{{"kind", "NodeMetrics"},
                      {"apiVersion", "metrics.k8s.io/v1beta1"},
                      {"metadata", metadata({}, name, labels, now)},
                      {"timestamp", time_text(u.at_ms)},
                      {"window", window_text(u.window_ms)},
                      {"usage", amounts(u)}};
}

json::value pod_metrics(std::string_view ns, std::string_view name, std::string_view labels,
                        const container_usages& containers, wall_time now) {
  json::array all;
  for (auto& [container, u] : containers) all.emplace_back(json::object{{"name", container}, {"usage", amounts(u)}});
  // The time and window are those of the oldest figure.
  auto& oldest = std::ranges::min_element(containers, {}, [](auto& c) { return c.second.at_ms; })->second;
  return json::object{{"kind", "PodMetrics"},
                      {"apiVersion", "metrics.k8s.io/v1beta1"},
                      {"metadata", metadata(ns, name, labels, now)},
                      {"timestamp", time_text(oldest.at_ms)},
                      {"window", window_text(oldest.window_ms)},
                      {"containers", std::move(all)}};
}

const std::vector<const served*>& usage_resources() {
  static const auto nodes = make_served("nodes", "NodeMetrics", false), pods = make_served("pods", "PodMetrics", true);
  static const std::vector<const served*> all = {nodes.get(), pods.get()};
  return all;
}

}  // namespace kedge::api
