#include "store/tree.h"

#include <algorithm>

#include "base/assert.h"

namespace kedge::store {

const object* tree::find(std::string_view key) const noexcept {
  auto found = nodes_.find(key);
  return found ? object_access::get(*found) : nullptr;
}

object_ref tree::get(std::string_view key) const {
  auto found = nodes_.find(key);
  return found ? *found : object_ref();
}

object_ref tree::put(object_ref o) {
  kedge_assert(o);
  return nodes_.put(std::move(o)).value_or(object_ref());
}

object_ref tree::erase(std::string_view key) { return nodes_.erase(key).value_or(object_ref()); }

std::size_t tree::count_from(std::string_view prefix, std::string_view start) const {
  auto end = prefix_end(prefix);
  if (!end.empty() && start >= end) return 0;
  return (end.empty() ? size() : rank(end)) - rank(std::max(prefix, start));
}

std::string prefix_end(std::string_view prefix) {
  std::string end(prefix);
  while (!end.empty() && static_cast<unsigned char>(end.back()) == 0xff) end.pop_back();
  if (!end.empty()) end.back() = static_cast<char>(end.back() + 1);
  return end;
}

}  // namespace kedge::store
