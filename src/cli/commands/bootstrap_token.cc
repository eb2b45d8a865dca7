#include "cli/commands/bootstrap_token.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/strings.h"
#include "crypto/token.h"

namespace kedge::cli::commands {
namespace {

constexpr std::string_view usage_prefix = "usage-bootstrap-";
constexpr std::string_view known_usages[] = {"signing", "authentication"};
constexpr std::string_view group_prefix = "system:bootstrappers:";
constexpr std::size_t group_max_bytes = 256;  // behind the prefix; Kubernetes' pattern

bool is_lower_or_digit(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }

result<std::string> field(const json::value& secret, std::string_view name) {
  auto text = unbase64(secret["data"][name].as_string());
  if (!text)
    return fail(std::move(text).error().with(fmt::format("{}: {}: ", secret["metadata"]["name"].as_string(), name)));
  return text;
}

std::string or_none(std::string text) { return text.empty() ? "<none>" : text; }

}  // namespace

std::string bootstrap_secret_name(std::string_view id) { return fmt::format("bootstrap-token-{}", id); }

result<void> check_usages(std::span<const std::string> usages) {
  if (usages.empty()) return fail(errc::invalid, "--usages: at least one of signing and authentication is wanted");
  for (const auto& usage : usages)
    if (std::find(std::begin(known_usages), std::end(known_usages), usage) == std::end(known_usages))
      return fail(errc::invalid, fmt::format("--usages: {} is neither signing nor authentication", quote(usage)));
  return {};
}

result<void> check_groups(std::span<const std::string> groups) {
  for (const auto& group : groups) {
    const auto rest =
        group.starts_with(group_prefix) ? std::string_view(group).substr(group_prefix.size()) : std::string_view();
    const bool good =
        !rest.empty() && rest.size() <= group_max_bytes && is_lower_or_digit(rest.back()) &&
        std::all_of(rest.begin(), rest.end(), [](char c) { return is_lower_or_digit(c) || c == ':' || c == '-'; });
    if (!good)
      return fail(errc::invalid,
                  fmt::format("--groups: {} is not a group of the form system:bootstrappers:NAME", quote(group)));
  }
  return {};
}

result<std::string> bootstrap_id_of(std::string_view text) {
  if (text.size() == 6 && std::all_of(text.begin(), text.end(), is_lower_or_digit)) return std::string(text);
  if (const auto parsed = crypto::parse_token(text); parsed && !parsed->bearer.empty())
    return parsed->bearer.substr(0, 6);
  return fail(errc::invalid,
              "neither a bootstrap token nor the 6 characters that name one");  // it may be a secret: not shown
}

json::value to_secret(const bootstrap_token& t) {
  json::object data;
  const auto add = [&](std::string_view name, std::string_view text) { data.set(name, base64(as_bytes(text))); };
  add("token-id", t.id);
  add("token-secret", t.secret);
  if (!t.description.empty()) add("description", t.description);
  if (t.expires) add("expiration", format_rfc3339(*t.expires));
  for (const auto& usage : t.usages) add(fmt::format("{}{}", usage_prefix, usage), "true");
  if (!t.groups.empty()) add("auth-extra-groups", join(t.groups, ","));
  return json::object{{"apiVersion", "v1"},
                      {"kind", "Secret"},
                      {"metadata", json::object{{"name", bootstrap_secret_name(t.id)}, {"namespace", "kube-system"}}},
                      {"type", "bootstrap.kubernetes.io/token"},
                      {"data", std::move(data)}};
}

result<bootstrap_token> from_secret(const json::value& secret) {
  bootstrap_token t;
  KEDGE_TRY(t.id, field(secret, "token-id"));
  KEDGE_TRY(t.secret, field(secret, "token-secret"));
  KEDGE_TRY(t.description, field(secret, "description"));
  KEDGE_TRY(const auto expiration, field(secret, "expiration"));
  if (!crypto::is_bootstrap_token(t.id + '.' + t.secret))
    return fail(errc::invalid, fmt::format("{} holds no whole token", secret["metadata"]["name"].as_string()));
  if (!expiration.empty()) { KEDGE_TRY(t.expires, parse_rfc3339(expiration)); }
  for (const auto usage : known_usages)
    if (field(secret, fmt::format("{}{}", usage_prefix, usage)).value_or("") == "true") t.usages.emplace_back(usage);
  KEDGE_TRY(const auto groups, field(secret, "auth-extra-groups"));
  if (!groups.empty())
    for (const auto group : split(groups, ',')) t.groups.emplace_back(trim(group));
  return t;
}

std::string short_span(duration d) {
  using namespace std::chrono;
  const auto s = duration_cast<seconds>(d).count();
  const auto m = s / 60, h = s / 3600, days = s / 86400;
  const auto two = [](auto a, char unit, auto b, char small) {
    return b ? fmt::format("{}{}{}{}", a, unit, b, small) : fmt::format("{}{}", a, unit);
  };
  if (s < 120) return fmt::format("{}s", s);
  if (m < 10) return two(m, 'm', s % 60, 's');
  if (h < 3) return fmt::format("{}m", m);
  if (h < 8) return two(h, 'h', m % 60, 'm');
  if (h < 48) return fmt::format("{}h", h);
  if (days < 8) return two(days, 'd', h % 24, 'h');
  return fmt::format("{}d", days);
}

std::string token_table(std::span<const bootstrap_token> tokens, wall_time now) {
  constexpr const char* row = "{:<9}{:<12}{:<23}{:<25}{}\n";
  auto out = fmt::format(fmt::runtime(row), "TOKEN", "TTL", "EXPIRES", "USAGES", "DESCRIPTION");
  for (const auto& t : tokens) {
    const auto left = !t.expires ? "<forever>" : *t.expires < now ? "<expired>" : short_span(*t.expires - now);
    out += fmt::format(fmt::runtime(row), t.id, left, t.expires ? format_rfc3339(*t.expires) : "<never>",
                       or_none(join(t.usages, ",")), or_none(t.description));
  }
  return out;
}

json::value token_list(std::span<const bootstrap_token> tokens) {
  json::array out;
  for (const auto& t : tokens) {
    json::array usages, groups;
    for (const auto& u : t.usages) usages.push_back(u);
    for (const auto& g : t.groups) groups.push_back(g);
    json::object o{{"token", t.id + '.' + t.secret}, {"description", t.description}};
    if (t.expires) o.set("expires", format_rfc3339(*t.expires));
    o.set("usages", std::move(usages));
    o.set("groups", std::move(groups));
    out.push_back(std::move(o));
  }
  return out;
}

}  // namespace kedge::cli::commands
