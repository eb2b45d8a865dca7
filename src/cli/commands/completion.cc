// completion.cc: a bash completion script, written from the tables.
#include <fmt/format.h>

#include <map>
#include <string>

#include "cli/commands/commands.h"

namespace kedge::cli::commands {
namespace {

std::string flag_words(const command& c) {
  std::string words;
  for (const auto& f : c.flags)
    if (!f.hidden && serves(f, c.who)) words += dashed(f.name) + ' ';
  return words + "--help";
}

std::string bash_script() {
  std::map<std::string, std::string> below;  // group → its subcommands; "" → all first words
  std::string cases;
  for (const auto& c : command_table()) {
    const auto space = c.name.find(' ');
    const std::string first(c.name.substr(0, space));
    if (below[""].find(first + ' ') == std::string::npos) below[""] += first + ' ';
    if (space != std::string_view::npos) below[first] += std::string(c.name.substr(space + 1)) + ' ';
    if (c.passes_through) continue;
    cases += fmt::format("    \"{}\") words=\"{}\" ;;\n", c.name, c.name == "completion" ? "bash" : flag_words(c));
  }
  for (const auto& [group, words] : below)
    cases += fmt::format("    \"{}\") words=\"{}--help\" ;;\n", group, words);
  return fmt::format(R"(# bash completion for kedge
_kedge() {{
  local current="${{COMP_WORDS[COMP_CWORD]}}" command="" words="" i
  for ((i = 1; i < COMP_CWORD; i++)); do
    case "${{COMP_WORDS[i]}}" in -*) break ;; *) command="${{command:+$command }}${{COMP_WORDS[i]}}" ;; esac
  done
  case "$command" in
{}  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
  [ ${{#COMPREPLY[@]}} -gt 0 ] || COMPREPLY=($(compgen -f -- "$current"))
}}
complete -F _kedge kedge
)",
                     cases);
}

}  // namespace

int completion(const invocation& call) {
  const auto scanned = scan({}, audience::both, call.arguments);
  if (!scanned) return report("completion", scanned.error());
  if (scanned->positional != std::vector<std::string>{"bash"})
    return report("completion", {errc::invalid, "for which shell? kedge completion bash"});
  fmt::print("{}", bash_script());
  return 0;
}

}  // namespace kedge::cli::commands
