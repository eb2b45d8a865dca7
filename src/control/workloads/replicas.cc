#include "control/workloads/replicas.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "base/strings.h"
#include "control/conditions.h"
#include "control/owners.h"
#include "control/pods.h"
#include "json/write.h"

namespace kedge::control {
namespace {

int phase_rank(std::string_view phase) { return phase == "Pending" ? 0 : phase == "Unknown" ? 1 : 2; }

std::int64_t deletion_cost(const json::value& pod) {
  auto text = pod["metadata"]["annotations"]["controller.kubernetes.io/pod-deletion-cost"].as_string();
  return parse_int(text).value_or(0);
}

std::optional<wall_time> time_at(const json::value& field) {
  auto t = parse_rfc3339(field.as_string());
  return t ? std::optional(*t) : std::nullopt;
}

// The order of magnitude of an age: pods of the same are alike, so that not always the youngest go (KEP-2185).
int age_rank(wall_time since, wall_time now) {
  auto seconds = std::chrono::duration<double>(now - since).count();
  return seconds <= 0 ? -1 : static_cast<int>(std::floor(std::log2(seconds)));
}

struct ranked {
  const json::value* pod;
  bool placed, ready;
  int phase;
  std::int64_t cost, rank, restarts;
  std::optional<wall_time> ready_since, created;
};

std::int64_t most_restarts(const json::value& pod) {
  std::int64_t out = 0;
  auto& list = pod["status"]["containerStatuses"];
  for (std::size_t i = 0; i < list.size(); ++i) out = std::max(out, list[i]["restartCount"].as_integer());
  return out;
}

ranked rank_of(const json::value& pod, const std::map<std::string, std::int64_t, std::less<>>& on_node) {
  auto node = node_of(pod);
  auto there = on_node.find(node);
  return {.pod = &pod,
          .placed = !node.empty(),
          .ready = is_ready(pod),
          .phase = phase_rank(phase_of(pod)),
          .cost = deletion_cost(pod),
          .rank = there == on_node.end() ? 0 : there->second,
          .restarts = most_restarts(pod),
          .ready_since = is_ready(pod) ? time_at(condition_of(pod, "Ready")["lastTransitionTime"]) : std::nullopt,
          .created = time_at(pod["metadata"]["creationTimestamp"])};
}

// True when `a` goes before `b`.
bool goes_first(const ranked& a, const ranked& b, wall_time now) {
  if (a.placed != b.placed) return !a.placed;
  if (a.phase != b.phase) return a.phase < b.phase;
  if (a.ready != b.ready) return !a.ready;
  if (a.cost != b.cost) return a.cost < b.cost;
  if (a.rank != b.rank) return a.rank > b.rank;
  auto by_age = [&](const std::optional<wall_time>& x, const std::optional<wall_time>& y) -> std::optional<bool> {
    if (x == y) return std::nullopt;
    if (!x || !y) return !x;
    auto rx = age_rank(*x, now), ry = age_rank(*y, now);
    if (rx != ry) return rx < ry;
    return uid_of(*a.pod) < uid_of(*b.pod);
  };
  if (a.ready && b.ready)
    if (auto first = by_age(a.ready_since, b.ready_since)) return *first;
  if (a.restarts != b.restarts) return a.restarts > b.restarts;
  if (auto first = by_age(a.created, b.created)) return *first;
  return false;
}

}  // namespace

bool is_active(const json::value& pod) noexcept { return !is_finished(pod) && !is_deleting(pod); }

bool is_ready(const json::value& pod) noexcept { return condition_status(pod, "Ready") == "True"; }

bool is_available(const json::value& pod, std::int64_t min_ready_seconds, wall_time now,
                  std::optional<duration>* next) {
  if (!is_ready(pod)) return false;
  if (min_ready_seconds <= 0) return true;
  auto since = time_at(condition_of(pod, "Ready")["lastTransitionTime"]);
  if (!since) return false;
  auto left = *since + std::chrono::seconds(min_ready_seconds) - now;
  if (left <= wall_time::duration::zero()) return true;
  if (next) *next = *next ? std::min(**next, duration(left)) : duration(left);
  return false;
}

std::int64_t int_or_percent(const json::value& amount, std::int64_t whole, bool round_up, std::int64_t otherwise) {
  if (amount.is_integer()) return amount.as_integer();
  auto text = amount.as_string();
  auto percent = text.ends_with('%') ? parse_int(text.substr(0, text.size() - 1)) : std::nullopt;
  if (!percent) return otherwise;
  return (whole * *percent + (round_up ? 99 : 0)) / 100;
}

json::value pod_of_template(const json::value& t, const owner_kind& k, const json::value& owner) {
  json::object meta{{"generateName", std::string(owner["metadata"]["name"].as_string()) + "-"}};
  for (auto name : {"labels", "annotations", "finalizers"})
    if (auto v = t["metadata"].find(name)) meta.set(name, *v);
  meta.set("ownerReferences", json::array{controller_reference(k, owner)});
  return json::object{{"kind", "Pod"}, {"apiVersion", "v1"}, {"metadata", std::move(meta)}, {"spec", t["spec"]}};
}

std::vector<const json::value*> to_delete(std::vector<const json::value*> pods,
                                          const std::vector<const json::value*>& related, std::size_t too_many,
                                          wall_time now) {
  if (too_many >= pods.size()) return pods;
  std::map<std::string, std::int64_t, std::less<>> on_node;
  for (auto p : related)
    if (is_active(*p)) ++on_node[std::string(node_of(*p))];
  std::vector<ranked> all;
  for (auto p : pods) all.push_back(rank_of(*p, on_node));
  std::sort(all.begin(), all.end(), [&](auto& a, auto& b) { return goes_first(a, b, now); });
  pods.clear();
  for (std::size_t i = 0; i < too_many; ++i) pods.push_back(all[i].pod);
  return pods;
}

std::string hash_of(const json::value& object, std::optional<std::int64_t> collisions) {
  constexpr std::string_view alphabet = "bcdfghjklmnpqrstvwxz2456789";
  std::uint32_t h = 2166136261u;
  auto eat = [&h](std::string_view text) {
    for (unsigned char c : text) h = (h ^ c) * 16777619u;
  };
  eat(json::write(object));
  if (collisions) eat("/" + std::to_string(*collisions));
  auto out = std::to_string(h);
  for (auto& c : out) c = alphabet[static_cast<unsigned char>(c) % alphabet.size()];
  return out;
}

std::int64_t counted(const json::value& field) { return field.as_integer(); }

}  // namespace kedge::control
