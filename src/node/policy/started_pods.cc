#include "node/policy/started_pods.h"

#include <algorithm>

#include "node/policy/limits.h"

namespace kedge::node {

std::vector<std::string> started_pods::start(const std::string& key, pod_record is, time_point now) {
  auto [mine, fresh] = all_.try_emplace(key);
  if (!fresh && mine->second.is == is) return {};
  std::vector<std::string> changed{key};
  // An address has one pod: who had it before is gone, whatever the API says yet.
  for (auto& [other, p] : all_)
    if (other != key && std::erase_if(p.is.addresses, [&](auto& a) {
          return std::ranges::find(is.addresses, a) != is.addresses.end();
        }))
      changed.push_back(other);
  mine->second = {.is = std::move(is), .since = now, .seen = false};
  return changed;
}

bool started_pods::is_forgotten(const pod& p, time_point now) { return !p.seen && p.since + unseen_pod_kept <= now; }

const pod_record* started_pods::find(const std::string& key, const pod_record* known, time_point now) {
  auto here = all_.find(key);
  if (here == all_.end()) return known;
  auto& p = here->second;
  if (known && known->uid == p.is.uid) {
    p.seen = true;
    p.is.labels = known->labels;
    p.is.ports = known->ports;
    return &p.is;
  }
  if (!p.seen && !is_forgotten(p, now)) return &p.is;
  all_.erase(here);
  return known;
}

std::vector<std::string> started_pods::forgotten(time_point now) const {
  std::vector<std::string> out;
  for (auto& [key, p] : all_)
    if (is_forgotten(p, now)) out.push_back(key);
  return out;
}

}  // namespace kedge::node
