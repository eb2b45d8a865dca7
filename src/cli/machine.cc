#include "cli/machine.h"

#include <unistd.h>

#include <climits>

extern char** environ;

namespace kedge::cli {

std::optional<std::string> machine::variable(std::string_view name) const {
  for (const auto& [key, value] : environment)
    if (key == name && !value.empty()) return value;
  return {};
}

std::string machine::default_data_dir() const { return root ? "/var/lib/rancher/k3s" : home() + "/.rancher/k3s"; }

machine machine::here() {
  machine found;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    if (const auto equals = text.find('='); equals != std::string_view::npos)
      found.environment.emplace_back(text.substr(0, equals), text.substr(equals + 1));
  }
  char name[HOST_NAME_MAX + 2] = {};  // the system wants room for the end of the longest
  if (::gethostname(name, sizeof name - 1) == 0) found.host_name = name;
  found.root = ::geteuid() == 0;
  return found;
}

}  // namespace kedge::cli
