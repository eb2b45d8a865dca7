// config_validate.cc: `kedge config validate`, and a start with --check: all that is wrong with a configuration at
// once, before anything starts.
#include <fmt/format.h>

#include "base/log.h"
#include "cli/commands/commands.h"
#include "cli/options_load.h"

namespace kedge::cli::commands {

int check_start(audience who, std::span<const std::string> arguments, const machine& here) {
  log::configure({.least = log::level::warning});
  const auto said = judge_options(who, arguments, here);
  for (const auto& w : said.warnings) fmt::print(stderr, "warning: {}\n", w);
  for (const auto& p : said.problems) fmt::print(stderr, "{}\n", p);
  if (said.problems.empty()) fmt::print("a start would take this configuration\n");
  return said.problems.empty() ? 0 : 1;
}

// `kedge config validate [server|agent] [FLAGS]`, with the flags that the start will have.
int config_validate(const invocation& call) {
  auto words = call.arguments;
  auto who = audience::server;
  if (!words.empty() && (words.front() == "server" || words.front() == "agent")) {
    if (words.front() == "agent") who = audience::agent;
    words.erase(words.begin());
  }
  return check_start(who, words, call.here);
}

}  // namespace kedge::cli::commands
