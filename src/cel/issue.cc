#include "cel/issue.h"

#include <algorithm>
#include <utility>

#include "base/stable_sort.h"
#include "cel/limits.h"
#include "cel/utf8.h"

namespace kedge::cel {

namespace {

// Longer lines are not shown (cel-go's bound).
constexpr std::size_t snippet_max_bytes = 16'384;

bool line_of(std::string_view text, int number, std::string_view& line) {
  if (number < 1 || text.empty()) return false;
  std::size_t begin = 0;
  for (int i = 1; i < number; ++i) {
    const std::size_t end = text.find('\n', begin);
    if (end == std::string_view::npos) return false;
    begin = end + 1;
  }
  line = text.substr(begin, text.find('\n', begin) - begin);
  return true;
}

std::string shown(const issue& found, std::string_view text) {
  const int first = text.empty() ? 0 : 1;  // a text without characters has no first column
  std::string out = "ERROR: <input>:" + std::to_string(found.line) + ":" + std::to_string(found.column + first) + ": " +
                    found.message;
  std::string_view line;
  if (!line_of(text, found.line, line) || line.size() > snippet_max_bytes) return out;
  std::string snippet(line);
  std::ranges::replace(snippet, '\t', ' ');
  out += "\n | " + snippet + "\n | ";
  // Characters that take more than a byte are taken for wide ones.
  std::string_view rest = snippet;
  for (int i = 0; i < found.column && !rest.empty(); ++i) {
    const std::size_t n = utf8_length(rest);
    out += n > 1 ? "\uff0e" : ".";
    rest.remove_prefix(n);
  }
  out += !rest.empty() && utf8_length(rest) > 1 ? "\uff3e" : "^";
  return out;
}

}  // namespace

void issues::add(int line, int column, std::string message) {
  if (++count <= issues_max) all.push_back({line, column, std::move(message)});
}

std::string issues_text(const issues& found, std::string_view text) {
  if (!found.no_program.empty()) return found.no_program;
  std::vector<const issue*> order;
  for (const issue& i : found.all) order.push_back(&i);
  api::stable_sort_short(order, [](const issue* a, const issue* b) {
    return std::pair(a->line, a->column) < std::pair(b->line, b->column);
  });
  std::string out;
  for (const issue* i : order) {
    if (!out.empty()) out += '\n';
    out += shown(*i, text);
  }
  if (found.count > issues_max) out += "\n" + std::to_string(found.count - issues_max) + " more errors were truncated";
  return out;
}

}  // namespace kedge::cel
