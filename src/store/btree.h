// btree.h: an ordered set of small items, persistent: a copy is one reference, and changing one copy leaves the others
// as they were. For store/ only; tree.h and index_tree.h say what its items are.
//
// A B-tree whose nodes are reference counted. A change copies the nodes on its way that somebody else holds too, and
// changes in place those that only this tree holds: the first change after a snapshot copies a path, the others of the
// same batch mostly don't. Every node knows how many items are below, so that counting a range is two descents.
//
// `Items` says:
//   item      what a leaf holds; default-constructible, movable, cheap to copy
//   label     what a branch knows of a child's first item: enough to compare it; trivially copyable
//   key       what is looked for
//   leaf_max  items in a full leaf
//   label_of(item), key_of(item) → key, compare(label, key) → less than, equal to or greater than 0
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>

namespace kedge::store {

template <typename Items>
class btree {
 public:
  using item = typename Items::item;
  using label = typename Items::label;
  using key = typename Items::key;

  btree() noexcept = default;
  btree(const btree& other) noexcept : root_(other.root_) {
    if (root_) hold(root_);
  }
  btree(btree&& other) noexcept : root_(std::exchange(other.root_, nullptr)) {}
  btree& operator=(btree other) noexcept {
    std::swap(root_, other.root_);
    return *this;
  }
  ~btree() {
    if (root_) drop(root_);
  }

  std::size_t size() const noexcept { return root_ ? size(root_) : 0; }

  // Null when absent. Lives as long as this tree is unchanged.
  const item* find(const key& k) const noexcept {
    auto* n = root_;
    if (!n) return nullptr;
    while (!n->is_leaf) n = as_branch(n).children[position(as_branch(n), k)];
    auto& l = as_leaf(n);
    auto i = position(l, k);
    return i < l.count && Items::compare(Items::label_of(l.items[i]), k) == 0 ? &l.items[i] : nullptr;
  }

  // Puts `o` where it belongs and gives what was there.
  std::optional<item> put(item o) {
    std::optional<item> previous;
    if (!root_) root_ = new leaf;
    if (auto* right = put(root_, o, previous)) {
      auto* top = new branch;
      insert_child(*top, 0, root_);
      insert_child(*top, 1, right);
      root_ = top;
    }
    return previous;
  }

  // Takes it out and gives it; nothing when it isn't there.
  std::optional<item> erase(const key& k) {
    if (!find(k)) return std::nullopt;
    auto out = erase(root_, k);
    if (root_->count == 0) {
      drop(std::exchange(root_, nullptr));
      return out;
    }
    while (!root_->is_leaf && root_->count == 1) {
      auto* only = as_branch(root_).children[0];
      hold(only);
      drop(std::exchange(root_, only));
    }
    return out;
  }

  // How many items are less than `k`.
  std::size_t rank(const key& k) const noexcept {
    auto* n = root_;
    if (!n) return 0;
    std::size_t before = 0;
    while (!n->is_leaf) {
      auto& b = as_branch(n);
      auto at = position(b, k);
      for (std::size_t i = 0; i < at; ++i) before += b.sizes[i];
      n = b.children[at];
    }
    return before + position(as_leaf(n), k);
  }

  // Those >= start in order, until `visit` returns false.
  template <typename Visit>
  void scan(const key& start, const Visit& visit) const {
    if (root_) scan(root_, start, true, visit);
  }

  // For tests: whether order, sizes and fill are what they must be.
  bool consistent() const {
    std::optional<key> last;
    return !root_ || consistent(root_, last);
  }
  // For benchmarks.
  std::size_t node_bytes() const noexcept { return root_ ? bytes(root_) : 0; }

 private:
  static constexpr std::size_t leaf_max = Items::leaf_max;
  static constexpr std::size_t branch_max = 32;
  static constexpr std::size_t fill_min = 8;     // below, a node is merged with a neighbour …
  static constexpr std::size_t merged_max = 24;  // … when both together leave room for growth
  static_assert(leaf_max >= merged_max && branch_max >= merged_max);

  struct node {
    // Holders: branches and trees, on any core. Who copies holds one already (relaxed is enough); see drop() and own().
    mutable std::atomic<std::uint32_t> references{1};
    std::uint16_t count = 0;
    const bool is_leaf;
    explicit node(bool l) noexcept : is_leaf(l) {}
  };
  struct leaf : node {
    leaf() noexcept : node(true) {}
    std::array<item, leaf_max> items;
  };
  struct branch : node {
    branch() noexcept : node(false) {}
    std::array<node*, branch_max> children;
    std::array<label, branch_max> first;        // of each child's items
    std::array<std::size_t, branch_max> sizes;  // items below each child
  };

  static leaf& as_leaf(node* n) noexcept { return *static_cast<leaf*>(n); }
  static branch& as_branch(node* n) noexcept { return *static_cast<branch*>(n); }

  static void hold(const node* n) noexcept { n->references.fetch_add(1, std::memory_order_relaxed); }

  static void drop(node* n) noexcept {
    // Release: our reads of the node came before; acquire: whoever frees it comes after everybody's.
    if (n->references.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
    if (n->is_leaf) {
      delete &as_leaf(n);
      return;
    }
    auto& b = as_branch(n);
    for (std::size_t i = 0; i < b.count; ++i) drop(b.children[i]);
    delete &b;
  }

  // Makes `slot` a node that only its holder holds; that holder must itself be held by the changing tree alone.
  static node* own(node*& slot) {
    // One reference is ours. Acquire pairs with the release of those who dropped theirs: their reads are over.
    if (slot->references.load(std::memory_order_acquire) == 1) return slot;
    node* copy;
    if (slot->is_leaf) {
      auto& from = as_leaf(slot);
      auto* to = new leaf;
      for (std::size_t i = 0; i < from.count; ++i) to->items[i] = from.items[i];
      copy = to;
    } else {
      auto& from = as_branch(slot);
      auto* to = new branch;
      for (std::size_t i = 0; i < from.count; ++i) {
        hold(to->children[i] = from.children[i]);
        to->first[i] = from.first[i];
        to->sizes[i] = from.sizes[i];
      }
      copy = to;
    }
    copy->count = slot->count;
    drop(slot);
    return slot = copy;
  }

  static std::size_t size(node* n) noexcept {
    if (n->is_leaf) return n->count;
    std::size_t sum = 0;
    for (std::size_t i = 0; i < n->count; ++i) sum += as_branch(n).sizes[i];
    return sum;
  }
  static label first(node* n) noexcept {
    return n->is_leaf ? Items::label_of(as_leaf(n).items[0]) : as_branch(n).first[0];
  }

  // The first item that is not less than `k`.
  static std::size_t position(const leaf& l, const key& k) noexcept {
    std::size_t low = 0, high = l.count;
    while (low < high) {
      auto middle = (low + high) / 2;
      if (Items::compare(Items::label_of(l.items[middle]), k) < 0)
        low = middle + 1;
      else
        high = middle;
    }
    return low;
  }
  // The child in whose range `k` falls: the last whose first is not greater, or the first child.
  static std::size_t position(const branch& b, const key& k) noexcept {
    std::size_t low = 1, high = b.count;
    while (low < high) {
      auto middle = (low + high) / 2;
      if (Items::compare(b.first[middle], k) <= 0)
        low = middle + 1;
      else
        high = middle;
    }
    return low - 1;
  }

  static void describe(branch& b, std::size_t i) noexcept {
    b.sizes[i] = size(b.children[i]);
    b.first[i] = first(b.children[i]);
  }
  static void insert_child(branch& b, std::size_t at, node* child) noexcept {
    for (std::size_t i = b.count; i > at; --i) {
      b.children[i] = b.children[i - 1];
      b.first[i] = b.first[i - 1];
      b.sizes[i] = b.sizes[i - 1];
    }
    b.children[at] = child;
    ++b.count;
    describe(b, at);
  }
  static void remove_child(branch& b, std::size_t at) noexcept {
    for (std::size_t i = at; i + 1 < b.count; ++i) {
      b.children[i] = b.children[i + 1];
      b.first[i] = b.first[i + 1];
      b.sizes[i] = b.sizes[i + 1];
    }
    --b.count;
  }

  // How many stay in a full node of `max` that gets another at `at`: growth at the end, as of numbered names, leaves it
  // full.
  static std::size_t split_at(std::size_t at, std::size_t max) noexcept { return at == max ? max : max / 2; }

  // Gives the new right neighbour when the node had to be split.
  static node* put(node*& slot, item& o, std::optional<item>& previous) {
    auto* n = own(slot);
    if (n->is_leaf) return put_leaf(as_leaf(n), o, previous);
    auto& b = as_branch(n);
    auto i = position(b, Items::key_of(o));
    auto* right = put(b.children[i], o, previous);
    describe(b, i);
    if (!right) return nullptr;
    if (b.count < branch_max) {
      insert_child(b, i + 1, right);
      return nullptr;
    }
    auto keep = split_at(i + 1, branch_max);
    auto* other = new branch;
    for (std::size_t k = keep; k < branch_max; ++k) {
      other->children[k - keep] = b.children[k];
      other->first[k - keep] = b.first[k];
      other->sizes[k - keep] = b.sizes[k];
    }
    other->count = static_cast<std::uint16_t>(branch_max - keep);
    b.count = static_cast<std::uint16_t>(keep);
    if (i + 1 <= keep && keep < branch_max)
      insert_child(b, i + 1, right);
    else
      insert_child(*other, i + 1 - keep, right);
    return other;
  }

  static node* put_leaf(leaf& l, item& o, std::optional<item>& previous) {
    auto i = position(l, Items::key_of(o));
    if (i < l.count && Items::compare(Items::label_of(l.items[i]), Items::key_of(o)) == 0) {
      previous = std::exchange(l.items[i], std::move(o));
      return nullptr;
    }
    leaf* other = nullptr;
    leaf* to = &l;
    if (l.count == leaf_max) {
      auto keep = split_at(i, leaf_max);
      other = new leaf;
      for (std::size_t k = keep; k < leaf_max; ++k) other->items[k - keep] = std::move(l.items[k]);
      other->count = static_cast<std::uint16_t>(leaf_max - keep);
      l.count = static_cast<std::uint16_t>(keep);
      if (i > keep || keep == leaf_max) {
        to = other;
        i -= keep;
      }
    }
    for (std::size_t k = to->count; k > i; --k) to->items[k] = std::move(to->items[k - 1]);
    to->items[i] = std::move(o);
    ++to->count;
    return other;
  }

  // `k` is there. The node may be left empty.
  static item erase(node*& slot, const key& k) {
    auto* n = own(slot);
    if (n->is_leaf) {
      auto& l = as_leaf(n);
      auto i = position(l, k);
      auto out = std::move(l.items[i]);
      for (; i + 1 < l.count; ++i) l.items[i] = std::move(l.items[i + 1]);
      --l.count;
      return out;
    }
    auto& b = as_branch(n);
    auto i = position(b, k);
    auto out = erase(b.children[i], k);
    if (b.children[i]->count == 0) {
      drop(b.children[i]);
      remove_child(b, i);
      return out;
    }
    describe(b, i);
    if (b.children[i]->count < fill_min && b.count > 1) {
      auto left = i > 0 ? i - 1 : 0;
      if (std::size_t(b.children[left]->count) + b.children[left + 1]->count <= merged_max) merge(b, left);
    }
    return out;
  }

  static void merge(branch& b, std::size_t left) {
    auto* to = own(b.children[left]);
    auto* from = b.children[left + 1];  // read only: it may be shared
    if (to->is_leaf) {
      for (std::size_t i = 0; i < from->count; ++i) as_leaf(to).items[to->count + i] = as_leaf(from).items[i];
    } else {
      for (std::size_t i = 0; i < from->count; ++i) {
        auto k = to->count + i;
        hold(as_branch(to).children[k] = as_branch(from).children[i]);
        as_branch(to).first[k] = as_branch(from).first[i];
        as_branch(to).sizes[k] = as_branch(from).sizes[i];
      }
    }
    to->count = static_cast<std::uint16_t>(to->count + from->count);
    drop(from);
    remove_child(b, left + 1);
    describe(b, left);
  }

  // false when `visit` ended it.
  template <typename Visit>
  static bool scan(node* n, const key& start, bool bounded, const Visit& visit) {
    if (n->is_leaf) {
      auto& l = as_leaf(n);
      for (std::size_t i = bounded ? position(l, start) : 0; i < l.count; ++i) {
        if (!visit(l.items[i])) return false;
      }
      return true;
    }
    auto& b = as_branch(n);
    for (std::size_t i = bounded ? position(b, start) : 0; i < b.count; ++i) {
      if (!scan(b.children[i], start, bounded, visit)) return false;
      bounded = false;
    }
    return true;
  }

  static bool consistent(node* n, std::optional<key>& last) {
    if (n->count == 0) return false;
    if (n->is_leaf) {
      for (std::size_t i = 0; i < n->count; ++i) {
        auto& o = as_leaf(n).items[i];
        if (last && Items::compare(Items::label_of(o), *last) <= 0) return false;
        last = Items::key_of(o);
      }
      return true;
    }
    auto& b = as_branch(n);
    for (std::size_t i = 0; i < b.count; ++i) {
      if (b.first[i] != first(b.children[i]) || b.sizes[i] != size(b.children[i])) return false;
      if (!consistent(b.children[i], last)) return false;
    }
    return true;
  }
  static std::size_t bytes(node* n) noexcept {
    if (n->is_leaf) return sizeof(leaf);
    std::size_t sum = sizeof(branch);
    for (std::size_t i = 0; i < n->count; ++i) sum += bytes(as_branch(n).children[i]);
    return sum;
  }

  node* root_ = nullptr;
};

}  // namespace kedge::store
