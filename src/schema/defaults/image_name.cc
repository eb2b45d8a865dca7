#include "schema/defaults/image_name.h"

#include <algorithm>

namespace kedge::schema::defaults {
namespace {

constexpr std::size_t path_max = 255, tag_max = 128, identifier_size = 64;
constexpr std::string_view usual_folder = "library/";

constexpr bool digit(char c) { return c >= '0' && c <= '9'; }
constexpr bool small(char c) { return digit(c) || (c >= 'a' && c <= 'z'); }
constexpr bool any_case(char c) { return small(c) || (c >= 'A' && c <= 'Z'); }
constexpr bool hex_digit(char c) { return digit(c) || (c >= 'a' && c <= 'f'); }

bool is_tag(std::string_view s) {
  return !s.empty() && s.size() <= tag_max && s[0] != '.' && s[0] != '-' &&
         std::ranges::all_of(s, [](char c) { return any_case(c) || c == '_' || c == '.' || c == '-'; });
}

bool is_digest(std::string_view s) {
  auto colon = s.find(':');
  if (colon == s.npos) return false;
  auto algorithm = s.substr(0, colon), sum = s.substr(colon + 1);
  auto size = algorithm == "sha256" ? 64u : algorithm == "sha384" ? 96u : algorithm == "sha512" ? 128u : 0u;
  return size && sum.size() == size && std::ranges::all_of(sum, hex_digit);
}

// Letters and digits, with one point, one or two underscores or any dashes between them.
bool is_path_part(std::string_view s) {
  if (s.empty() || !small(s.front()) || !small(s.back())) return false;
  for (std::size_t i = 0; i < s.size();) {
    if (small(s[i])) {
      ++i;
      continue;
    }
    auto run = i;
    while (run < s.size() && s[run] == s[i]) ++run;
    const bool good = s[i] == '-' || (s[i] == '.' && run - i == 1) || (s[i] == '_' && run - i <= 2);
    if (!good || run == s.size() || !small(s[run])) return false;
    i = run;
  }
  return true;
}

bool is_host(std::string_view s) {
  if (auto colon = s.rfind(':'); colon != s.npos && !s.ends_with(']')) {
    auto port = s.substr(colon + 1);
    if (port.empty() || !std::ranges::all_of(port, digit)) return false;
    s = s.substr(0, colon);
  }
  if (s.starts_with('[')) {
    auto inner = s.substr(1, s.size() - 2);
    return s.ends_with(']') && !inner.empty() &&
           std::ranges::all_of(inner, [](char c) { return hex_digit(c) || (c >= 'A' && c <= 'F') || c == ':'; });
  }
  for (std::size_t from = 0; from <= s.size();) {
    auto end = std::min(s.find('.', from), s.size());
    auto label = s.substr(from, end - from);
    if (label.empty() || label.front() == '-' || label.back() == '-' ||
        !std::ranges::all_of(label, [](char c) { return any_case(c) || c == '-'; }))
      return false;
    from = end + 1;
  }
  return true;
}

bool is_path(std::string_view s) {
  if (s.size() > path_max) return false;
  for (std::size_t from = 0; from <= s.size();) {
    auto end = std::min(s.find('/', from), s.size());
    if (!is_path_part(s.substr(from, end - from))) return false;
    from = end + 1;
  }
  return true;
}

// Whether what stands before the first slash is a host, and not a folder of the usual one.
bool names_host(std::string_view first) {
  return first == "localhost" || first.find_first_of(".:") != first.npos ||
         std::ranges::any_of(first, [](char c) { return c >= 'A' && c <= 'Z'; });
}

}  // namespace

std::string_view image_tag(std::string_view image) noexcept {
  if (image.size() == identifier_size && std::ranges::all_of(image, hex_digit)) return {};
  auto at = image.find('@');
  if (at != image.npos && !is_digest(image.substr(at + 1))) return {};
  auto name = image.substr(0, at);
  auto slash = name.find('/'), last = name.rfind('/');
  std::string_view tag;
  if (auto colon = name.find(':', last == name.npos ? 0 : last); colon != name.npos) {
    tag = name.substr(colon + 1);
    if (!is_tag(tag)) return {};
    name = name.substr(0, colon);
  }
  auto first = slash == name.npos ? std::string_view() : name.substr(0, slash);
  if (!first.empty() && names_host(first)) {
    // A host that is none may still be a folder, as "a_b.c" is.
    if (!(is_host(first) && is_path(name.substr(slash + 1))) && !is_path(name)) return {};
  } else if (!is_path(name) || name.size() + (slash == name.npos ? usual_folder.size() : 0) > path_max) {
    return {};
  }
  if (tag.empty() && at == image.npos) return "latest";
  return tag;
}

}  // namespace kedge::schema::defaults
