#include "node/mirror/request.h"

#include <algorithm>

#include "base/strings.h"

namespace kedge::node {

namespace {

constexpr std::size_t repository_bytes_max = 255, tag_bytes_max = 128;  // the specification's
constexpr std::string_view root = "/v2/";

bool is_lower_or_digit(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }

// [a-z0-9]+(([._-]|-+)[a-z0-9]+)* between slashes, or nearly so: nothing that a path would take for a way.
bool is_repository(std::string_view text) {
  if (text.empty() || text.size() > repository_bytes_max) return false;
  return std::ranges::all_of(split(text, '/'), [](std::string_view part) {
    return !part.empty() && !part.contains("..") && is_lower_or_digit(part.front()) && is_lower_or_digit(part.back()) &&
           std::ranges::all_of(part,
                               [](char c) { return is_lower_or_digit(c) || std::string_view("._-").contains(c); });
  });
}

bool is_tag(std::string_view text) {
  auto is_word = [](char c) { return is_lower_or_digit(lower({&c, 1}).front()) || c == '_'; };
  return !text.empty() && text.size() <= tag_bytes_max && is_word(text.front()) &&
         std::ranges::all_of(text, [&](char c) { return is_word(c) || c == '.' || c == '-'; });
}

bool is_host(std::string_view text) {
  return !text.empty() && text.size() <= repository_bytes_max && std::ranges::all_of(text, [](char c) {
    return is_lower_or_digit(lower({&c, 1}).front()) || std::string_view(".-_:[]").contains(c);
  });
}

std::string namespace_of(std::string_view query) {
  for (auto part : split(query, '&'))
    if (part.starts_with("ns=")) return percent_decode(part.substr(3), true).value_or(std::string());
  return {};
}

std::unexpected<error> nothing() { return fail(errc::not_found, "a mirror of images has nothing like that"); }

}  // namespace

bool is_sha256_digest(std::string_view text) {
  constexpr std::string_view prefix = "sha256:";
  if (!text.starts_with(prefix) || text.size() != prefix.size() + 64) return false;
  return std::ranges::all_of(text.substr(prefix.size()),
                             [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

std::string mirror_request::target() const {
  return std::string(root) + repository + (manifest ? "/manifests/" : "/blobs/") + (tag.empty() ? digest : tag) +
         "?ns=" + percent_encode(registry);
}

result<mirror_request> parse_mirror_request(std::string_view path, std::string_view query) {
  if (!path.starts_with(root)) return nothing();
  path.remove_prefix(root.size());
  auto last = path.rfind('/');
  if (last == std::string_view::npos || last == 0) return nothing();
  auto kind = path.rfind('/', last - 1);
  if (kind == std::string_view::npos) return nothing();
  mirror_request out;
  out.registry = namespace_of(query);
  out.repository = path.substr(0, kind);
  auto word = path.substr(kind + 1, last - kind - 1);
  auto reference = percent_decode(path.substr(last + 1), false).value_or(std::string());
  out.manifest = word == "manifests";
  if (!out.manifest && word != "blobs") return nothing();
  if (!is_host(out.registry) || !is_repository(out.repository)) return nothing();
  if (is_sha256_digest(reference))
    out.digest = std::move(reference);
  else if (out.manifest && is_tag(reference))
    out.tag = std::move(reference);
  else
    return nothing();
  return out;
}

shared_registries::shared_registries(const registries& r) {
  for (auto& [host, mirror] : r.mirrors) {
    if (host == "*")
      all_ = true;
    else if (!is_of_this_machine(host))
      names_.emplace(registry_name(host));
  }
}

bool shared_registries::has(std::string_view registry) const {
  return names_.contains(registry_name(registry)) || (all_ && !is_of_this_machine(registry));
}

std::string_view shared_registries::label(std::string_view registry) const {
  return names_.contains(registry_name(registry)) ? registry_name(registry) : "*";
}

}  // namespace kedge::node
