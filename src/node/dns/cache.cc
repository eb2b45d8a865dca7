#include "node/dns/cache.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "node/dns/zone_names.h"

namespace kedge::node::dns {

namespace {

void set_ttls(std::string& message, const std::vector<std::size_t>& places, std::uint32_t ttl) {
  std::string four;
  append_be32(four, ttl);
  for (auto at : places) message.replace(at, 4, four);
}

std::uint32_t seconds_of(duration d) {
  return static_cast<std::uint32_t>(std::chrono::duration_cast<std::chrono::seconds>(d).count());
}

bool lies_in(std::string_view name, const std::vector<std::string>& zones) {
  return std::ranges::any_of(zones, [&](auto& z) { return is_under(name, z); });
}

}  // namespace

std::string cache::key_of(const query& q) {
  return q.asked + '/' + std::to_string(static_cast<int>(q.type)) + (q.edns ? "e" : "") + (q.dnssec_ok ? "d" : "") +
         (q.checking_disabled ? "c" : "");
}

void cache::drop(std::list<entry>::iterator i) {
  bytes_ -= i->key.size() + i->message.size();
  by_key_.erase(i->key);
  entries_.erase(i);
}

cache::entry* cache::lookup(const query& q, time_point now) {
  auto found = by_key_.find(key_of(q));
  if (found == by_key_.end()) return nullptr;
  auto& e = *found->second;
  if (now < e.until + options_.stale) return &e;
  drop(found->second);
  return nullptr;
}

std::string cache::told(const entry& e, const query& q, std::uint32_t ttl) {
  auto message = e.message;
  message[0] = static_cast<char>(q.id >> 8);
  message[1] = static_cast<char>(q.id);
  // The asker's own spelling (0x20), of the same length since the name is the same.
  message.replace(12, q.question.size(), q.question);
  set_ttls(message, e.ttls, ttl);
  return message;
}

std::string cache::find(const query& q, time_point now) {
  auto* e = lookup(q, now);
  return e && now < e->until ? told(*e, q, seconds_of(e->until - e->since) - seconds_of(now - e->since))
                             : std::string();
}

std::string cache::find_stale(const query& q, time_point now) {
  auto* e = lookup(q, now);
  return e && now >= e->until ? told(*e, q, 0) : std::string();
}

std::optional<duration> cache_options::time_of(std::string_view asked, bool has_records,
                                               std::uint32_t least_ttl) const {
  const auto most = has_records ? success : denial, least = has_records ? success_least : denial_least;
  if (most == duration(0) || (!zones.empty() && !lies_in(asked, zones))) return std::nullopt;
  return std::min(most, std::max<duration>(least, std::chrono::seconds(least_ttl)));
}

std::string cache::keep(const query& q, std::string message, const reply& r, time_point now) {
  if (r.code != rcode::no_error && r.code != rcode::no_name) return message;
  const bool has_records = r.code == rcode::no_error && r.records > 0;
  const auto holds = options_.time_of(q.asked, has_records, r.least_ttl);
  if (!holds) return message;
  const auto time = *holds;
  set_ttls(message, r.ttls, seconds_of(time));
  if (r.truncated || seconds_of(time) == 0 || lies_in(q.asked, has_records ? options_.no_success : options_.no_denial))
    return message;
  auto key = key_of(q);
  if (auto old = by_key_.find(key); old != by_key_.end()) drop(old->second);
  bytes_ += key.size() + message.size();
  entries_.push_front({key, message, r.ttls, now, now + time});
  by_key_[key] = entries_.begin();
  while (entries_.size() > cache_entries_max || bytes_ > options_.bytes) drop(std::prev(entries_.end()));
  return message;
}

}  // namespace kedge::node::dns
