#include "api/fairness/dump.h"

#include <algorithm>

#include "base/assert.h"

namespace kedge::api::fairness {

void table::row(std::vector<std::string> cells) {
  kedge_assert(rows_.empty() || cells.size() == rows_.front().size());
  // A line break or a comma of a user's name makes no cell of its own.
  for (auto& c : cells)
    for (auto& ch : c)
      if (static_cast<unsigned char>(ch) < 0x20 || ch == ',' || ch == 0x7f) ch = ' ';
  rows_.push_back(std::move(cells));
}

std::string table::text() const {
  // Go's tabwriter with at least 8 wide cells and a blank between: the last column isn't filled up.
  constexpr std::size_t least = 8;
  std::vector<std::size_t> widths(rows_.front().size(), least);
  for (auto& r : rows_)
    for (std::size_t i = 0; i < r.size(); ++i) widths[i] = std::max(widths[i], r[i].size() + 2);
  std::string out;
  for (auto& r : rows_) {
    for (std::size_t i = 0; i < r.size(); ++i) {
      out += r[i];
      if (i + 1 == r.size()) break;
      out += ',';
      out.append(widths[i] - r[i].size() - 1, ' ');
    }
    out += '\n';
  }
  return out;
}

}  // namespace kedge::api::fairness
