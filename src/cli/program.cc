// program.cc: from argv to a command's function.
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

#include "cli/command.h"
#include "cli/version.h"

namespace kedge::cli {
namespace {

bool is_help(std::string_view word) { return word == "--help" || word == "-h" || word == "-help"; }

// `kedge`, `kedge --help`, `kedge help`, `kedge token`, `kedge token --help`: the texts that belong to no command.
// `kedge help token generate` is `kedge token generate --help`.
bool answer_general(std::vector<std::string>& words) {
  if (!words.empty() && words[0] == "help") {
    words.erase(words.begin());
    words.push_back("--help");
  }
  if (words.empty() || is_help(words[0])) {
    fmt::print("{}", program_help());
    return true;
  }
  if (words[0] == "--version" || words[0] == "-v" || words[0] == "version") {
    fmt::print("kedge version {} ({})\n", version, commit);
    return true;
  }
  if (is_group(words[0]) && (words.size() == 1 || is_help(words[1]))) {
    fmt::print("{}", group_help(words[0]));
    return true;
  }
  return false;
}

bool asks_for_help(const selection& selected) {
  if (selected.chosen->passes_through) return false;
  const auto& words = selected.arguments;
  return std::any_of(words.begin(), std::find(words.begin(), words.end(), "--"), is_help);
}

}  // namespace

int report(std::string_view command_name, const error& e) {
  fmt::print(stderr, "kedge{}{}: {}\n", command_name.empty() ? "" : " ", command_name, e.message);
  return 1;
}

int run_program(std::string_view program, std::vector<std::string> words, const machine& here, const daemons& run) {
  const auto called_as = program.substr(program.rfind('/') + 1);
  const bool is_link = called_as == "kubectl" || called_as == "crictl" || called_as == "ctr";
  if (!is_link && answer_general(words)) return 0;
  auto selected = select_command(program, std::move(words));
  if (!selected) return report({}, selected.error());
  if (asks_for_help(*selected)) {
    fmt::print("{}", command_help(*selected->chosen));
    return 0;
  }
  return selected->chosen->run({std::move(selected->arguments), here, run});
}

}  // namespace kedge::cli
