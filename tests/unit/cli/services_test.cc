#include <doctest/doctest.h>

#include <string>

#include "cli/commands/service_units.h"
#include "temporary.h"

using namespace kedge::cli::commands;

TEST_CASE("services are found where systemd, OpenRC and packages have them") {
  const temporary_folder folder;
  folder.write("etc/systemd/system/kedge-lab.service",
               "[Service]\nExecStart=/opt/kedge server \"--data-dir\" \"/srv/lab\" \"--disable-agent\"\n");
  folder.write("etc/systemd/system/kedge-agent.service", "[Service]\nExecStart=/opt/kedge agent\n");
  folder.write("etc/systemd/system/kedge-lab.service.env", "");
  folder.write("etc/systemd/system/other.service", "");
  folder.write("usr/lib/systemd/system/kedge.service", "[Service]\nExecStart=/usr/bin/kedge server\n");
  folder.write("usr/lib/systemd/system/kedge-agent.service", "[Service]\nExecStart=/usr/bin/kedge agent\n");
  folder.write("etc/init.d/kedge",
               "#!/sbin/openrc-run\ncommand=/usr/local/bin/kedge\ncommand_args=\"server '--data-dir=/srv/rc'\"\n");
  folder.write("etc/init.d/kedge-old", "#!/bin/sh\n");
  std::filesystem::create_symlink("kedge.service", folder.path + "/usr/lib/systemd/system/kedge-alias.service");

  const auto found = service_units(folder.path);
  REQUIRE(found.size() == 4);
  CHECK(found[0].name == "kedge");
  CHECK(found[0].manager == service_manager::openrc);
  CHECK(found[0].data_dir == "/srv/rc");
  CHECK(found[1].name == "kedge-agent.service");
  CHECK(found[1].file == folder.path + "/etc/systemd/system/kedge-agent.service");
  CHECK_FALSE(found[1].of_package);
  CHECK(found[2].name == "kedge-lab.service");
  CHECK(found[2].data_dir == "/srv/lab");
  CHECK(found[3].name == "kedge.service");
  CHECK(found[3].of_package);
  CHECK(found[3].manager == service_manager::systemd);
}
