#include "api/custom/field_path.h"

#include <fmt/format.h>

namespace kedge::api::custom {
namespace {

bool is_delimiter(char c) { return c == '.' || c == '[' || c == ']'; }

// The next piece: a delimiter, a text in single quotes, or what stands before the next delimiter. Empty at the end.
std::string_view next_piece(std::string_view& rest) {
  auto take = [&](std::size_t n) {
    auto out = rest.substr(0, n);
    rest.remove_prefix(n);
    return out;
  };
  if (rest.empty()) return {};
  if (rest[0] == '\'') {
    for (std::size_t i = 1; i < rest.size(); ++i)
      if (rest[i] == '\'' && rest[i - 1] != '\\') return take(i + 1);
    return take(rest.size());
  }
  if (is_delimiter(rest[0])) return take(1);
  std::size_t n = 0;
  while (n < rest.size() && !is_delimiter(rest[n])) ++n;
  return take(n);
}

std::expected<std::string, std::string> unescaped(std::string_view text) {
  constexpr std::string_view from = "abfnrtv'\\", to = "\a\b\f\n\r\t\v'\\";
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\\' || i + 1 == text.size()) {
      out += text[i];
      continue;
    }
    auto at = from.find(text[++i]);
    if (at == from.npos)
      return std::unexpected(fmt::format("invalid string literal: invalid escape char \\{}", text[i]));
    out += to[at];
  }
  return out;
}

}  // namespace

std::expected<found_field, std::string> find_field(std::string_view path, const json::value& schema, bool quoted) {
  constexpr auto nowhere = "does not refer to a valid field", ends = "unexpected end of JSON path";
  std::string text;
  auto at = &schema;
  // A step into a property, or a key of a map.
  auto enter = [&](const std::string& name) -> std::expected<void, std::string> {
    auto& properties = (*at)["properties"];
    if (properties.is_object() && !properties.empty()) {
      auto found = properties.find(name);
      if (!found) return std::unexpected(nowhere);
      text += (text.empty() ? "" : ".") + name;
      at = found;
    } else if ((*at)["additionalProperties"].is_object()) {
      text += fmt::format("[{}]", name);
      at = &(*at)["additionalProperties"];
    } else {
      return std::unexpected(nowhere);
    }
    return {};
  };
  while (!path.empty()) {
    auto piece = next_piece(path);
    if (piece == ".") {
      piece = next_piece(path);
      if (piece.empty()) return std::unexpected(ends);
      if (auto ok = enter(std::string(piece)); !ok) return std::unexpected(ok.error());
    } else if (piece == "[") {
      if (!quoted) return std::unexpected("array notation is not allowed");
      piece = next_piece(path);
      if (piece.empty()) return std::unexpected(ends);
      if (piece.size() < 2 || piece.front() != '\'' || piece.back() != '\'')
        return std::unexpected(fmt::format("expected single quoted string but got {}", piece));
      auto name = unescaped(piece.substr(1, piece.size() - 2));
      if (!name) return std::unexpected(std::move(name.error()));
      if (auto ok = enter(*name); !ok) return std::unexpected(ok.error());
      piece = next_piece(path);
      if (piece.empty()) return std::unexpected(ends);
      if (piece != "]") return std::unexpected(fmt::format("expected ] but got {}", piece));
    } else {
      return std::unexpected(fmt::format("expected [ or . but got: {}", piece));
    }
  }
  return found_field{std::move(text), *at};
}

}  // namespace kedge::api::custom
