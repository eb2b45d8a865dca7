#include "cli/installation.h"

#include <doctest/doctest.h>

#include <filesystem>

#include "temporary.h"

using namespace kedge::cli;

TEST_CASE("what a bundle brought is known by a name that outlives an upgrade") {
  const temporary_folder folder;
  for (const char* version : {"1", "2"})
    folder.write(std::string("lib/kedge/") + version + "/bin/kedge", "#!/bin/sh\n", 0755);
  const auto bundles = folder.path + "/lib/kedge";
  const auto of = [&](std::string version) { return installation_of(bundles + "/" + version + "/bin/kedge"); };
  CHECK(of("1").bundles.empty());  // somebody's folder of that name: no install.sh was here
  std::filesystem::create_directory_symlink("1", bundles + "/current");
  CHECK(of("1").programs == bundles + "/current/bin");
  CHECK(of("2").programs == bundles + "/2/bin");  // one that goes on while the next is in its place
  for (const char* version : {"1", "2"}) {
    CHECK(of(version).bundles == bundles);
    CHECK(of(version).scripts == folder.path + "/bin");
  }
  // Where INSTALL_K3S_BIN_DIR names another folder beside lib, the link tells.
  std::filesystem::create_directories(folder.path + "/sbin");
  std::filesystem::create_symlink("../lib/kedge/current/bin/kedge", folder.path + "/sbin/kedge");
  for (const char* version : {"1", "2"}) CHECK(of(version).scripts == folder.path + "/sbin");
}

TEST_CASE("a program of its own lies beside what it starts") {
  const auto found = installation_of("/usr/local/bin/kedge");
  CHECK(found.programs == "/usr/local/bin");
  CHECK(found.scripts == "/usr/local/bin");
  CHECK(found.bundles.empty());
}
