// service_units.h: the services of this machine that run Kedge, as systemd or OpenRC knows them. Blocking; as root.
#pragma once

#include <string>
#include <vector>

#include "base/error.h"

namespace kedge::cli::commands {

enum class service_manager { systemd, openrc };

struct service_unit {
  std::string name;  // kedge-agent.service; of OpenRC kedge-agent
  service_manager manager = service_manager::systemd;
  std::string file;         // /etc/systemd/system/kedge-agent.service, /etc/init.d/kedge-agent
  std::string data_dir;     // empty: the default
  bool of_package = false;  // not put there by install.sh: whoever removes the package removes it
};

// By name. `root` stands before /etc and /usr in tests.
std::vector<service_unit> service_units(const std::string& root = {});

result<void> stop_unit(const service_unit& unit);
// So that no start of the machine starts it, and no file of install.sh's is left; it is stopped before.
void remove_unit(const service_unit& unit);

}  // namespace kedge::cli::commands
