#include "cli/installation.h"

#include <cstdlib>
#include <filesystem>
#include <system_error>

namespace kedge::cli {

namespace fs = std::filesystem;

namespace {

// Where install.sh has led a name to the bundle's program: PREFIX/bin, or another folder there (INSTALL_K3S_BIN_DIR).
fs::path folder_of_link(const fs::path& prefix, const fs::path& program) {
  std::error_code failed;
  const auto leads_there = [&](const fs::path& folder) {
    return fs::is_symlink(folder / "kedge", failed) && fs::equivalent(folder / "kedge", program, failed);
  };
  if (leads_there(prefix / "bin")) return prefix / "bin";
  for (auto& entry : fs::directory_iterator(prefix, failed))
    if (entry.is_directory(failed) && leads_there(entry.path())) return entry.path();
  return prefix / "bin";
}

}  // namespace

installation installation_of(const std::string& program) {
  std::error_code failed;
  const auto folder = fs::path(program).parent_path();
  const auto bundles = folder.parent_path().parent_path();
  // Of a version that is no longer the current one, too.
  if (folder.filename() == "bin" && bundles.filename() == "kedge" && fs::is_symlink(bundles / "current", failed)) {
    const auto current = bundles / "current" / "bin";
    return {.programs = (fs::equivalent(current, folder, failed) ? current : folder).string(),
            .bundles = bundles.string(),
            .scripts = folder_of_link(bundles.parent_path().parent_path(), current / "kedge").string()};
  }
  return {.programs = folder.string(), .bundles = {}, .scripts = folder.string()};
}

void prefer_own_programs() {
  std::error_code failed;
  const auto self = fs::read_symlink("/proc/self/exe", failed);
  if (failed) return;
  const char* path = std::getenv("PATH");
  const std::string others = path && *path ? path : "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
  ::setenv("PATH", (installation_of(self.string()).programs + ":" + others).c_str(), 1);
}

}  // namespace kedge::cli
