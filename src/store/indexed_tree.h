// indexed_tree.h: the objects by key, and what finds them by value. For store/ only.
//
//   put, erase ─▶ objects (tree.h)
//            └──▶ entries: (hash of index and value, object) in order of hash and key, one persistent tree for all
//            indexes
//
// An entry is 16 bytes and holds nothing: its object is one of `objects`, and whoever copies this copies both. Only the
// hash of a value is kept; a scan asks the index again whether what it finds has the value, so equal hashes give no
// wrong answer. The hash is seeded: nobody can choose values that collide.
#pragma once

#include <memory>
#include <vector>

#include "store/index.h"
#include "store/tree.h"

namespace kedge::store {

struct index_entry {
  std::uint64_t hash = 0;
  const object* what = nullptr;
  friend bool operator==(const index_entry&, const index_entry&) = default;
};

struct index_entries {
  using item = index_entry;
  using label = index_entry;
  struct key {
    std::uint64_t hash;
    std::string_view name;
  };
  static constexpr std::size_t leaf_max = 64;  // copied as plain bytes
  static label label_of(const item& i) noexcept { return i; }
  static key key_of(const item& i) noexcept { return {i.hash, i.what->key()}; }
  static int compare(const label& l, const key& k) noexcept {
    if (l.hash != k.hash) return l.hash < k.hash ? -1 : 1;
    return l.what->key().compare(k.name);
  }
};

// The indexes of a store. Immutable; shared by all that has them.
class index_list {
 public:
  // An index that comes is entered for each object, one after the other, before it can be asked; one that goes takes
  // nothing new while its entries are taken out.
  enum class phase : unsigned char { coming, ready, going };
  struct item {
    index what;
    std::uint64_t seed = 0;
    enum phase phase = phase::ready;
    std::uint64_t hash_of(std::string_view value) const noexcept;
    bool has(const object& o, std::string_view value) const;
  };
  // `seed`: this process's own.
  index_list(std::vector<index> indexes, std::uint64_t seed);
  // Null when there is none of this name, or it isn't ready; in any phase.
  const item* find(std::string_view name) const noexcept;
  const item* find_any(std::string_view name) const noexcept;
  // With another one, of a new name; with one in another phase; without one.
  std::shared_ptr<const index_list> with(index what) const;
  std::shared_ptr<const index_list> with(std::string_view name, enum phase phase) const;
  std::shared_ptr<const index_list> without(std::string_view name) const;

  // The hashes of all that finds this object, in order, each once.
  std::vector<std::uint64_t> hashes_of(const object& o) const;
  // Of all that found it before or finds it after; either may be null.
  std::vector<std::uint64_t> hashes_of(const object* before, const object* after) const;

 private:
  friend class indexed_tree;
  std::vector<std::uint64_t> hashes_of(const object& o, bool also_going) const;
  std::vector<item> items_;
  std::uint64_t seed_;
};

class indexed_tree {
 public:
  indexed_tree() = default;
  explicit indexed_tree(std::shared_ptr<const index_list> indexes) noexcept : indexes_(std::move(indexes)) {}

  // As tree's.
  const object* find(std::string_view key) const noexcept { return objects_.find(key); }
  object_ref get(std::string_view key) const { return objects_.get(key); }
  std::size_t count(std::string_view prefix) const { return objects_.count(prefix); }
  std::size_t count_from(std::string_view prefix, std::string_view start) const {
    return objects_.count_from(prefix, start);
  }
  void scan(std::string_view start, const std::function<bool(const object_ref&)>& visit) const {
    objects_.scan(start, visit);
  }
  // `found_by`: the hashes of what found the object before or finds it now, each once.
  object_ref put(object_ref o, std::vector<std::uint64_t>* found_by = nullptr);
  object_ref erase(std::string_view key, std::vector<std::uint64_t>* found_by = nullptr);

  const std::shared_ptr<const index_list>& indexes() const noexcept { return indexes_; }

  // Other indexes. One that comes and one that goes is entered and taken out object by object, for each that there is.
  void set_indexes(std::shared_ptr<const index_list> indexes) noexcept { indexes_ = std::move(indexes); }
  void enter(const index_list::item& i, const object& o);
  void take_out(const index_list::item& i, const object& o);

  // Of the objects under prefix and >= start those that have `value`, in key order, until `visit` returns false. The
  // index must be one of this tree's.
  void scan(const index_list::item& by, std::string_view value, std::string_view prefix, std::string_view start,
            const std::function<bool(const object_ref&)>& visit) const;
  // How many have `value`: O(log n).
  std::size_t count(const index_list::item& by, std::string_view value) const;

  // For tests: whether the entries are those that the objects make.
  bool consistent() const;

 private:
  tree objects_;
  btree<index_entries> entries_;
  std::shared_ptr<const index_list> indexes_;  // null: none
};

}  // namespace kedge::store
