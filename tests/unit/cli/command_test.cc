#include "cli/command.h"

#include <doctest/doctest.h>

using namespace kedge::cli;
using words = std::vector<std::string>;

namespace {

std::string chosen(std::string_view program, words given) {
  const auto selected = select_command(program, std::move(given));
  if (!selected) return "! " + selected.error().message;
  std::string out(selected->chosen->name);
  for (const auto& word : selected->arguments) out += " | " + word;
  return out;
}

}  // namespace

TEST_CASE("a command is chosen by its words, or by the program's name") {
  CHECK(chosen("kedge", {"server", "--debug"}) == "server | --debug");
  CHECK(chosen("/usr/local/bin/k3s", {"agent"}) == "agent");
  CHECK(chosen("/usr/local/bin/kubectl", {"get", "nodes", "--help"}) == "kubectl | get | nodes | --help");
  CHECK(chosen("crictl", {}) == "crictl");
  CHECK(chosen("kedge", {"token", "generate"}) == "token generate");
  CHECK(chosen("kedge", {"--data-dir", "/x", "--debug", "server", "-t", "y"}) ==
        "server | --data-dir | /x | --debug | -t | y");
}

TEST_CASE("a command that isn't there is named, with the nearest") {
  CHECK(chosen("kedge", {"sever"}) == "! unknown command \"sever\"; did you mean server? (see kedge --help)");
  CHECK(chosen("kedge", {"xyzzy"}) == "! unknown command \"xyzzy\" (see kedge --help)");
  CHECK(chosen("kedge", {"certificate", "chek"}) ==
        "! kedge certificate has no subcommand \"chek\"; did you mean check? (see kedge certificate --help)");
  CHECK(chosen("kedge", {"token"}) == "! which one? (see kedge token --help)");
  CHECK(chosen("kedge", {}) == "! which command? (see kedge --help)");
}

TEST_CASE("every command explains itself, with an example") {
  for (const auto& c : command_table()) {
    CAPTURE(c.name);
    const auto help = command_help(c);
    CHECK(help.find("kedge " + std::string(c.name)) != std::string::npos);
    CHECK(help.find("\nEXAMPLES:\n") != std::string::npos);
    const bool runs = c.run != nullptr;
    CHECK(runs);
  }
  CHECK(program_help().find("certificate     Certificates of this machine (check, rotate, rotate-ca)") !=
        std::string::npos);
  CHECK(group_help("token").find("generate") != std::string::npos);
}

TEST_CASE("server and agent give what they were told to the daemon") {
  static server_options served;
  static agent_options joined;
  const daemons run = {[](server_options o) {
                         served = std::move(o);
                         return 7;
                       },
                       [](agent_options o) {
                         joined = std::move(o);
                         return 8;
                       }};
  const machine here = {.environment = {{"K3S_CONFIG_FILE", "/nonexistent"}}, .host_name = "h", .root = true};
  CHECK(run_program("kedge", {"server", "--tls-san", "a,b"}, here, run) == 7);
  CHECK(served.tls_san == words{"a", "b"});
  CHECK(run_program("kedge", {"agent", "-s", "https://h:6443", "-t", "x"}, here, run) == 8);
  CHECK(joined.server_url == "https://h:6443");
  CHECK(run_program("kedge", {"agent"}, here, run) == 1);
  CHECK(run_program("kedge", {"server", "--nonsense"}, here, run) == 1);
}
