// stable_sort.h: insertion sort for short lists whose equal elements keep their order (Accept clauses, API groups). The
// standard library's needs a temporary buffer that libstdc++ 12 marks as deprecated.
#pragma once

#include <utility>
#include <vector>

namespace kedge::api {

template <typename T, typename Before>
void stable_sort_short(std::vector<T>& list, Before before) {
  for (std::size_t i = 1; i < list.size(); ++i)
    for (std::size_t j = i; j > 0 && before(list[j], list[j - 1]); --j) std::swap(list[j], list[j - 1]);
}

}  // namespace kedge::api
