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
  what.values(o.bytes(), [&](std::string_view v) { found = found || v == value; });
  return found;
}

index_list::index_list(std::vector<index> indexes, std::uint64_t seed) {
  for (auto& i : indexes) {
    kedge_assert(!find(i.name) && i.values);
    for (unsigned char c : i.name) seed = mix(seed, c);
    items_.push_back({std::move(i), seed});
  }
}

const index_list::item* index_list::find(std::string_view name) const noexcept {
  for (auto& i : items_)
    if (i.what.name == name) return &i;
  return nullptr;
}

std::vector<std::uint64_t> index_list::hashes_of(const object& o) const {
  std::vector<std::uint64_t> out;
  for (auto& i : items_) {
    if (o.key().starts_with(i.what.prefix)) i.what.values(o.bytes(), [&](std::string_view v) { out.push_back(i.hash_of(v)); });
  }
  if (out.size() > 1) {
    std::sort(out.begin(), out.end());
    out.erase(std::unique(out.begin(), out.end()), out.end());
  }
  return out;
}

// The replaced object is alive, in `previous`, as long as an entry may still name it.
object_ref indexed_tree::put(object_ref o) {
  auto* now = object_access::get(o);
  auto previous = objects_.put(std::move(o));
  if (!indexes_) return previous;
  auto wanted = indexes_->hashes_of(*now);
  for (auto h : wanted) entries_.put({h, now});
  if (previous)
    for (auto h : indexes_->hashes_of(*previous))
      if (!std::binary_search(wanted.begin(), wanted.end(), h)) entries_.erase({h, now->key()});
  return previous;
}

object_ref indexed_tree::erase(std::string_view key) {
  auto gone = objects_.erase(key);
  if (gone && indexes_)
    for (auto h : indexes_->hashes_of(*gone)) entries_.erase({h, gone->key()});
  return gone;
}

void indexed_tree::scan(const index_list::item& by, std::string_view value, std::string_view prefix, std::string_view start,
                        const std::function<bool(const object_ref&)>& visit) const {
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
