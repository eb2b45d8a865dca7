// datastore.cc: `kedge datastore …`: what the database of a running server takes, and its compaction for those who
// can't wait.
#include <fmt/format.h>

#include <chrono>
#include <thread>

#include "cli/checks.h"
#include "cli/commands/admin.h"
#include "cli/commands/commands.h"
#include "cli/commands/common_flags.h"
#include "json/parse.h"

namespace kedge::cli::commands {
namespace {

constexpr std::string_view path = "/v1-k3s/datastore";
constexpr auto look_again = std::chrono::milliseconds(500);

constexpr flag flags[] = {data_dir_flag, token_flag, server_flag};

std::string in_words(const json::value& s) {
  if (!s.find("bytes")) return "this datastore doesn't tell its size";
  auto mb = [](const json::value& n) { return static_cast<double>(n.as_integer(0)) / 1048576; };
  return fmt::format("{:.1f} MiB, {:.1f} MiB of them free", mb(s["bytes"]), mb(s["free"]));
}

result<void> status(const scanned& given, const machine& here) {
  KEDGE_TRY(const auto access, as_server(given, here));
  KEDGE_TRY(const auto answer, ask(access, {.path = std::string(path)}));
  KEDGE_TRY(const auto s, json::parse(answer));
  fmt::print("{}\n", in_words(s));
  return {};
}

result<void> compact(const scanned& given, const machine& here) {
  KEDGE_TRY(const auto access, as_server(given, here));
  KEDGE_TRY(auto answer, ask(access, {.method = "PUT", .path = std::string(path)}));
  KEDGE_TRY(auto s, json::parse(answer));
  fmt::print("before: {}\n", in_words(s));
  while (s["compacting"].as_bool(false)) {
    std::this_thread::sleep_for(look_again);
    KEDGE_TRY(answer, ask(access, {.path = std::string(path)}));
    KEDGE_TRY(s, json::parse(answer));
  }
  if (auto why = s["error"].as_string(); !why.empty()) return fail(errc::unavailable, std::string(why));
  fmt::print("after: {}\n", in_words(s));
  return {};
}

int run(std::string_view name, const invocation& call, result<void> (*work)(const scanned&, const machine&)) {
  const auto given = scan_flags_only(flags, call.arguments);
  if (!given) return report(name, given.error());
  const auto done = work(*given, call.here);
  return done ? 0 : report(name, done.error());
}

}  // namespace

std::span<const flag> datastore_flags() { return flags; }
int datastore_status(const invocation& call) { return run("datastore status", call, status); }
int datastore_compact(const invocation& call) { return run("datastore compact", call, compact); }

}  // namespace kedge::cli::commands
