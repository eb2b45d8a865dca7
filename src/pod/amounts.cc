#include "pod/amounts.h"

#include <algorithm>
#include <unordered_map>

namespace kedge::pod {
namespace {

void raise(amounts& to, const amounts& least) {
  for (auto& [name, amount] : least) {
    auto [at, fresh] = to.try_emplace(name, amount);
    if (!fresh && at->second < amount) at->second = amount;
  }
}

bool is_pod_level(std::string_view resource) {
  return resource == "cpu" || resource == "memory" || resource.starts_with("hugepages-");
}

// Which of a container's amounts counts, by its entry in the pod's status (null when there is none).
using choice = amounts (*)(const json::value& container, const json::value& status, std::string_view which,
                           bool infeasible);

amounts asked(const json::value& container, const json::value&, std::string_view which, bool) {
  return amounts_of(container["resources"][which]);
}

// Only of requests is told what was allocated.
amounts allocated(const json::value& container, const json::value& status, std::string_view which, bool infeasible) {
  if (which == "requests" && status["allocatedResources"].is_object()) return amounts_of(status["allocatedResources"]);
  return infeasible ? amounts() : amounts_of(container["resources"][which]);
}

amounts in_use(const json::value& container, const json::value& status, std::string_view which, bool infeasible) {
  if (status["resources"][which].is_object()) return amounts_of(status["resources"][which]);
  return allocated(container, status, which, infeasible);
}

using statuses = std::unordered_map<std::string_view, const json::value*>;

statuses statuses_of(const json::value& pod) {
  statuses out;
  for (auto list : {"containerStatuses", "initContainerStatuses"})
    if (auto all = pod["status"][list].array())
      for (auto& s : *all) out.try_emplace(s["name"].as_string(), &s);
  return out;
}

amounts sum(const json::value& pod, std::string_view which, const amounts_options& o, choice of, const statuses& known,
            bool infeasible) {
  static const json::value none;
  auto own = [&](const json::value& container) {
    auto it = known.find(container["name"].as_string());
    auto out = of(container, it == known.end() ? none : *it->second, which, infeasible);
    if (o.missing)
      for (auto& [name, amount] : *o.missing) out.try_emplace(name, amount);
    return out;
  };
  auto& spec = pod["spec"];
  amounts running, sidecars, starting;
  if (auto containers = spec["containers"].array())
    for (auto& c : *containers) add(running, own(c));
  if (auto containers = spec["initContainers"].array())
    for (auto& c : *containers) {
      auto needs = own(c);
      if (c["restartPolicy"].as_string() == "Always") {
        add(running, needs);
        add(sidecars, needs);
        raise(starting, sidecars);
      } else {
        add(needs, sidecars);
        raise(starting, needs);
      }
    }
  raise(running, starting);
  return running;
}

bool is_infeasible(const json::value& pod) {
  if (auto list = pod["status"]["conditions"].array())
    for (auto& c : *list)
      if (c["type"].as_string() == "PodResizePending") return c["reason"].as_string() == "Infeasible";
  return false;
}

// What the pod asks for as a whole. Its status has the overhead in it, which is added to all of it later.
amounts of_whole(const json::value& pod, std::string_view which, const amounts_options& o, bool infeasible) {
  auto &spec = pod["spec"], &status = pod["status"];
  auto out = amounts_of(spec["resources"][which]);
  if (!o.use_status_of_whole || !status["resources"].is_object()) return out;
  if (infeasible) out.clear();
  auto overhead = amounts_of(spec["overhead"]);
  auto more = [&](amounts all) {
    for (auto& [name, amount] : all)
      if (auto at = overhead.find(name); at != overhead.end() && at->second < amount) amount -= at->second;
    raise(out, all);
  };
  more(amounts_of(status["resources"][which]));
  if (which == "requests") more(amounts_of(status["allocatedResources"]));
  return out;
}

}  // namespace

schema::quantity amount_of(const json::value& field) {
  if (field.is_integer()) return schema::quantity::of(field.as_integer());
  auto parsed = schema::quantity::parse(field.as_string());
  return parsed ? *parsed : schema::quantity{};
}

amounts amounts_of(const json::value& list) {
  amounts out;
  if (auto members = list.object())
    for (auto& [name, value] : *members) out.emplace(name, amount_of(value));
  return out;
}

void add(amounts& to, const amounts& more) {
  for (auto& [name, amount] : more) {
    auto [at, fresh] = to.try_emplace(name, amount);
    if (!fresh) at->second += amount;
  }
}

amounts amounts_of_pod(const json::value& pod, std::string_view which, const amounts_options& o) {
  auto& spec = pod["spec"];
  amounts out;
  const bool infeasible = (o.use_status || o.use_status_of_whole) && is_infeasible(pod);
  if (!o.use_status) {
    out = sum(pod, which, o, asked, {}, false);
  } else {
    auto known = statuses_of(pod);
    out = sum(pod, which, o, in_use, known, infeasible);
    if (which == "requests") raise(out, sum(pod, which, o, allocated, known, infeasible));
    if (!infeasible) raise(out, sum(pod, which, o, asked, known, infeasible));
  }
  // Resources of the pod as a whole, where given, replace the sum.
  if (!o.of_containers_alone && !spec["resources"][which].empty())
    for (auto& [name, amount] : of_whole(pod, which, o, infeasible))
      if (is_pod_level(name)) out.insert_or_assign(name, amount);
  auto overhead = amounts_of(spec["overhead"]);
  if (which == "requests") {
    add(out, overhead);
  } else {
    for (auto& [name, amount] : overhead)  // what has no limit stays without one
      if (auto at = out.find(name); at != out.end()) at->second += amount;
  }
  return out;
}

std::string text_of(const amounts& list) {
  std::string out;
  for (auto& [name, amount] : list) {
    if (!out.empty()) out += ',';
    out += name + '=' + amount.text();
  }
  return out;
}

}  // namespace kedge::pod
