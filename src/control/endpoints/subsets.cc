#include "control/endpoints/subsets.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "json/write.h"

namespace kedge::control {
namespace {

struct offer {
  json::value address;
  bool ready;
};
using offers = std::map<std::string, offer>;  // by address and uid

std::size_t count(const json::array& subsets, const char* list) {
  std::size_t n = 0;
  for (auto& s : subsets) n += s[list].size();
  return n;
}

}  // namespace

json::array repacked(const json::value& subsets) {
  std::map<std::string, std::pair<json::value, offers>> by_port;
  auto add = [&](const json::value& port, const json::value& list, bool ready) {
    auto& [p, all] = by_port[json::write(port)];
    p = port;
    for (std::size_t i = 0; i < list.size(); ++i) {
      auto key = std::string(list[i]["ip"].as_string()) + "/" + std::string(list[i]["targetRef"]["uid"].as_string());
      auto [at, fresh] = all.try_emplace(std::move(key), offer{list[i], ready});
      if (!fresh) at->second.ready = at->second.ready && ready;
    }
  };
  for (std::size_t i = 0; i < subsets.size(); ++i) {
    auto& s = subsets[i];
    for (std::size_t p = 0; p < std::max<std::size_t>(1, s["ports"].size()); ++p)
      for (bool ready : {true, false}) add(s["ports"][p], s[ready ? "addresses" : "notReadyAddresses"], ready);
  }
  // Ports with the same addresses, equally ready, are one subset.
  std::map<std::string, json::value> out;
  for (auto& [_, entry] : by_port) {
    auto& [port, all] = entry;
    if (all.empty()) continue;
    std::string key;
    json::array ready, unready;
    for (auto& [name, o] : all) {
      key += name + (o.ready ? "+\n" : "-\n");
      (o.ready ? ready : unready).push_back(o.address);
    }
    auto& subset = out[key];
    if (!ready.empty()) subset.set("addresses", std::move(ready));
    if (!unready.empty()) subset.set("notReadyAddresses", std::move(unready));
    if (!port.is_null()) subset.member("ports").push_back(port);
  }
  json::array list;
  for (auto& [_, s] : out) list.push_back(std::move(s));
  return list;
}

bool shorten(json::array& subsets, std::size_t most) {
  const auto ready = count(subsets, "addresses"), unready = count(subsets, "notReadyAddresses");
  if (ready + unready <= most) return false;
  const bool of_ready = ready > most;
  const auto room = of_ready ? most : most - ready, all = of_ready ? ready : unready;
  auto left = room;
  for (auto& s : subsets) {
    auto& list = s.member(of_ready ? "addresses" : "notReadyAddresses").make_array();
    auto share = static_cast<std::size_t>(
        std::ceil(static_cast<double>(list.size()) / static_cast<double>(all) * static_cast<double>(room)));
    list.resize(std::min({share, left, list.size()}));
    left -= list.size();
    if (list.empty()) s.erase(of_ready ? "addresses" : "notReadyAddresses");
    if (of_ready) s.erase("notReadyAddresses");
  }
  return true;
}

}  // namespace kedge::control
