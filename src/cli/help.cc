#include "cli/help.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "base/strings.h"

namespace kedge::cli {
namespace {

constexpr std::size_t line_width = 120;
constexpr std::size_t text_column = 44;

std::string left_side(const flag& f) {
  std::string text = "   ";
  text += dashed(f.name);
  if (f.short_name != 0) text += std::string(", -") + f.short_name;
  if (kind_of(f) != value_kind::boolean) text += " value";
  return text;
}

std::string right_side(const flag& f) {
  std::string text;
  if (f.state == support::ignored) text += "(no effect) ";
  if (f.state == support::already) text += "(always so) ";
  if (f.state == support::refused) text += "(refused) ";
  text += f.help;
  if (f.state != support::supported) text += fmt::format(": {}", f.reason);
  if (!f.env.empty()) text += fmt::format(" [${}]", f.env);
  if (!f.fallback.empty() && f.state == support::supported) text += fmt::format(" (default: {})", f.fallback);
  if (kind_of(f) == value_kind::list) text += " [repeatable]";
  return text;
}

void append_wrapped(std::string& out, std::string_view text) {
  std::size_t column = text_column;
  bool first = true;
  for (auto word : split(text, ' ')) {
    if (!first && column + 1 + word.size() > line_width) {
      out += '\n' + std::string(text_column, ' ');
      column = text_column;
    } else if (!first) {
      out += ' ';
      ++column;
    }
    out += word;
    column += word.size();
    first = false;
  }
  out += '\n';
}

}  // namespace

std::string flags_help(std::span<const flag> table, audience who) {
  std::string out;
  std::vector<std::string_view> groups;
  for (const auto& f : table)
    if (std::find(groups.begin(), groups.end(), f.group) == groups.end()) groups.push_back(f.group);
  for (auto group : groups) {
    bool headed = false;
    for (const auto& f : table) {
      if (f.group != group || f.hidden || !serves(f, who)) continue;
      if (!headed && !group.empty()) out += fmt::format(" {}:\n", group);
      headed = true;
      auto left = left_side(f);
      left.resize(std::max(left.size() + 2, text_column), ' ');
      if (left.size() > text_column)
        left = left.substr(0, left.find_last_not_of(' ') + 1) + '\n' + std::string(text_column, ' ');
      out += left;
      append_wrapped(out, right_side(f));
    }
  }
  return out;
}

}  // namespace kedge::cli
