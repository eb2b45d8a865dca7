#include "datastore/etcd/news.h"

#include <algorithm>
#include <array>
#include <functional>

#include "datastore/etcd/limits.h"
#include "datastore/limits.h"

namespace kedge::datastore::etcd {

namespace {

std::size_t size_of(const entry& e) { return e.name.size() + e.value.size() + sizeof(entry); }

}  // namespace

bool is_ours(std::string_view key) {
  constexpr std::array<std::string_view, 3> ours{"/registry/", "/bootstrap/", "/kedge/"};
  return std::any_of(ours.begin(), ours.end(), [&](auto prefix) { return key.starts_with(prefix); });
}

entry to_entry(const key_value& kv) {
  entry out;
  out.at = kv.modified;
  out.created = kv.created;
  out.kind = kv.created == kv.modified ? change::create : change::update;
  out.name = kv.key;
  out.value = kv.value;
  out.lease_seconds = seconds_of_lease(kv.lease);
  return out;
}

entry to_entry(watch_event&& e) {
  entry out;
  out.at = e.now.modified;
  out.name = std::move(e.now.key);
  // What isn't the cluster's is told as a removal of what never was, so that who follows knows the revision.
  const bool ours = is_ours(out.name);
  if (ours) out.previous = e.before.modified;
  if (e.removed || !ours) {
    out.kind = change::remove;
    return out;
  }
  out.kind = e.now.created == e.now.modified ? change::create : change::update;
  out.created = e.now.created;
  out.value = std::move(e.now.value);
  out.lease_seconds = seconds_of_lease(e.now.lease);
  return out;
}

void news::begin(revision at) {
  entries_.clear();
  bytes_ = mark_ = 0;
  from_ = upto_ = given_ = at;
}

std::size_t news::mark_of(const std::vector<watch_event>& events, revision at) {
  std::size_t out = 0;
  auto add = [&](std::size_t h) { out = out * 1'000'003 ^ h; };
  for (auto& e : events) {
    if (e.now.modified != at) continue;
    add(std::hash<std::string>()(e.now.key));
    add(std::hash<std::string>()(e.now.value));
    add(e.removed ? 2 : 1);
  }
  return out;
}

void news::take(event_stream::piece p) {
  if (p.upto <= upto_) return;
  mark_ = mark_of(p.events, p.upto);
  for (auto& e : p.events) {
    if (e.now.modified <= upto_) continue;
    bytes_ += size_of(entries_.emplace_back(to_entry(std::move(e))));
  }
  upto_ = p.upto;
  trim();
}

void news::given(revision at) {
  given_ = std::max(given_, at);
  trim();
}

bool news::full() const noexcept { return bytes_ > news_bytes_max; }

void news::trim() {
  while (bytes_ > news_bytes_max && !entries_.empty() && entries_.front().at <= given_) {
    from_ = entries_.front().at;
    while (!entries_.empty() && entries_.front().at == from_) {
      bytes_ -= size_of(entries_.front());
      entries_.pop_front();
    }
  }
}

page news::read(revision after) const {
  page out;
  out.at = std::max(after, upto_);
  auto first =
      std::upper_bound(entries_.begin(), entries_.end(), after, [](revision r, const entry& e) { return r < e.at; });
  std::size_t bytes = 0;
  for (auto i = first; i != entries_.end(); ++i) {
    if ((out.entries.size() >= page_entries_max || bytes >= page_bytes_max) && i->at != out.entries.back().at) {
      out.at = out.entries.back().at;
      out.done = false;
      break;
    }
    bytes += size_of(*i);
    out.entries.push_back(*i);
  }
  return out;
}

std::vector<entry> news::between(revision after, revision upto) const {
  if (after >= upto) return {};
  auto above = [](revision r, const entry& e) { return r < e.at; };
  return {std::upper_bound(entries_.begin(), entries_.end(), after, above),
          std::upper_bound(entries_.begin(), entries_.end(), upto, above)};
}

}  // namespace kedge::datastore::etcd
