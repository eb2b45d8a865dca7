#include "api/kinds/core/data_size.h"

namespace kedge::api {

std::size_t text_bytes(const json::value& map) noexcept {
  std::size_t sum = 0;
  if (auto o = map.object())
    for (auto& m : *o) sum += m.value.as_string().size();
  return sum;
}

std::size_t decoded_bytes(const json::value& map) noexcept {
  std::size_t sum = 0;
  if (auto o = map.object())
    for (auto& m : *o) {
      auto text = m.value.as_string();
      while (text.ends_with('=')) text.remove_suffix(1);
      sum += text.size() * 3 / 4;
    }
  return sum;
}

}  // namespace kedge::api
