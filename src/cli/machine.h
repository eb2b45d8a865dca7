// machine.h: what the command line asks of the machine it runs on, as values, so that tests can give others.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace kedge::cli {

struct machine {
  std::vector<std::pair<std::string, std::string>> environment;
  std::string host_name;
  bool root = true;

  // The variable's value; nothing when it is unset or empty, which K3s does not tell apart.
  std::optional<std::string> variable(std::string_view name) const;
  std::string home() const { return variable("HOME").value_or("/root"); }
  // --data-dir's default.
  std::string default_data_dir() const;

  static machine here();
};

}  // namespace kedge::cli
