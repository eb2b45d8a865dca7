// tree.h: the ordered map of objects by key, persistent: a copy is one reference, and changing one copy leaves the
// others as they were.
//
// A B-tree whose nodes are reference counted. A change copies the nodes on its way that somebody else holds too, and
// changes in place those that only this tree holds: the first change after a snapshot copies a path, the others of the
// same batch mostly don't. One tree for all resources: prefixes of resources, namespaces and names are ranges of it,
// and every node knows how many objects are below, so that counting a prefix is two descents.
//
// Keys are not stored: they are the objects' own. A branch knows its children's first objects, which live in the leaves
// below.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string_view>

#include "store/store.h"

namespace kedge::store {

class tree {
 public:
  tree() noexcept = default;
  tree(const tree& other) noexcept;
  tree(tree&& other) noexcept : root_(std::exchange(other.root_, nullptr)) {}
  tree& operator=(tree other) noexcept {
    std::swap(root_, other.root_);
    return *this;
  }
  ~tree();

  std::size_t size() const noexcept;
  // Null when absent. Lives as long as this tree is unchanged.
  const object* find(std::string_view key) const noexcept;
  object_ref get(std::string_view key) const;
  // Puts `o` under its key and gives what was there.
  object_ref put(object_ref o);
  // Takes the key's object out and gives it.
  object_ref erase(std::string_view key);
  // How many keys are less than `key`.
  std::size_t rank(std::string_view key) const noexcept;
  std::size_t count(std::string_view prefix) const;
  // Those >= start in order, until `visit` returns false.
  void scan(std::string_view start, const std::function<bool(const object_ref&)>& visit) const;

  // For tests: whether order, sizes and fill are what they must be. For benchmarks: bytes of nodes.
  bool consistent() const;
  std::size_t node_bytes() const noexcept;

 private:
  friend struct tree_nodes;
  struct node;
  struct leaf;
  struct branch;
  node* root_ = nullptr;
};

// The least key that is greater than all keys with this prefix; "" when there is none.
std::string prefix_end(std::string_view prefix);

}  // namespace kedge::store
