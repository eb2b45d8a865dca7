// flags.h: one table of facts about flags, and what is read from it.
//
//   flag_table.cc ──▶ scan()         argv → occurrences            (this header; also used by the small commands'
//   tables)
//                 ──▶ find_flag()    names on the command line, in the environment and as keys of the configuration
//                 file ──▶ assign()       text → typed field of options.h, checked; a word for what has no effect ──▶
//                 help.h         --help          node_args.h: which values are secrets
//
// The grammar is that of Go's flag package, which K3s's users' scripts and units rely on: `-name` and `--name` are one,
// a boolean takes a value only as `--flag=false`, every other flag takes the next word whatever it looks like, `--`
// ends the flags. CLI11 was weighed: it reads `-name` as clustered letters, and has no place for `key+`, for masking,
// and for flags that are known and refused, so that the table would have stood beside it a second time.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/error.h"
#include "cli/options.h"

namespace kedge::cli {

enum class audience : unsigned char { server = 1, agent = 2, both = 3 };
enum class support : unsigned char {
  supported,
  ignored,  // accepted, with a warning that gives the reason: what it would change doesn't exist here yet, or works
            // differently
  already,  // accepted without a word: what it asks for is so anyway
  refused,  // an error that gives the reason: going on without it would not be what was asked for
};
enum class value_kind : unsigned char { boolean, text, list, count, port, ports, duration, mode, log_format };

using flag_target =
    std::variant<std::monostate, bool agent_options::*, std::string agent_options::*,
                 std::vector<std::string> agent_options::*, unsigned agent_options::*, std::uint16_t agent_options::*,
                 log::format agent_options::*, bool server_options::*, std::string server_options::*,
                 std::vector<std::string> server_options::*, unsigned server_options::*,
                 std::uint16_t server_options::*, file_mode server_options::*, port_range server_options::*>;

// What the text must look like beyond its kind: a value or what is wrong with it ("is not an IP address").
using value_check = std::optional<std::string_view> (*)(std::string_view value);

struct flag {
  std::string_view name;      // without dashes
  char short_name = 0;        // -t
  std::string_view env = {};  // environment variable
  audience who = audience::server;
  std::string_view group = {};
  flag_target into = {};  // where it goes; a flag without effect may have a place too: agents are told of it
  value_kind kind = value_kind::text;  // for flags without a target; else it follows from the target
  std::string_view fallback = {};      // the default, as help shows it
  value_check check = nullptr;
  bool comma_separated = false;  // each value is itself a list
  bool secret = false;           // never shown: node-args, error messages
  bool hidden = false;           // not in --help
  support state = support::supported;
  std::string_view reason = {};  // of a state other than supported
  std::string_view help = {};
};

value_kind kind_of(const flag& f);
bool serves(const flag& f, audience who);        // whether it is a flag of any of these
std::string dashed(std::string_view flag_name);  // --data-dir, -v

// Every flag of `server` and `agent`, in the order of help.
std::span<const flag> flag_table();

// By long name or, for one letter, by short name; nullptr when the table has none for this audience.
const flag* find_flag(std::span<const flag> table, std::string_view name, audience who = audience::both);

// `unknown flag --foo; did you mean --food?`
error unknown_flag(std::span<const flag> table, std::string_view name, audience who = audience::both);

struct occurrence {
  const flag* of;
  std::string value;  // "true" for a boolean without a value
};

struct scanned {
  std::vector<occurrence> flags;  // in the order given
  std::vector<std::string> positional;
  bool help = false;  // -h or --help stood there; the rest was not read

  bool has(std::string_view name) const;
  // The last value given for it, else the flag's default.
  std::string value(std::string_view name, std::string_view fallback = {}) const;
  std::vector<std::string> values(std::string_view name) const;  // all, comma lists split where the flag says so
};
// `wrong`: gets what can't be understood, in words, and the reading goes on behind it.
result<scanned> scan(std::span<const flag> table, audience who, std::span<const std::string> arguments,
                     std::vector<std::string>* wrong = nullptr);
// The same for a small command that takes no words besides flags.
result<scanned> scan_flags_only(std::span<const flag> table, std::span<const std::string> arguments);

// Checks the text and puts it into its field: scalars replace, lists append. `origin` names the place for the message
// ("--node-ip", "K3S_URL", "/etc/rancher/k3s/config.yaml:3: node-ip"). A warning to show is appended to `warnings`.
result<void> assign(const flag& f, std::string_view value, std::string_view origin, server_options& into,
                    std::vector<std::string>& warnings);

// Go's strconv.ParseBool.
std::optional<bool> parse_bool(std::string_view text);

// The name in `candidates` nearest to `name`, if it is near enough to be meant.
std::optional<std::string_view> nearest(std::string_view name, std::span<const std::string_view> candidates);

}  // namespace kedge::cli
