#include "api/access/admission/pod_amounts.h"

namespace kedge::api {

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

namespace {

void raise(amounts& to, const amounts& least) {
  for (auto& [name, amount] : least) {
    auto [at, fresh] = to.try_emplace(name, amount);
    if (!fresh && at->second < amount) at->second = amount;
  }
}

}  // namespace

amounts pod_amounts(const json::value& pod, std::string_view which) {
  auto& spec = pod["spec"];
  amounts running, sidecars, starting;
  if (auto containers = spec["containers"].array())
    for (auto& c : *containers) add(running, amounts_of(c["resources"][which]));
  if (auto containers = spec["initContainers"].array())
    for (auto& c : *containers) {
      auto own = amounts_of(c["resources"][which]);
      if (c["restartPolicy"].as_string() == "Always") {
        add(running, own);
        add(sidecars, own);
        raise(starting, sidecars);
      } else {
        add(own, sidecars);
        raise(starting, own);
      }
    }
  raise(running, starting);
  // Resources of the pod as a whole, where given, replace the sum.
  for (auto& [name, amount] : amounts_of(spec["resources"][which])) running.insert_or_assign(name, amount);
  auto overhead = amounts_of(spec["overhead"]);
  if (which == "requests") {
    add(running, overhead);
  } else {
    for (auto& [name, amount] : overhead)  // what has no limit stays without one
      if (auto at = running.find(name); at != running.end()) at->second += amount;
  }
  return running;
}

std::string text_of(const amounts& list) {
  std::string out;
  for (auto& [name, amount] : list) {
    if (!out.empty()) out += ',';
    out += name + '=' + amount.text();
  }
  return out;
}

}  // namespace kedge::api
