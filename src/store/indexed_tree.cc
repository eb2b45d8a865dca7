#include "store/indexed_tree.h"

#include <algorithm>

#include "base/assert.h"

namespace kedge::store {

namespace {

std::uint64_t mix(std::uint64_t h, unsigned char c) noexcept {
  h = (h ^ c) * 0x9fb21c651e98df25;
  return h ^ (h >> 29);
}

}  // namespace

std::uint64_t index_list::item::hash_of(std::string_view value) const noexcept {
  auto h = seed;
  for (unsigned char c : value) h = mix(h, c);
  return mix(h, 0xff);
}

bool index_list::item::has(const object& o, std::string_view value) const {
  bool found = false;
  what.values(o, [&](std::string_view v) { found = found || v == value; });
  return found;
}

index_list::index_list(std::vector<index> indexes, std::uint64_t seed) : seed_(seed) {
  for (auto& i : indexes) {
    kedge_assert(!find_any(i.name) && i.values);
    auto own = seed_;
    for (unsigned char c : i.name) own = mix(own, c);
    items_.push_back({std::move(i), own});
  }
}

const index_list::item* index_list::find_any(std::string_view name) const noexcept {
  for (auto& i : items_)
    if (i.what.name == name) return &i;
  return nullptr;
}

const index_list::item* index_list::find(std::string_view name) const noexcept {
  auto* i = find_any(name);
  return i && i->phase == phase::ready ? i : nullptr;
}

std::shared_ptr<const index_list> index_list::with(index what) const {
  auto out = std::make_shared<index_list>(std::vector<index>{std::move(what)}, seed_);
  out->items_.front().phase = phase::coming;
  out->items_.insert(out->items_.begin(), items_.begin(), items_.end());
  return out;
}

std::shared_ptr<const index_list> index_list::with(std::string_view name, enum phase phase) const {
  auto out = std::make_shared<index_list>(*this);
  for (auto& i : out->items_)
    if (i.what.name == name) i.phase = phase;
  return out;
}

std::shared_ptr<const index_list> index_list::without(std::string_view name) const {
  auto out = std::make_shared<index_list>(*this);
  std::erase_if(out->items_, [&](auto& i) { return i.what.name == name; });
  return out;
}

std::vector<std::uint64_t> index_list::hashes_of(const object& o) const { return hashes_of(o, false); }

std::vector<std::uint64_t> index_list::hashes_of(const object& o, bool also_going) const {
  std::vector<std::uint64_t> out;
  for (auto& i : items_) {
    if (!o.key().starts_with(i.what.prefix) || (i.phase == phase::going && !also_going)) continue;
    i.what.values(o, [&](std::string_view v) { out.push_back(i.hash_of(v)); });
  }
  if (out.size() > 1) {
    std::sort(out.begin(), out.end());
    out.erase(std::unique(out.begin(), out.end()), out.end());
  }
  return out;
}

std::vector<std::uint64_t> index_list::hashes_of(const object* before, const object* after) const {
  auto out = after ? hashes_of(*after) : std::vector<std::uint64_t>();
  if (!before) return out;
  auto wanted = static_cast<std::ptrdiff_t>(out.size());
  for (auto h : hashes_of(*before, true)) {
    if (!std::binary_search(out.begin(), out.begin() + wanted, h)) out.push_back(h);
  }
  return out;
}

void indexed_tree::enter(const index_list::item& i, const object& o) {
  i.what.values(o, [&](std::string_view v) { entries_.put({i.hash_of(v), &o}); });
}

void indexed_tree::take_out(const index_list::item& i, const object& o) {
  i.what.values(o, [&](std::string_view v) { entries_.erase({i.hash_of(v), o.key()}); });
}

// The replaced object is alive, in `previous`, as long as an entry may still name it.
object_ref indexed_tree::put(object_ref o, std::vector<std::uint64_t>* found_by) {
  auto* now = object_access::get(o);
  auto previous = objects_.put(std::move(o));
  if (!indexes_) return previous;
  auto wanted = indexes_->hashes_of(*now);
  for (auto h : wanted) entries_.put({h, now});
  auto all = wanted;
  if (previous) {
    for (auto h : indexes_->hashes_of(*previous, true)) {
      if (std::binary_search(wanted.begin(), wanted.end(), h)) continue;
      entries_.erase({h, now->key()});
      all.push_back(h);
    }
  }
  if (found_by) *found_by = std::move(all);
  return previous;
}

object_ref indexed_tree::erase(std::string_view key, std::vector<std::uint64_t>* found_by) {
  auto gone = objects_.erase(key);
  if (!gone || !indexes_) return gone;
  auto hashes = indexes_->hashes_of(*gone, true);
  for (auto h : hashes) entries_.erase({h, gone->key()});
  if (found_by) *found_by = std::move(hashes);
  return gone;
}

void indexed_tree::scan(const index_list::item& by, std::string_view value, std::string_view prefix,
                        std::string_view start, const std::function<bool(const object_ref&)>& visit) const {
  auto hash = by.hash_of(value);
  entries_.scan({hash, std::max(prefix, start)}, [&](const index_entry& e) {
    if (e.hash != hash || !e.what->key().starts_with(prefix)) return false;
    return !by.has(*e.what, value) || visit(object_access::ref(*e.what));
  });
}

std::size_t indexed_tree::count(const index_list::item& by, std::string_view value) const {
  auto hash = by.hash_of(value);
  auto end = hash == UINT64_MAX ? entries_.size() : entries_.rank({hash + 1, {}});
  return end - entries_.rank({hash, {}});
}

bool indexed_tree::consistent() const {
  if (!objects_.consistent() || !entries_.consistent()) return false;
  std::size_t wanted = 0;
  bool all = true;
  objects_.scan("", [&](const object_ref& o) {
    if (!indexes_) return true;
    for (auto h : indexes_->hashes_of(*o)) {
      ++wanted;
      auto e = entries_.find({h, o->key()});
      all = all && e && e->what == object_access::get(o);
    }
    return all;
  });
  return all && wanted == entries_.size();
}

}  // namespace kedge::store
