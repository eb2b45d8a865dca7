// secrets_encrypt.cc: `kedge secrets-encrypt …`: the keys that Secrets are encrypted with, as the running servers have
// them.
#include <fmt/format.h>

#include "base/strings.h"
#include "cli/checks.h"
#include "cli/commands/admin.h"
#include "cli/commands/commands.h"
#include "cli/commands/common_flags.h"
#include "json/parse.h"
#include "json/write.h"

namespace kedge::cli::commands {
namespace {

constexpr std::string_view default_output = "text";

constexpr flag force_flag = {
    .name = "force", .short_name = 'f', .who = audience::both, .kind = value_kind::boolean, .help = "In any stage"};

constexpr flag flags_of_all[] = {data_dir_flag, token_flag, server_flag};
constexpr flag flags_with_force[] = {data_dir_flag, token_flag, server_flag, force_flag};
constexpr flag flags_of_status[] = {
    data_dir_flag,
    token_flag,
    server_flag,
    {.name = "output", .short_name = 'o', .who = audience::both, .fallback = default_output, .help = "text or json"}};
constexpr flag flags_of_reencrypt[] = {
    data_dir_flag,
    token_flag,
    server_flag,
    force_flag,
    {.name = "skip", .who = audience::both, .kind = value_kind::boolean, .help = "Keep the old keys"}};

result<void> put(const scanned& given, const machine& here, json::object request, std::string_view said) {
  KEDGE_TRY(const auto access, as_server(given, here));
  request.set("force", given.has("force") && given.value("force") != "false");
  request.set("skip", given.has("skip") && given.value("skip") != "false");
  KEDGE_CHECK(
      ask(access, {.method = "PUT", .path = "/v1-k3s/encrypt/config", .body = json::write(std::move(request))}));
  fmt::print("{}\n", said);
  return {};
}

void print_key(std::string_view mark, std::string_view text) {
  const auto space = text.find(' ');
  fmt::print("{:<8}{:<19}{}\n", mark, text.substr(0, space),
             space == std::string_view::npos ? "" : text.substr(space + 1));
}

result<void> status(const scanned& given, const machine& here) {
  const auto output = given.value("output", std::string(default_output));
  if (output != "text" && output != "json")
    return fail(errc::invalid, fmt::format("--output: {} is not text or json", quote(output)));
  KEDGE_TRY(const auto access, as_server(given, here));
  KEDGE_TRY(const auto answer, ask(access, {.path = "/v1-k3s/encrypt/status"}));
  if (output == "json") {
    fmt::print("{}\n", trim(answer));
    return {};
  }
  KEDGE_TRY(const auto s, json::parse(answer));
  if (!s.find("enable")) {
    fmt::print("Encryption Status: Disabled, no configuration file found\n");
    return {};
  }
  fmt::print("Encryption Status: {}\nCurrent Rotation Stage: {}\n", s["enable"].as_bool() ? "Enabled" : "Disabled",
             s["stage"].as_string());
  fmt::print("Server Encryption Hashes: {}\n\n",
             s["hashmatch"].as_bool() ? "All hashes match" : s["hasherror"].as_string());
  fmt::print("{:<8}{:<19}{}\n{:<8}{:<19}{}\n", "Active", "Key Type", "Name", "------", "--------", "----");
  if (const auto active = s["activekey"].as_string(); !active.empty()) print_key(" *", active);
  for (std::size_t i = 0; i < s["inactivekeys"].size(); ++i) print_key("", s["inactivekeys"][i].as_string());
  return {};
}

int run(std::string_view name, std::span<const flag> flags, const invocation& call,
        result<void> (*work)(const scanned&, const machine&)) {
  const auto given = scan_flags_only(flags, call.arguments);
  if (!given) return report(name, given.error());
  const auto done = work(*given, call.here);
  return done ? 0 : report(name, done.error());
}

}  // namespace

std::span<const flag> secrets_encrypt_flags(std::string_view subcommand) {
  if (subcommand == "status") return flags_of_status;
  if (subcommand == "reencrypt") return flags_of_reencrypt;
  if (subcommand == "prepare" || subcommand == "rotate") return flags_with_force;
  return flags_of_all;
}

int secrets_encrypt_status(const invocation& call) {
  return run("secrets-encrypt status", flags_of_status, call, status);
}
int secrets_encrypt_enable(const invocation& call) {
  return run("secrets-encrypt enable", flags_of_all, call, [](const scanned& given, const machine& here) {
    return put(given, here, {{"enable", true}}, "secrets-encryption enabled");
  });
}
int secrets_encrypt_disable(const invocation& call) {
  return run("secrets-encrypt disable", flags_of_all, call, [](const scanned& given, const machine& here) {
    return put(given, here, {{"enable", false}}, "secrets-encryption disabled");
  });
}
int secrets_encrypt_prepare(const invocation& call) {
  return run("secrets-encrypt prepare", flags_with_force, call, [](const scanned& given, const machine& here) {
    return put(given, here, {{"stage", "prepare"}}, "prepare completed successfully");
  });
}
int secrets_encrypt_rotate(const invocation& call) {
  return run("secrets-encrypt rotate", flags_with_force, call, [](const scanned& given, const machine& here) {
    return put(given, here, {{"stage", "rotate"}}, "rotate completed successfully");
  });
}
int secrets_encrypt_reencrypt(const invocation& call) {
  return run("secrets-encrypt reencrypt", flags_of_reencrypt, call, [](const scanned& given, const machine& here) {
    return put(given, here, {{"stage", "reencrypt_active"}}, "reencryption started");
  });
}
int secrets_encrypt_rotate_keys(const invocation& call) {
  return run("secrets-encrypt rotate-keys", flags_of_all, call, [](const scanned& given, const machine& here) {
    return put(given, here, {{"stage", "rotate_keys"}}, "keys rotated, reencryption started");
  });
}

}  // namespace kedge::cli::commands
