#include <doctest/doctest.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <string>

#include "cli/commands/leftovers.h"
#include "cli/commands/services.h"
#include "temporary.h"

using namespace kedge::cli::commands;

namespace {

// A process that looks like a server with that data directory, of that user; ends with the test.
struct pretender {
  int in[2], out[2];
  pid_t process;

  pretender(const temporary_folder& folder, uid_t user, const std::string& data_dir, const char* program = "/bin/sh") {
    folder.write("server", "echo here; read -r line\n");
    ::chmod(folder.path.c_str(), 0755);
    REQUIRE(::pipe2(in, O_CLOEXEC) == 0);
    REQUIRE(::pipe2(out, O_CLOEXEC) == 0);
    process = ::fork();
    if (process == 0) {
      ::dup2(in[0], 0);
      ::dup2(out[1], 1);
      if (::chdir(folder.path.c_str()) == 0 && (user == ::geteuid() || ::setuid(user) == 0))
        ::execl(program, "kedge", "server", "--data-dir", data_dir.c_str(), nullptr);
      ::_exit(1);
    }
    ::close(out[1]);
    char c = 0;
    REQUIRE(::read(out[0], &c, 1) == 1);  // it is there by that name
  }
  pretender(const pretender&) = delete;
  ~pretender() {
    ::kill(process, SIGKILL);
    ::waitpid(process, nullptr, 0);
    for (int d : {in[0], in[1], out[0]}) ::close(d);
  }
};

}  // namespace

TEST_CASE("a folder that root is to remove is named by root's servers, and by nobody else's") {
  constexpr uid_t nobody = 65534;
  const temporary_folder folder;
  const uid_t self = ::geteuid();
  const pretender other(folder, self == 0 ? nobody : self, "/somebody/elses");
  const auto found = find_running();
  CHECK(std::ranges::count(found.daemons, other.process) == 1);
  CHECK_FALSE(found.data_dirs.contains("/somebody/elses"));
  if (self != 0) return;
  const auto program = folder.path + "/kedge";
  std::filesystem::copy_file("/bin/sh", program);
  const pretender own(folder, 0, "/its/own", program.c_str()), as_sudo(folder, 0, "/through/sudo");
  CHECK(find_running().data_dirs.contains("/its/own"));
  CHECK_FALSE(find_running().data_dirs.contains("/through/sudo"));
  std::filesystem::remove(program);
  CHECK(find_running().data_dirs.contains("/its/own"));
}

TEST_CASE("K3s's programs go, and what others have in a folder named data stays") {
  namespace fs = std::filesystem;
  const temporary_folder folder;
  const auto digest = std::string(64, 'a');
  folder.write("data/" + digest + "/bin/k3s", "");
  folder.write("data/.lock", "");
  fs::create_directory_symlink(digest, folder.path + "/data/current");
  folder.write("data/base/1/1247", "");
  REQUIRE(remove_k3s_programs(folder.path));
  CHECK(fs::exists(folder.path + "/data/base/1/1247"));
  CHECK(std::distance(fs::directory_iterator(folder.path + "/data"), {}) == 1);

  fs::remove_all(folder.path + "/data/base");
  folder.write("data/" + digest + "/bin/k3s", "");
  REQUIRE(remove_k3s_programs(folder.path));
  CHECK_FALSE(fs::exists(folder.path + "/data"));
  CHECK(remove_k3s_programs(folder.path));
}
