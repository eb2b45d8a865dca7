// corefile.h: CoreDNS' configuration as text: lines of words, some with a block of further lines behind them. Without
// I/O and without meaning (custom.h has that).
//
//   example.org:53 {          a server block: the names of its zones, its plugins
//     hosts {                 a plugin with a block
//       192.0.2.7 nas         # a comment
//     }
//     forward . 192.0.2.53    "words may stand in quotes"
//   }
//   import /etc/coredns/custom/*.server       further text, in place of the line; between blocks or within one
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace kedge::node::dns {

struct corefile_line {
  std::vector<std::string> words;               // at least one
  std::vector<std::vector<std::string>> block;  // lines behind it in braces
};
struct corefile_server {
  std::vector<std::string> zones;  // as written
  std::vector<corefile_line> plugins;
  std::string import = {};  // a file's name, and nothing else
};

// The lines of one server block, as an import into it has them. Errors name the line.
result<std::vector<corefile_line>> parse_plugins(std::string_view text);
// Whole server blocks.
result<std::vector<corefile_server>> parse_servers(std::string_view text);

}  // namespace kedge::node::dns
