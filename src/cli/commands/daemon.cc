// daemon.cc: `kedge server` and `kedge agent`: options, log, then the daemon.
#include <fmt/format.h>

#include <cerrno>
#include <cstring>

#include "base/log.h"
#include "base/time.h"
#include "cli/commands/commands.h"
#include "cli/config_check.h"
#include "cli/options_load.h"
#include "cli/restore.h"
#include "cli/unread.h"

namespace kedge::cli::commands {
namespace {

result<server_options> prepare(audience who, const invocation& call) {
  KEDGE_TRY(auto loaded, load_options(who, call.arguments, call.here));
  const auto& agent = loaded.options.agent;
  if (agent.check_only) return fail(errc::invalid, "check: it is for the command line, and no start begins with it");
  const log::options logging = {.least = agent.debug ? log::level::debug : log::level::info,
                                .as = agent.log_format,
                                .file = agent.log_file.empty() ? nullptr : agent.log_file.c_str()};
  if (!log::configure(logging)) return fail(os_error(errno, "--log " + agent.log_file));
  for (const auto& warning : loaded.warnings) log::warning("{}", warning);
  KEDGE_TRY(auto unread, look_for_unread(who, loaded.options, call.here));
  for (const auto& warning : unread) log::warning("{}", warning);
  if (auto wrong = clock_problem(system_wall_time())) return fail(errc::invalid, *std::move(wrong));
  return std::move(loaded.options);
}

// --check, whatever else is wrong with the command line.
bool is_dry_start(audience who, const invocation& call) {
  std::vector<std::string> wrong;
  auto line = scan(flag_table(), who, call.arguments, &wrong);
  return line && line->has("check") && parse_bool(line->value("check")).value_or(true);
}

}  // namespace

int server(const invocation& call) {
  if (is_dry_start(audience::server, call)) return check_start(audience::server, call.arguments, call.here);
  auto options = prepare(audience::server, call);
  if (!options) return report("server", options.error());
  if (!options->cluster_reset_restore_path.empty()) {
    auto done = restore_cluster(*options, {.file = options->cluster_reset_restore_path, .overwrite = true});
    if (!done) return report("server", done.error());
    log::info("{}; start the server without --cluster-reset now", *done);
    return 0;
  }
  return call.run.server(*std::move(options));
}

int agent(const invocation& call) {
  if (is_dry_start(audience::agent, call)) return check_start(audience::agent, call.arguments, call.here);
  auto options = prepare(audience::agent, call);
  if (!options) return report("agent", options.error());
  return call.run.agent(std::move(options->agent));
}

}  // namespace kedge::cli::commands
