#include "node/dns/corefile.h"

#include <fmt/format.h>

#include <utility>

#include "node/dns/limits.h"

namespace kedge::node::dns {

namespace {

struct line {
  std::vector<std::string> words;
  unsigned number = 0;
};

error wrong(unsigned number, std::string_view why) { return {errc::invalid, fmt::format("line {}: {}", number, why)}; }

// Lines that have words.
result<std::vector<line>> lines_of(std::string_view text) {
  if (text.size() > corefile_bytes_max) return fail(errc::too_large, "more text than a configuration has");
  std::vector<line> out;
  line now{.words = {}, .number = 1};
  std::string word;
  bool in_word = false, quoted = false, comment = false;
  auto end_word = [&] {
    if (in_word) now.words.push_back(std::exchange(word, {}));
    in_word = false;
  };
  for (std::size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (quoted) {
      if (c == '\\' && i + 1 < text.size() && text[i + 1] == '"')
        word += text[++i];
      else if (c == '"')
        quoted = false;
      else
        word += c;
      continue;
    }
    if (c == '\n') {
      end_word();
      auto number = now.number + 1;
      if (!now.words.empty()) out.push_back(std::exchange(now, {}));
      now.number = number;
      comment = false;
    } else if (comment) {
      continue;
    } else if (c == ' ' || c == '\t' || c == '\r') {
      end_word();
    } else if (c == '#' && !in_word) {
      comment = true;
    } else if (c == '"' && !in_word) {
      in_word = quoted = true;
    } else {
      in_word = true;
      word += c;
    }
  }
  if (quoted) return fail(wrong(now.number, "a quote has no end"));
  end_word();
  if (!now.words.empty()) out.push_back(std::move(now));
  return out;
}

bool opens(const line& l) { return l.words.size() > 1 && l.words.back() == "{"; }
bool closes(const line& l) { return l.words.size() == 1 && l.words[0] == "}"; }

// Plugins up to the brace that ends them, or to the text's end where they stand alone.
result<std::vector<corefile_line>> plugins_of(const std::vector<line>& all, std::size_t& at, bool alone) {
  std::vector<corefile_line> out;
  while (at < all.size()) {
    auto& l = all[at++];
    if (closes(l)) {
      if (alone) return fail(wrong(l.number, "a brace that nothing opens"));
      return out;
    }
    corefile_line one{.words = l.words, .block = {}};
    if (opens(l)) {
      one.words.pop_back();
      for (;; ++at) {
        if (at == all.size()) return fail(wrong(l.number, "a block has no end"));
        if (closes(all[at])) break;
        if (opens(all[at])) return fail(wrong(all[at].number, "no plugin has a block within its block"));
        one.block.push_back(all[at].words);
      }
      ++at;
    }
    if (one.words[0] == "{") return fail(wrong(l.number, "a block of nothing"));
    out.push_back(std::move(one));
  }
  if (!alone) return fail(wrong(all.empty() ? 1 : all.back().number, "a server block has no end"));
  return out;
}

}  // namespace

result<std::vector<corefile_line>> parse_plugins(std::string_view text) {
  KEDGE_TRY(auto all, lines_of(text));
  std::size_t at = 0;
  return plugins_of(all, at, true);
}

result<std::vector<corefile_server>> parse_servers(std::string_view text) {
  KEDGE_TRY(auto all, lines_of(text));
  std::vector<corefile_server> out;
  for (std::size_t at = 0; at < all.size();) {
    corefile_server one;
    if (all[at].words.size() == 2 && all[at].words[0] == "import") {
      one.import = all[at++].words[1];
      out.push_back(std::move(one));
      continue;
    }
    // Its zones may go over lines, each but the last of which ends with a comma.
    for (bool open = false; !open;) {
      if (at == all.size()) return fail(wrong(all.back().number, "a server block begins with its zones and a brace"));
      auto& l = all[at++];
      auto words = l.words;
      open = words.back() == "{";
      if (open) words.pop_back();
      for (auto& w : words) {
        if (w == "{" || w == "}") return fail(wrong(l.number, "a brace that is out of place"));
        if (w.ends_with(',')) w.pop_back();
        if (!w.empty()) one.zones.push_back(std::move(w));
      }
    }
    if (one.zones.empty()) return fail(wrong(all[at - 1].number, "a server block of no zone"));
    KEDGE_TRY(one.plugins, plugins_of(all, at, false));
    out.push_back(std::move(one));
  }
  return out;
}

}  // namespace kedge::node::dns
