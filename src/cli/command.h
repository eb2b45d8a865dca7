// command.h: the commands of the program. One table (command.cc) is what dispatch, help and completion read; each
// command is a function in a file of commands/.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "cli/flags.h"
#include "cli/machine.h"
#include "cli/options.h"

namespace kedge::cli {

// What the two daemons run. main() gives run_server and run_agent of run.h; tests give their own.
struct daemons {
  int (*server)(server_options);
  int (*agent)(agent_options);
};

struct invocation {
  std::vector<std::string> arguments;  // behind the command's words
  const machine& here;
  const daemons& run;
};

struct command {
  std::string_view name;  // its words: "token generate"
  std::string_view summary;
  std::string_view usage = "[OPTIONS]";  // what follows the name
  std::string_view examples = {};        // one a line
  std::span<const flag> flags = {};
  audience who = audience::both;
  bool passes_through = false;              // the arguments, --help too, belong to another program
  int (*run)(const invocation&) = nullptr;  // the process's exit code
};

std::span<const command> command_table();
bool is_group(std::string_view word);  // the first word of commands that have two, and no command itself

// A command's words and what follows them.
struct selection {
  const command* chosen;
  std::vector<std::string> arguments;
};
// `words` are argv without argv[0]; `program` is argv[0]: called as kubectl, crictl or ctr, the program is that
// command.
// --debug and --data-dir may stand before the command's words, as with K3s. Fails with the nearest command's name.
result<selection> select_command(std::string_view program, std::vector<std::string> words);

std::string program_help();                      // all commands
std::string group_help(std::string_view group);  // the subcommands of "token"
std::string command_help(const command& c);

// The whole program. Gives the exit code.
int run_program(std::string_view program, std::vector<std::string> words, const machine& here, const daemons& run);

// What a command says when it can't: `kedge token generate: …` on standard error. Gives exit code 1.
int report(std::string_view command_name, const error& e);

}  // namespace kedge::cli
