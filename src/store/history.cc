#include "store/history.h"

#include <algorithm>

#include "base/assert.h"
#include "store/limits.h"
#include "store/object.h"

namespace kedge::store {

std::size_t resource_size(std::string_view key) noexcept {
  auto begin = key.find('/', 1);
  auto end = begin == key.npos ? key.npos : key.find('/', begin + 1);
  if (end == key.npos) return key.size();
  if (key.substr(begin, end - begin).find('.') == key.npos) return end + 1;
  auto group_end = key.find('/', end + 1);
  return group_end == key.npos ? end + 1 : group_end + 1;
}

// Where one resource's events of a visit lie.
struct history::cursor {
  const std::deque<event_ref>* events;
  std::size_t begin, end;
};

std::size_t history::size_of(const event& e) noexcept {
  // The event with its count, its hashes, and a place in the history of a few cores.
  std::size_t n = sizeof(event) + 16 + e.found_by.capacity() * sizeof(e.found_by[0]) + 4 * sizeof(event_ref);
  if (e.previous) n += object_access::size_of(*e.previous);
  if (e.type == event_type::deleted) n += object_access::size_of(*e.object);
  return n;
}

void history::add(const event_ref& e) {
  auto resource = e->object->key().substr(0, e->resource_size);
  auto r = resources_.find(resource);
  if (r == resources_.end()) r = resources_.emplace(resource, of_resource{}).first;
  auto n = size_of(*e);
  r->second.events.push_back(e);
  r->second.bytes += n;
  bytes_ += n;
  replaced_ += n;
}

void history::drop_oldest(of_resource& r) {
  auto& e = r.events.front();
  auto n = size_of(*e);
  r.floor = e->at;
  r.bytes -= n;
  bytes_ -= n;
  r.events.pop_front();
}

void history::trim(time_point now, revision newest) {
  while (bytes_ > limits_.bytes) {
    auto most = std::max_element(resources_.begin(), resources_.end(),
                                 [](auto& a, auto& b) { return a.second.bytes < b.second.bytes; });
    kedge_assert(most != resources_.end() && !most->second.events.empty());
    do drop_oldest(most->second);
    while (bytes_ > limits_.bytes && most->second.bytes > limits_.bytes / 2);
  }
  if (marks_.empty() || now >= marks_.back().when + history_mark_interval) marks_.push_back({now, newest});
  bool passed = false;
  for (; marks_[old_].when + limits_.age < now; ++old_) {
    forgotten_ = marks_[old_].newest;
    passed = true;
  }
  for (; old_ > 0 && marks_.front().when + limits_.states < now; marks_.pop_front(), --old_)
    expired_ = marks_.front().newest;
  if (passed || dropping_) drop_old(history_drop_max);
}

void history::drop_old(std::size_t at_most) {
  dropping_ = false;
  for (auto r = resources_.begin(); r != resources_.end();) {
    auto& events = r->second.events;
    for (; !events.empty() && events.front()->at <= forgotten_; --at_most) {
      if (at_most == 0) {
        dropping_ = true;
        return;
      }
      drop_oldest(r->second);
    }
    // Resources come and go too.
    if (events.empty() && resources_.size() > history_resources_max) {
      base_ = std::max(base_, r->second.floor);
      r = resources_.erase(r);
    } else {
      ++r;
    }
  }
}

revision history::floor(std::string_view prefix) const noexcept {
  auto out = base_;
  for (auto& [name, r] : resources_) {
    if (name.starts_with(prefix) || prefix.starts_with(name)) out = std::max(out, r.floor);
  }
  return out;
}

std::vector<history::cursor> history::cursors(std::string_view prefix, revision after, revision upto) const {
  std::vector<cursor> out;
  for (auto& [name, r] : resources_) {
    if (!name.starts_with(prefix) && !prefix.starts_with(name)) continue;
    auto behind = [&](revision at) {
      return static_cast<std::size_t>(
          std::partition_point(r.events.begin(), r.events.end(), [&](auto& e) { return e->at <= at; }) -
          r.events.begin());
    };
    cursor c{&r.events, behind(after), behind(upto)};
    if (c.begin < c.end) out.push_back(c);
  }
  return out;
}

void history::forwards(std::string_view prefix, revision after, revision upto, const visitor& visit) const {
  auto all = cursors(prefix, after, upto);
  while (!all.empty()) {
    auto next = std::min_element(all.begin(), all.end(),
                                 [](auto& a, auto& b) { return (*a.events)[a.begin]->at < (*b.events)[b.begin]->at; });
    auto& e = (*next->events)[next->begin];
    if (e->object->key().starts_with(prefix) && !visit(e)) return;
    if (++next->begin == next->end) all.erase(next);
  }
}

void history::backwards(std::string_view prefix, revision after, revision upto, const visitor& visit) const {
  auto all = cursors(prefix, after, upto);
  while (!all.empty()) {
    auto next = std::max_element(all.begin(), all.end(), [](auto& a, auto& b) {
      return (*a.events)[a.end - 1]->at < (*b.events)[b.end - 1]->at;
    });
    auto& e = (*next->events)[next->end - 1];
    if (e->object->key().starts_with(prefix) && !visit(e)) return;
    if (--next->end == next->begin) all.erase(next);
  }
}

event_ref history::find(std::string_view key, revision at) const {
  event_ref out;
  forwards(key, at - 1, at, [&](const event_ref& e) {
    if (e->object->key() == key) out = e;
    return !out;
  });
  return out;
}

}  // namespace kedge::store
