#include "node/pods/resize.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "json/write.h"
#include "pod/amounts.h"

namespace kedge::node {

namespace {

using json::object;
using json::value;

constexpr const char* lists[] = {"initContainers", "containers"};
constexpr const char* resizable[] = {"cpu", "memory"};
constexpr const char* parts[] = {"limits", "requests"};

const value& resources_of(const value& container) {
  static const value none(object{});
  auto& r = container["resources"];
  return r.is_object() ? r : none;
}

// Calls `f` with each container that may be given other resources.
template <typename F>
void each_container(const value& pod, F f) {
  for (auto* list : lists)
    if (auto* all = pod["spec"][list].array())
      for (auto& c : *all) f(c);
}
// With those alone that get them while they run: what begins and ends before the others has what it began with.
template <typename F>
void each_resizable(const value& pod, F f) {
  for (auto* list : lists) {
    auto* all = pod["spec"][list].array();
    if (!all) continue;
    const bool is_init = std::string_view(list) == "initContainers";
    for (auto& c : *all)
      if (!is_init || is_sidecar(c)) f(c);
  }
}

// With each of a copy, which `f` changes.
template <typename F>
void change_each(value& pod, F f) {
  for (auto* list : lists) {
    if (!pod["spec"][list].array()) continue;
    for (auto& c : *pod.member("spec").member(list).array()) f(c);
  }
}

bool same_amount(const value& a, const value& b, const char* name) {
  return std::ranges::all_of(
      parts, [&](auto* part) { return pod::amount_of(a[part][name]) == pod::amount_of(b[part][name]); });
}
bool same_resources(const value& a, const value& b) {
  return std::ranges::all_of(resizable, [&](auto* name) { return same_amount(a, b, name); });
}

const value& whole_of(const value& pod) { return pod["spec"]["resources"]; }

bool restarts_for(const value& container, const char* name) {
  if (auto* all = container["resizePolicy"].array())
    for (auto& p : *all)
      if (p["resourceName"].as_string() == name) return p["restartPolicy"].as_string() == "RestartContainer";
  return false;
}

// Whether less is given than before: by the limit where that differs, else by the request.
bool is_less(const value& next, const value& now, const char* name) {
  for (auto* part : parts) {
    auto to = pod::amount_of(next[part][name]), from = pod::amount_of(now[part][name]);
    if (!(to == from)) return to < from;
  }
  return false;
}

// As Go writes them: members in their order, names sorted.
value in_order(const value& resources) {
  object out;
  for (auto* part : parts) {
    auto* all = resources[part].object();
    if (!all || all->empty()) continue;
    auto amounts = pod::amounts_of(resources[part]);
    object sorted;
    for (auto& [name, amount] : amounts) sorted.set(name, resources[part][name]);
    out.set(part, std::move(sorted));
  }
  if (!resources["claims"].empty()) out.set("claims", resources["claims"]);
  return out;
}

}  // namespace

value resources_in_pod(const value& pod, const value& container) {
  auto out = resources_of(container);
  auto& limits = whole_of(pod)["limits"];
  for (auto* name : resizable)
    if (!pod::amount_of(limits[name]).is_zero() && pod::amount_of(out["limits"][name]).is_zero())
      out.member("limits").set(name, limits[name]);
  return out;
}

std::string resources_note(const value& pod, const value& container) {
  return json::write(resources_in_pod(pod, container));
}

value resources_of_pod(const value& pod) {
  object containers;
  each_container(pod, [&](const value& c) { containers.set(c["name"].as_string(), resources_of(c)); });
  return object{{"ContainerResources", std::move(containers)}, {"PodLevelResources", whole_of(pod)}};
}

std::shared_ptr<const value> as_allocated(std::shared_ptr<const value> pod, const value* allocated) {
  if (!allocated) return pod;
  auto& has = *allocated;
  auto differs = [&](const value& c) {
    auto* given = has["ContainerResources"].find(c["name"].as_string());
    return given && !same_resources(resources_of(c), *given);
  };
  bool any = !same_resources(whole_of(*pod), has["PodLevelResources"]);
  each_container(*pod, [&](const value& c) { any |= differs(c); });
  if (!any) return pod;
  auto out = *pod;
  change_each(out, [&](value& c) {
    if (differs(c)) c.set("resources", *has["ContainerResources"].find(c["name"].as_string()));
  });
  if (has["PodLevelResources"].is_object())
    out.member("spec").set("resources", has["PodLevelResources"]);
  else
    out.member("spec").erase("resources");
  return std::make_shared<const value>(std::move(out));
}

value with_amount_of(value resources, const value& others, const char* name) {
  for (auto* part : parts) {
    if (auto* amount = others[part].find(name)) {
      resources.member(part).set(name, *amount);
    } else if (resources[part].find(name)) {
      resources.member(part).erase(name);
      if (resources[part].empty()) resources.erase(part);
    }
  }
  return resources;
}

value as_given(const value& pod, const pod_seen& seen) {
  auto out = pod;
  change_each(out, [&](value& c) {
    auto* found = seen.newest(c["name"].as_string());
    if (!found || found->state != container_state::running || !found->given) return;
    auto wanted = resources_in_pod(pod, c);
    if (same_resources(wanted, *found->given)) return;
    auto resources = resources_of(c);
    for (auto* name : resizable)
      if (!same_amount(wanted, *found->given, name))
        resources = with_amount_of(std::move(resources), *found->given, name);
    c.set("resources", std::move(resources));
  });
  if (seen.given && whole_of(pod).is_object()) {
    auto whole = whole_of(pod);
    for (auto* name : resizable) whole = with_amount_of(std::move(whole), *seen.given, name);
    out.member("spec").set("resources", std::move(whole));
  }
  return out;
}

container_resources without_overhead(container_resources r, const value& pod) {
  constexpr std::int64_t shares_least = 2, shares_most = 262'144, shares_of_cpu = 1024;
  auto& overhead = pod["spec"]["overhead"];
  if (auto* cpu = overhead.find("cpu")) {
    auto milli = pod::amount_of(*cpu).milli_value();
    if (r.cpu_quota > 0) r.cpu_quota -= milli * r.cpu_period / 1000;
    auto left = (r.cpu_shares * 1000 + shares_of_cpu - 1) / shares_of_cpu - milli;
    r.cpu_shares = std::clamp(left * shares_of_cpu / 1000, shares_least, shares_most);
  }
  if (auto* memory = overhead.find("memory"); memory && r.memory_limit > 0)
    r.memory_limit -= pod::amount_of(*memory).value();
  return r;
}

bool resize_restarts(const value& pod, const value& container, const container_seen& c) {
  if (c.state != container_state::running || !c.given) return false;
  auto wanted = resources_in_pod(pod, container);
  return std::ranges::any_of(
      resizable, [&](auto* name) { return restarts_for(container, name) && !same_amount(wanted, *c.given, name); });
}

bool resize_in_progress(const value& pod, const pod_seen& seen) {
  bool out = whole_of(pod).is_object() && seen.given && !same_resources(whole_of(pod), *seen.given);
  each_resizable(pod, [&](const value& container) {
    auto* c = seen.newest(container["name"].as_string());
    if (c && c->state == container_state::running && c->given)
      out |= !same_resources(resources_in_pod(pod, container), *c->given);
  });
  return out;
}

resize_plan plan_resize(const value& pod, const pod_seen& seen, const std::vector<std::string>& starting) {
  resize_plan out;
  auto add = [](std::vector<container_update>& to, container_update u, bool less) {
    to.insert(less ? to.begin() : to.end(), std::move(u));
  };
  if (auto& whole = whole_of(pod); whole.is_object()) {
    // Where nobody says what it has, it is given all of it: that may be done twice.
    out.of_memory = !seen.given || !same_amount(whole, *seen.given, "memory");
    out.of_cpu = !seen.given || !same_amount(whole, *seen.given, "cpu");
    out.of_whole = out.of_memory || out.of_cpu;
  }
  each_resizable(pod, [&](const value& container) {
    auto* c = seen.newest(container["name"].as_string());
    if (!c || !c->given) return;
    auto wanted = resources_in_pod(pod, container);
    auto now = *c->given;
    const bool starts = std::ranges::find(starting, c->name) != starting.end();
    if (!starts && c->state != container_state::running) return;
    for (auto* name : {"memory", "cpu"}) {
      if (same_amount(wanted, now, name)) continue;
      const bool is_memory = std::string_view(name) == "memory";
      (is_memory ? out.of_memory : out.of_cpu) = true;
      if (starts) continue;  // it is made with them
      const bool less = is_less(wanted, now, name);
      now = with_amount_of(std::move(now), wanted, name);
      add(is_memory ? out.memory : out.cpu, {c->id, c->name, now}, less);
    }
  });
  return out;
}

std::string why_not_less_memory(const memory_limits& all) {
  std::vector<std::string> errors;
  if (all.pod_limit > 0 && all.pod_uses >= all.pod_limit)
    errors.push_back(
        fmt::format("attempting to set pod memory limit ({}) below current usage ({})", all.pod_limit, all.pod_uses));
  for (auto& c : all.containers)
    if (c.uses >= c.limit)
      errors.push_back(fmt::format("attempting to set container \"{}\" memory limit ({}) below current usage ({})",
                                   c.container, c.limit, c.uses));
  if (errors.empty()) return {};
  return errors.size() == 1 ? "cannot decrease memory limits: " + errors.front()
                            : fmt::format("cannot decrease memory limits: [{}]", fmt::join(errors, ", "));
}

std::string resize_message(std::string_view what, const value& pod, std::int64_t generation, std::string_view error) {
  object out;
  for (auto* list : lists) {
    auto* all = pod["spec"][list].array();
    if (!all || all->empty()) continue;
    json::array containers;
    for (auto& c : *all) containers.push_back(object{{"name", c["name"]}, {"resources", in_order(resources_of(c))}});
    out.set(list, std::move(containers));
  }
  out.set("generation", generation);
  if (!error.empty()) out.set("error", error);
  return fmt::format("{}: {}", what, json::write(out));
}

}  // namespace kedge::node
