// token.cc: `kedge token …`: join tokens, which a running server keeps as Secrets, and the change of the cluster's own
// token.
#include <fmt/format.h>

#include "base/random.h"
#include "base/strings.h"
#include "cli/checks.h"
#include "cli/commands/admin.h"
#include "cli/commands/bootstrap_token.h"
#include "cli/commands/commands.h"
#include "cli/commands/common_flags.h"
#include "crypto/files.h"
#include "crypto/token.h"
#include "json/parse.h"
#include "json/write.h"
#include "reactor/stream.h"

namespace kedge::cli::commands {
namespace {

constexpr std::string_view default_ttl = "24h0m0s", default_usages = "signing,authentication",
                           default_groups = "system:bootstrappers:k3s:default-node-token", default_output = "text";

constexpr flag kubeconfig_flag = {.name = "kubeconfig",
                                  .env = "KUBECONFIG",
                                  .who = audience::both,
                                  .help = "Administrator's kubeconfig (default: the data directory's)"};

constexpr flag flags_of_create[] = {
    data_dir_flag,
    kubeconfig_flag,
    {.name = "description", .who = audience::both, .help = "What the token is for, as people read it"},
    {.name = "groups",
     .who = audience::both,
     .kind = value_kind::list,
     .fallback = default_groups,
     .comma_separated = true,
     .help = "Groups that who comes with the token belongs to besides"},
    {.name = "ttl",
     .who = audience::both,
     .kind = value_kind::duration,
     .fallback = default_ttl,
     .help = "How long it is good: 1s, 2m, 3h; 0: for ever"},
    {.name = "usages",
     .who = audience::both,
     .kind = value_kind::list,
     .fallback = default_usages,
     .comma_separated = true,
     .help = "What it may be used for"},
    {.name = "print",
     .who = audience::both,
     .kind = value_kind::boolean,
     .fallback = "true",
     .help = "Print the new token"},
    {.name = "print-join-command",
     .who = audience::both,
     .kind = value_kind::boolean,
     .help = "Print the whole command that makes another machine a node by this token"},
};
constexpr flag flags_of_list[] = {
    data_dir_flag,
    kubeconfig_flag,
    {.name = "output",
     .short_name = 'o',
     .who = audience::both,
     .fallback = default_output,
     .help = "text, table, json or yaml"},
};
constexpr flag flags_of_delete[] = {data_dir_flag, kubeconfig_flag};
constexpr flag flags_of_generate[] = {data_dir_flag, kubeconfig_flag};
constexpr flag flags_of_rotate[] = {
    data_dir_flag,
    kubeconfig_flag,
    {.name = "token",
     .short_name = 't',
     .env = "K3S_TOKEN",
     .who = audience::both,
     .secret = true,
     .help = "The token as it is now (default: from the data directory)"},
    server_flag,
    {.name = "new-token",
     .who = audience::both,
     .secret = true,
     .help = "The token as it shall be (default: a random one)"},
};

// A list flag's values, or its default.
std::vector<std::string> values_or_default(const scanned& given, std::string_view name, std::string_view otherwise) {
  if (given.has(name)) return given.values(name);
  std::vector<std::string> out;
  for (const auto part : split(otherwise, ',')) out.emplace_back(part);
  return out;
}

result<bootstrap_token> wanted_token(const scanned& given, wall_time now) {
  if (given.positional.size() > 1) return fail(errc::invalid, "one token at a time");
  const auto text =
      given.positional.empty() ? crypto::generate_bootstrap_token(system_random()) : given.positional.front();
  if (!crypto::is_bootstrap_token(text))
    return fail(errc::invalid,
                "the token must have the form abcdef.0123456789abcdef: lower-case letters and digits (see kedge token "
                "generate)");
  bootstrap_token t{.id = text.substr(0, 6), .secret = text.substr(7), .description = given.value("description")};
  const auto span = given.value("ttl", default_ttl);
  const auto ttl = parse_duration(span == "0" ? "0s" : span);
  if (!ttl || *ttl < duration::zero())
    return fail(errc::invalid, fmt::format("--ttl: {} is not a span such as 24h", quote(span)));
  if (*ttl > duration::zero()) t.expires = now + *ttl;
  t.usages = values_or_default(given, "usages", default_usages);
  t.groups = values_or_default(given, "groups", default_groups);
  KEDGE_CHECK(check_usages(t.usages));
  KEDGE_CHECK(check_groups(t.groups));
  return t;
}

// Where other machines find the servers: what the kubernetes Service leads to, since a kubeconfig names this machine.
result<std::string> url_for_others(const admin_access& admin) {
  KEDGE_TRY(const auto text, ask(admin, {.path = "/api/v1/namespaces/default/endpoints/kubernetes"}));
  KEDGE_TRY(const auto endpoints, json::parse(text));
  const auto& subset = endpoints["subsets"][0];
  const auto address = subset["addresses"][0]["ip"].as_string();
  if (address.empty()) return fail(errc::unavailable, "no server is ready yet, so there is none to join");
  return "https://" + reactor::endpoint{std::string(address),
                                        static_cast<std::uint16_t>(subset["ports"][0]["port"].as_integer(6443))}
                          .text();
}

result<void> create(const scanned& given, const machine& here) {
  const auto now = system_wall_time();
  KEDGE_TRY(const auto token, wanted_token(given, now));
  KEDGE_TRY(const auto admin, administrator(given, here));
  auto made = ask(
      admin, {.method = "POST", .path = std::string(bootstrap_secrets_path), .body = json::write(to_secret(token))});
  if (!made && made.error().code == errc::already_exists)
    return fail(
        errc::already_exists,
        fmt::format("there is a token {} already; delete it first (kedge token delete {})", token.id, token.id));
  if (!made) return fail(std::move(made).error());
  if (!parse_bool(given.value("print", "true")).value_or(true)) return {};
  std::string hash;
  if (!admin.ca_pem.empty()) { KEDGE_TRY(hash, crypto::ca_hash(admin.ca_pem, now)); }
  const auto text =
      crypto::token{.ca_hash = hash, .user = "", .password = "", .bearer = token.id + '.' + token.secret}.format();
  if (given.value("print-join-command") != "true") {
    fmt::print("{}\n", text);
    return {};
  }
  KEDGE_TRY(const auto url, url_for_others(admin));
  fmt::print("kedge agent --server {} --token {}\n", url, text);
  return {};
}

result<void> list(const scanned& given, const machine& here) {
  const auto format = given.value("output", default_output);
  if (const auto complaint = check_output_format(format))
    return fail(errc::invalid, fmt::format("--output: {} {}", quote(format), *complaint));
  KEDGE_TRY(const auto admin, administrator(given, here));
  KEDGE_TRY(const auto text, ask(admin, {.path = fmt::format("{}?fieldSelector=type%3Dbootstrap.kubernetes.io%2Ftoken",
                                                             bootstrap_secrets_path)}));
  KEDGE_TRY(const auto document, json::parse(text));
  std::vector<bootstrap_token> tokens;
  if (const auto* items = document["items"].array())
    for (const auto& item : *items) {
      auto token = from_secret(item);
      if (token)
        tokens.push_back(*std::move(token));
      else
        fmt::print(stderr, "left out: {}\n", token.error().message);
    }
  if (format == "json")
    fmt::print("{}\n", json::write_indented(token_list(tokens), 2));
  else if (format == "yaml")
    fmt::print("{}", json::write_yaml(token_list(tokens)));
  else
    fmt::print("{}", token_table(tokens, system_wall_time()));
  return {};
}

result<void> remove(const scanned& given, const machine& here) {
  if (given.positional.empty()) return fail(errc::invalid, "which token? kedge token delete ID …");
  std::vector<std::string> ids;  // all are understood before the first is deleted
  for (const auto& text : given.positional) { KEDGE_TRY(ids.emplace_back(), bootstrap_id_of(text)); }
  KEDGE_TRY(const auto admin, administrator(given, here));
  for (const auto& id : ids) {
    auto done = ask(
        admin, {.method = "DELETE", .path = fmt::format("{}/{}", bootstrap_secrets_path, bootstrap_secret_name(id))});
    if (!done && done.error().code == errc::not_found)
      return fail(errc::not_found, fmt::format("there is no token {}", id));
    if (!done) return fail(std::move(done).error());
    fmt::print("bootstrap token {} deleted\n", quote(id));
  }
  return {};
}

result<void> rotate(const scanned& given, const machine& here) {
  const auto wanted = given.value("new-token");
  if (!wanted.empty()) KEDGE_CHECK(crypto::normalize_token(wanted));
  KEDGE_TRY(const auto access, as_server(given, here));
  KEDGE_TRY(
      const auto text,
      ask(access, {.method = "PUT", .path = "/v1-k3s/token", .body = json::write(json::object{{"newToken", wanted}})}));
  fmt::print(
      "Token rotated. It stands in server/token of the servers' data directories, and the old one opens nothing any "
      "more; who joins from "
      "now on needs the new one, as do configurations with --token or K3S_TOKEN.\n");
  std::string behind;
  if (const auto answer = json::parse(text); answer)
    for (std::size_t i = 0; i < (*answer)["without"].size(); ++i)
      fmt::format_to(std::back_inserter(behind), "{}{}", i ? ", " : "", (*answer)["without"][i].as_string());
  if (!behind.empty())
    fmt::print(
        "These servers don't have it yet, and take no joins until they have: {}. Kedge's take it over by themselves; "
        "K3s's know it when they are started with it.\n",
        behind);
  return {};
}

// `words`: the command takes words besides flags.
int run(std::string_view name, std::span<const flag> flags, bool words, const invocation& call,
        result<void> (*work)(const scanned&, const machine&)) {
  const auto given = words ? scan(flags, audience::both, call.arguments) : scan_flags_only(flags, call.arguments);
  if (!given) return report(name, given.error());
  const auto done = work(*given, call.here);
  return done ? 0 : report(name, done.error());
}

}  // namespace

std::span<const flag> token_create_flags() { return flags_of_create; }
std::span<const flag> token_list_flags() { return flags_of_list; }
std::span<const flag> token_delete_flags() { return flags_of_delete; }
std::span<const flag> token_rotate_flags() { return flags_of_rotate; }
std::span<const flag> token_generate_flags() { return flags_of_generate; }

int token_create(const invocation& call) { return run("token create", flags_of_create, true, call, create); }
int token_list(const invocation& call) { return run("token list", flags_of_list, false, call, list); }
int token_delete(const invocation& call) { return run("token delete", flags_of_delete, true, call, remove); }
int token_rotate(const invocation& call) { return run("token rotate", flags_of_rotate, false, call, rotate); }

int token_generate(const invocation& call) {
  return run("token generate", flags_of_generate, false, call, [](const scanned&, const machine&) -> result<void> {
    fmt::print("{}\n", crypto::generate_bootstrap_token(system_random()));
    return {};
  });
}

}  // namespace kedge::cli::commands
