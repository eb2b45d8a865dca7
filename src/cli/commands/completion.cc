// completion.cc: completion scripts for bash and zsh, written from the tables.
#include <fmt/format.h>

#include <fstream>
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

// The branches of a shell's `case`: words given so far → `words="…"`, what may come next.
std::string branches() {
  std::map<std::string, std::string> below;  // group → its subcommands; "" → all first words
  std::string cases;
  for (const auto& c : command_table()) {
    const auto space = c.name.find(' ');
    const std::string first(c.name.substr(0, space));
    if (below[""].find(first + ' ') == std::string::npos) below[""] += first + ' ';
    if (space != std::string_view::npos) below[first] += std::string(c.name.substr(space + 1)) + ' ';
    if (c.passes_through) continue;
    cases += fmt::format("    \"{}\") choices=\"{}\" ;;\n", c.name,
                         c.name == "completion" ? "bash zsh -i --help" : flag_words(c));
  }
  for (const auto& [group, words] : below) cases += fmt::format("    \"{}\") choices=\"{}--help\" ;;\n", group, words);
  return cases;
}

std::string bash_script() {
  return fmt::format(R"(# bash completion for kedge
_kedge() {{
  local current="${{COMP_WORDS[COMP_CWORD]}}" command="" choices="" i
  for ((i = 1; i < COMP_CWORD; i++)); do
    case "${{COMP_WORDS[i]}}" in -*) break ;; *) command="${{command:+$command }}${{COMP_WORDS[i]}}" ;; esac
  done
  case "$command" in
{}  esac
  COMPREPLY=($(compgen -W "$choices" -- "$current"))
  [ ${{#COMPREPLY[@]}} -gt 0 ] || COMPREPLY=($(compgen -f -- "$current"))
}}
complete -F _kedge kedge
)",
                     branches());
}

std::string zsh_script() {
  return fmt::format(R"(#compdef kedge
_kedge() {{
  local command="" choices="" i
  for ((i = 2; i < CURRENT; i++)); do
    case "${{words[i]}}" in -*) break ;; *) command="${{command:+$command }}${{words[i]}}" ;; esac
  done
  case "$command" in
{}  esac
  compadd -- ${{=choices}} || _files
}}
compdef _kedge kedge
)",
                     branches());
}

// Makes the user's shell load the script from now on; once, however often it is asked for.
result<void> install(const std::string& shell, const machine& here) {
  const auto path = here.home() + "/." + shell + "rc";
  const auto line = fmt::format("command -v kedge >/dev/null && source <(kedge completion {})", shell);
  std::ifstream before(path);
  for (std::string text; std::getline(before, text);)
    if (text == line) return {};
  std::ofstream rc(path, std::ios::app);
  rc << "\n# completion for kedge\n" << line << '\n';
  rc.flush();
  if (!rc) return fail(errc::io, "can't write to " + path);
  fmt::print("{} loads it from the next shell on\n", path);
  return {};
}

}  // namespace

int completion(const invocation& call) {
  bool to_install = false;
  auto words = call.arguments;
  std::erase_if(words, [&](const std::string& w) { return w == "-i" && (to_install = true); });
  const auto scanned = scan({}, audience::both, words);
  if (!scanned) return report("completion", scanned.error());
  const auto& shells = scanned->positional;
  if (shells.size() != 1 || (shells[0] != "bash" && shells[0] != "zsh"))
    return report("completion", {errc::invalid, "for which shell? kedge completion bash, or zsh"});
  if (to_install) {
    const auto done = install(shells[0], call.here);
    return done ? 0 : report("completion", done.error());
  }
  fmt::print("{}", shells[0] == "bash" ? bash_script() : zsh_script());
  return 0;
}

}  // namespace kedge::cli::commands
