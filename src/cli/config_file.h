// config_file.h: config.yaml and its drop-ins, as K3s reads them.
//
//   config.yaml, then config.yaml.d/*.yaml|*.yml by name ──▶ merged entries ──▶ options_load.h: as if given as flags
//
// A key is a flag's name. A later file's value replaces an earlier one; a key with a trailing `+` adds to it instead. A
// list is a repeated flag. Every entry keeps the file and line it came from, for messages.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace kedge::cli {

// What an administrator writes by hand is far smaller; more is not a configuration.
inline constexpr std::size_t config_file_max_bytes = 1 << 20;

struct config_value {
  std::string text;
  std::string file;
  int line = 0;  // from 1
};

struct config_entry {
  std::string key;
  bool list = false;                 // given as a list, or added to
  std::vector<config_value> values;  // one for a scalar
};

// The entries of one document in the order of their keys' first appearance. `name` is for messages. Keys keep their
// `+`.
result<std::vector<config_entry>> parse_config(std::string_view yaml, const std::string& name);

// Lays a file's entries over what earlier files gave.
void merge_config(std::vector<config_entry>& accumulated, std::vector<config_entry> file);

// The file, which may be absent, and its drop-ins, merged.
result<std::vector<config_entry>> read_config(const std::string& path);

}  // namespace kedge::cli
