#include "api/authentication/token_file.h"

#include <fmt/format.h>

#include <algorithm>

namespace kedge::api {
namespace {

// The fields of one line of CSV; nullopt where quotes don't match.
std::optional<std::vector<std::string>> csv_fields(std::string_view line) {
  std::vector<std::string> out(1);
  bool quoted = false;
  for (std::size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    if (c == '"' && quoted && i + 1 < line.size() && line[i + 1] == '"') {
      out.back() += '"';
      ++i;
    } else if (c == '"') {
      quoted = !quoted;
    } else if (c == ',' && !quoted) {
      out.emplace_back();
    } else {
      out.back() += c;
    }
  }
  if (quoted) return std::nullopt;
  for (auto& field : out) field = trim(field);
  return out;
}

}  // namespace

result<std::shared_ptr<token_file>> token_file::parse(std::string_view text, std::vector<std::string>& warnings) {
  auto out = std::make_shared<token_file>();
  std::size_t number = 0;
  for (auto line : split(text, '\n')) {
    ++number;
    line = trim(line);
    if (line.empty() || line.starts_with('#')) continue;
    auto fields = csv_fields(line);
    if (!fields) return fail(errc::invalid, fmt::format("line {}: a quote is not closed", number));
    if (fields->size() < 3)
      return fail(errc::invalid, fmt::format("line {}: token file must have at least 3 columns (token, user name, user "
                                             "uid), found {}",
                                             number, fields->size()));
    if ((*fields)[0].empty()) {
      warnings.push_back(fmt::format("line {}: empty token has been found", number));
      continue;
    }
    user_info user{.name = (*fields)[1], .uid = (*fields)[2]};
    if (fields->size() > 3)
      for (auto group : split((*fields)[3], ','))
        if (!group.empty()) user.groups.emplace_back(group);
    if (!out->users_.insert_or_assign(token_authenticator::fingerprint_of((*fields)[0]), std::move(user)).second)
      warnings.push_back(fmt::format("line {}: duplicate token has been found", number));
  }
  return out;
}

task<result<std::optional<token_identity>>> token_file::identify(std::string token, std::vector<std::string> wanted) {
  auto found = users_.find(token_authenticator::fingerprint_of(token));
  if (found == users_.end()) co_return std::nullopt;
  auto audiences = api_audiences_;
  if (!wanted.empty()) std::erase_if(audiences, [&](auto& a) { return std::ranges::find(wanted, a) == wanted.end(); });
  if (audiences.empty()) co_return std::nullopt;
  co_return token_identity{found->second, std::move(audiences)};
}

}  // namespace kedge::api
