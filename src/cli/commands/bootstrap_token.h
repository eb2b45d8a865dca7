// bootstrap_token.h: tokens that let nodes join for a while, as Secrets kube-system/bootstrap-token-<id>, and as lines
// of text.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/time.h"
#include "json/value.h"

namespace kedge::cli::commands {

struct bootstrap_token {
  std::string id, secret;  // 6 and 16 characters
  std::string description;
  std::optional<wall_time> expires;  // nothing: never
  std::vector<std::string> usages;   // signing, authentication
  std::vector<std::string> groups;   // system:bootstrappers:…
};

inline constexpr std::string_view bootstrap_secrets_path = "/api/v1/namespaces/kube-system/secrets";
std::string bootstrap_secret_name(std::string_view id);

// errc::invalid with the flag's name for usages and groups that the server would not honour.
result<void> check_usages(std::span<const std::string> usages);
result<void> check_groups(std::span<const std::string> groups);

// The id that `text` means: an id, a bootstrap token, or a full token K10…::<id>.<secret>. errc::invalid for other
// text.
result<std::string> bootstrap_id_of(std::string_view text);

json::value to_secret(const bootstrap_token& t);
// errc::invalid for a Secret that holds no whole token.
result<bootstrap_token> from_secret(const json::value& secret);

// A table for people, which shows no secret; and a list for programs, which does, in kubeadm's field names.
std::string token_table(std::span<const bootstrap_token> tokens, wall_time now);
json::value token_list(std::span<const bootstrap_token> tokens);

// A span as kubectl prints ages: 23h, 5d3h, 90s.
std::string short_span(duration d);

}  // namespace kedge::cli::commands
