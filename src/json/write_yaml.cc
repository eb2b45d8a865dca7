#include <algorithm>
#include <vector>

#include "json/write.h"
#include "json/yaml_scalar.h"

namespace kedge::json {

namespace {

bool digit(char c) { return c >= '0' && c <= '9'; }
// go-yaml asks Unicode; names that reach an API are ASCII, and any byte of a longer sequence counts as a letter here.
bool letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (static_cast<unsigned char>(c) & 0x80);
}

// go-yaml v2's order of keys: letters after everything else, runs of digits by their number (a2 before a10).
bool key_less(std::string_view a, std::string_view b) {
  for (std::size_t i = 0; i < a.size() && i < b.size(); ++i) {
    if (a[i] == b[i]) continue;
    bool al = letter(a[i]), bl = letter(b[i]);
    if (al && bl) return static_cast<unsigned char>(a[i]) < static_cast<unsigned char>(b[i]);
    if (al || bl) return bl;
    std::uint64_t an = 0, bn = 0;
    if (a[i] == '0' || b[i] == '0')
      for (auto j = i; j > 0 && digit(a[j - 1]); --j)
        if (a[j - 1] != '0') {
          an = bn = 1;
          break;
        }
    auto ai = i, bi = i;
    for (; ai < a.size() && digit(a[ai]); ++ai) an = an * 10 + static_cast<std::uint64_t>(a[ai] - '0');
    for (; bi < b.size() && digit(b[bi]); ++bi) bn = bn * 10 + static_cast<std::uint64_t>(b[bi] - '0');
    if (an != bn) return an < bn;
    if (ai != bi) return ai < bi;
    return static_cast<unsigned char>(a[i]) < static_cast<unsigned char>(b[i]);
  }
  return a.size() < b.size();
}

// 1:30 is a number in base 60 to older readers.
bool base60(std::string_view s) {
  return !s.empty() && (digit(s[0]) || s[0] == '-' || s[0] == '+') && s.find(':') != std::string_view::npos;
}

bool printable(std::string_view s) {
  return std::ranges::none_of(s, [](char c) {
    auto u = static_cast<unsigned char>(c);
    return (u < 0x20 && c != '\n') || u == 0x7f;
  });
}

// May stand unquoted in block context, and reads back as this text.
bool plain(std::string_view s) {
  if (s.empty() || s.front() == ' ' || s.back() == ' ' || s.back() == ':' || base60(s)) return false;
  auto resolved = resolve_yaml_scalar(s);
  if (!resolved || !resolved->is_string() || s == "<<" || s == "=") return false;
  if (s.starts_with("---") || s.starts_with("...")) return false;
  static constexpr std::string_view indicators = "#,[]{}&*!|>'\"%@`";
  if (indicators.find(s.front()) != std::string_view::npos) return false;
  if ((s.front() == '-' || s.front() == '?' || s.front() == ':') && (s.size() == 1 || s[1] == ' ')) return false;
  return s.find(": ") == std::string_view::npos && s.find(" #") == std::string_view::npos;
}

// As go-yaml: the text resolves to something else → double quotes; only the syntax is in the way → single quotes.
void write_text(std::string_view s, std::size_t indent, bool is_key, std::string& out) {
  bool lines = s.find('\n') != std::string_view::npos;
  if (!printable(s) || (lines && (is_key || s.front() == ' ' || s.front() == '\n'))) {
    write_string(s, out);
    return;
  }
  if (lines) {
    out += s.back() == '\n' ? (s.size() > 1 && s[s.size() - 2] == '\n' ? "|+" : "|") : "|-";
    for (std::size_t i = 0; i < s.size();) {
      auto end = std::min(s.find('\n', i), s.size());
      out += '\n';
      if (end > i) out.append(indent, ' ');
      out += s.substr(i, end - i);
      i = end + 1;
    }
    return;
  }
  if (plain(s)) {
    out += s;
    return;
  }
  auto resolved = resolve_yaml_scalar(s);
  if (!resolved || !resolved->is_string() || base60(s)) {
    write_string(s, out);
    return;
  }
  out += '\'';
  for (char c : s) {
    if (c == '\'') out += '\'';
    out += c;
  }
  out += '\'';
}

void write_block(const value& v, std::size_t indent, std::string& out);

// What follows `key:` or `-`: on the same line when it fits there.
void write_after(const value& v, std::size_t indent, bool in_array, std::string& out) {
  auto object = v.object();
  auto array = v.array();
  if (object && !object->empty()) {
    if (!in_array) {
      out += '\n';
      out.append(indent + 2, ' ');
    } else {
      out += ' ';
    }
    write_block(v, indent + 2, out);
  } else if (array && !array->empty()) {
    // A list in a map starts at the map's own column; in a list it goes on behind the dash.
    if (!in_array) {
      out += '\n';
      out.append(indent, ' ');
      write_block(v, indent, out);
    } else {
      out += ' ';
      write_block(v, indent + 2, out);
    }
  } else {
    out += ' ';
    if (v.is_string())
      write_text(v.as_string(), indent + 2, false, out);
    else
      write(v, out);
  }
}

void write_block(const value& v, std::size_t indent, std::string& out) {
  bool first = true;
  auto next_line = [&] {
    if (std::exchange(first, false)) return;
    out += '\n';
    out.append(indent, ' ');
  };
  if (auto o = v.object()) {
    std::vector<const member*> sorted;
    for (auto& m : *o) sorted.push_back(&m);
    std::ranges::sort(sorted, [](auto* a, auto* b) { return key_less(a->name, b->name); });
    for (auto m : sorted) {
      next_line();
      write_text(m->name, indent, true, out);
      out += ':';
      write_after(m->value, indent, false, out);
    }
  } else if (auto a = v.array()) {
    for (auto& e : *a) {
      next_line();
      out += '-';
      write_after(e, indent, true, out);
    }
  }
}

}  // namespace

std::string write_yaml(const value& v) {
  std::string out;
  if (v.size() > 0)
    write_block(v, 0, out);
  else if (v.is_string())
    write_text(v.as_string(), 2, false, out);
  else
    write(v, out);
  out += '\n';
  return out;
}

}  // namespace kedge::json
