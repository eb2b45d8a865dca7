#include "control/event_correlator.h"

#include <algorithm>

#include "control/limits.h"
#include "crypto/short_digest.h"

namespace kedge::control {

namespace {

// client-go's defaults.
constexpr std::size_t combined_from = 10;
constexpr auto combined_within = std::chrono::minutes(10);
constexpr double burst = 25;
constexpr double refill_per_second = 1.0 / 300;

// Of thousands of objects that nothing more may be told of: digests instead of names and messages.
std::string object_of(const notice& n) {
  auto& a = n.about;
  return crypto::short_sha256(a.kind + "\n" + a.ns + "\n" + a.name + "\n" + a.uid + "\n" + a.api_version + "\n" +
                              (n.warning ? "W" : "N"));
}

template <typename Map>
auto& bounded(Map& m, const std::string& key) {
  if (m.size() >= told_max && !m.contains(key)) m.clear();
  return m[key];
}

}  // namespace

bool event_correlator::combined(const notice& n, const std::string& object, time_point now) {
  auto& g = bounded(groups_, crypto::short_sha256(object + n.reason));
  if (g.messages.empty() || now - g.last > combined_within) g.messages.clear();
  g.messages.insert(crypto::short_sha256(n.message));
  g.last = now;
  if (g.messages.size() < combined_from) return false;
  g.messages.erase(g.messages.begin());
  return true;
}

bool event_correlator::may_pass(const std::string& object, time_point now) {
  auto fresh = !buckets_.contains(object);
  auto& b = bounded(buckets_, object);
  if (fresh) b = {burst, now};
  b.tokens = std::min(burst, b.tokens + std::chrono::duration<double>(now - b.filled).count() * refill_per_second);
  b.filled = now;
  if (b.tokens < 1) return false;
  b.tokens -= 1;
  return true;
}

event_correlator::answer event_correlator::observe(const notice& n, time_point now) {
  auto object = object_of(n);
  answer out;
  out.message = n.message;
  out.key = object + n.reason + "\n";
  if (combined(n, object, now))
    out.message = "(combined from similar events): " + n.message;
  else
    out.key += n.message;
  out.key = crypto::short_sha256(out.key);
  auto& t = bounded(told_, out.key);
  out.count = ++t.count;
  if (!may_pass(object, now)) return out;
  out.what = t.name.empty() ? verdict::create : verdict::count_up;
  out.ns = t.ns;
  out.name = t.name;
  return out;
}

void event_correlator::written(const std::string& key, std::string ns, std::string name) {
  auto it = told_.find(key);
  if (it == told_.end()) return;
  it->second.ns = std::move(ns);
  it->second.name = std::move(name);
}

void event_correlator::lost(const std::string& key) { told_.erase(key); }

}  // namespace kedge::control
