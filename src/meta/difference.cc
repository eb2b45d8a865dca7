#include "meta/difference.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "json/write.h"
#include "meta/limits.h"

namespace kedge::api {
namespace {

using lines = std::vector<std::string>;

// Go's MarshalIndent with one blank a level.
class printer {
 public:
  lines out{""};

  void print(const json::value& v, std::size_t depth) {
    if (auto o = v.object(); o && !o->empty()) {
      add("{");
      bool first = true;
      for (auto& m : *o) {
        next(first, depth + 1);
        add(json::write(json::value(m.name)) + ": ");
        print(m.value, depth + 1);
      }
      line(depth);
      add("}");
    } else if (auto a = v.array(); a && !a->empty()) {
      add("[");
      bool first = true;
      for (auto& e : *a) {
        next(first, depth + 1);
        print(e, depth + 1);
      }
      line(depth);
      add("]");
    } else {
      add(json::write(v));
    }
  }

 private:
  void add(std::string_view text) { out.back() += text; }
  void line(std::size_t depth) { out.emplace_back(depth, ' '); }
  void next(bool& first, std::size_t depth) {
    if (!first) add(",");
    first = false;
    line(depth);
  }
};

lines lines_of(const json::value& v) {
  printer p;
  p.print(v, 0);
  return std::move(p.out);
}

struct span {
  std::size_t begin, end;
  std::size_t size() const { return end - begin; }
};
struct match {
  std::size_t a, b, size;
};

// The longest run of lines that both have, then the longest before and behind it, and so on.
class matcher {
 public:
  matcher(const lines& a, const lines& b) : a_(a), b_(b) {
    for (std::size_t j = 0; j < b.size(); ++j) where_[b[j]].push_back(j);
    // In long texts lines that are everywhere ("},") say nothing.
    constexpr std::size_t long_text = 200, percent = 100;
    if (b.size() >= long_text) std::erase_if(where_, [&](auto& w) { return w.second.size() > b.size() / percent + 1; });
  }

  // Ascending, without those that touch; false when it takes too long.
  bool find(std::vector<match>& out) {
    struct todo {
      span a, b;
      match found;
      bool is_match;
    };
    std::vector<todo> stack{{{0, a_.size()}, {0, b_.size()}, {}, false}};
    while (!stack.empty()) {
      auto next = stack.back();
      stack.pop_back();
      if (next.is_match) {
        if (!out.empty() && out.back().a + out.back().size == next.found.a &&
            out.back().b + out.back().size == next.found.b)
          out.back().size += next.found.size;
        else
          out.push_back(next.found);
        continue;
      }
      auto m = longest(next.a, next.b);
      if (steps_ > difference_steps_max) return false;
      if (m.size == 0) continue;
      if (m.a + m.size < next.a.end && m.b + m.size < next.b.end)
        stack.push_back({{m.a + m.size, next.a.end}, {m.b + m.size, next.b.end}, {}, false});
      stack.push_back({{}, {}, m, true});
      if (next.a.begin < m.a && next.b.begin < m.b)
        stack.push_back({{next.a.begin, m.a}, {next.b.begin, m.b}, {}, false});
    }
    return true;
  }

 private:
  match longest(span a, span b) {
    match best{a.begin, b.begin, 0};
    std::unordered_map<std::size_t, std::size_t> lengths, fresh;  // of runs that end at a line of b
    for (auto i = a.begin; i < a.end; ++i) {
      fresh.clear();
      if (auto w = where_.find(a_[i]); w != where_.end()) {
        for (auto j = std::lower_bound(w->second.begin(), w->second.end(), b.begin); j != w->second.end() && *j < b.end;
             ++j) {
          auto before = *j > 0 ? lengths.find(*j - 1) : lengths.end();
          auto size = (before == lengths.end() ? 0 : before->second) + 1;
          fresh[*j] = size;
          if (size > best.size) best = {i + 1 - size, *j + 1 - size, size};
          ++steps_;
        }
      }
      ++steps_;
      std::swap(lengths, fresh);
    }
    while (best.a > a.begin && best.b > b.begin && a_[best.a - 1] == b_[best.b - 1])
      best = {best.a - 1, best.b - 1, best.size + 1};
    while (best.a + best.size < a.end && best.b + best.size < b.end && a_[best.a + best.size] == b_[best.b + best.size])
      ++best.size;
    return best;
  }

  const lines &a_, &b_;
  std::unordered_map<std::string_view, std::vector<std::size_t>> where_;  // lines of b
  std::size_t steps_ = 0;
};

struct piece {
  bool equal;
  span a, b;
};

constexpr std::size_t around = 3;

// Pieces of both texts in turn, in groups that lie apart.
std::vector<std::vector<piece>> groups_of(const std::vector<match>& matches, std::size_t a_size, std::size_t b_size) {
  std::vector<piece> pieces;
  std::size_t i = 0, j = 0;
  auto step = [&](std::size_t a, std::size_t b, std::size_t size) {
    if (i < a || j < b) pieces.push_back({false, {i, a}, {j, b}});
    if (size > 0) pieces.push_back({true, {a, a + size}, {b, b + size}});
    i = a + size;
    j = b + size;
  };
  for (auto& m : matches) step(m.a, m.b, m.size);
  step(a_size, b_size, 0);
  auto first_lines = [](span s) { return span{s.begin, std::min(s.end, s.begin + around)}; };
  auto last_lines = [](span s) { return span{s.end - std::min(s.size(), around), s.end}; };
  if (!pieces.empty() && pieces.front().equal)
    pieces.front() = {true, last_lines(pieces.front().a), last_lines(pieces.front().b)};
  if (!pieces.empty() && pieces.back().equal)
    pieces.back() = {true, first_lines(pieces.back().a), first_lines(pieces.back().b)};
  std::vector<std::vector<piece>> out(1);
  for (auto& p : pieces) {
    if (p.equal && p.a.size() > 2 * around) {
      out.back().push_back({true, first_lines(p.a), first_lines(p.b)});
      out.emplace_back();
      p = {true, last_lines(p.a), last_lines(p.b)};
    }
    out.back().push_back(p);
  }
  std::erase_if(out, [](auto& g) { return g.empty() || (g.size() == 1 && g[0].equal); });
  return out;
}

std::string range_text(std::size_t begin, std::size_t end) {
  auto size = end - begin;
  if (size == 1) return std::to_string(begin + 1);
  return fmt::format("{},{}", size == 0 ? begin : begin + 1, size);
}

}  // namespace

std::string difference_text(const json::value& before, const json::value& after) {
  const auto a = lines_of(before), b = lines_of(after);
  if (a.size() + b.size() > difference_lines_max) return {};
  std::vector<match> matches;
  if (!matcher(a, b).find(matches)) return {};
  std::string out;
  auto tell = [&](char sign, const lines& text, span s) {
    for (auto i = s.begin; i < s.end; ++i) out += sign + text[i] + "\n";
  };
  for (auto& group : groups_of(matches, a.size(), b.size())) {
    out += fmt::format("@@ -{} +{} @@\n", range_text(group.front().a.begin, group.back().a.end),
                       range_text(group.front().b.begin, group.back().b.end));
    for (auto& p : group) {
      tell(p.equal ? ' ' : '-', a, p.a);
      if (!p.equal) tell('+', b, p.b);
    }
  }
  return out;
}

}  // namespace kedge::api
