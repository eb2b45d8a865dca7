#include "crypto/pem.h"

#include <optional>

#include "base/strings.h"
#include "crypto/limits.h"

namespace kedge::crypto {

namespace {

constexpr std::string_view begin_mark = "-----BEGIN ";
constexpr std::string_view end_mark = "-----END ";
constexpr std::string_view dashes = "-----";

// The content between the BEGIN and END lines: leading "Name: value" lines are headers, the rest is base64.
std::optional<std::string> decode_content(std::string_view content) {
  std::string text;
  text.reserve(content.size());
  bool in_headers = true;
  for (auto line : split(content, '\n')) {
    line = trim(line);
    if (in_headers && line.find(':') != std::string_view::npos) continue;
    if (!line.empty()) in_headers = false;
    text += line;
  }
  if (text.size() % 4) return std::nullopt;  // PEM's base64 is padded
  auto der = unbase64(text);
  if (!der) return std::nullopt;
  return std::move(*der);
}

}  // namespace

result<std::vector<pem_block>> parse_pem(std::string_view text) {
  if (text.size() > pem_max_bytes) return fail(errc::too_large, "PEM text is larger than 1 MiB");
  std::vector<pem_block> out;
  std::size_t end =
      0;  // the END mark found last: looked for again only once passed, so that BEGINs in a row cost no square
  for (std::size_t at = 0; (at = text.find(begin_mark, at)) != std::string_view::npos;) {
    auto start = at;
    at += begin_mark.size();
    if (start > 0 && text[start - 1] != '\n') continue;  // a mark stands at the beginning of a line
    auto line_end = text.find('\n', at);
    if (line_end == std::string_view::npos) break;
    auto type = trim(text.substr(at, line_end - at));
    if (!type.ends_with(dashes)) continue;
    type.remove_suffix(dashes.size());

    if (end < line_end) end = text.find(end_mark, line_end);
    if (end == std::string_view::npos) break;
    // A BEGIN within the block means that this one was cut off: go on with the next.
    if (auto next = text.find(begin_mark, line_end); next < end) {
      at = next;
      continue;
    }
    at = end + end_mark.size();
    auto tail = text.substr(at);
    if (text[end - 1] != '\n' || !tail.starts_with(type) || !tail.substr(type.size()).starts_with(dashes)) continue;
    auto der = decode_content(text.substr(line_end + 1, end - line_end - 1));
    if (!der) continue;
    if (out.size() == pem_blocks_max) return fail(errc::too_large, "PEM text has more than 1024 blocks");
    out.push_back({std::string(type), std::move(*der)});
  }
  return out;
}

std::string write_pem(std::string_view type, bytes der) {
  std::string out;
  auto code = base64(der);
  out.reserve(code.size() + code.size() / 64 + 2 * type.size() + 40);
  out.append(begin_mark).append(type).append(dashes) += '\n';
  for (std::size_t i = 0; i < code.size(); i += 64) out.append(code, i, 64) += '\n';
  out.append(end_mark).append(type).append(dashes) += '\n';
  return out;
}

}  // namespace kedge::crypto
