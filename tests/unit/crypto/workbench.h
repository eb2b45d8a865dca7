// workbench.h: a temporary folder, and the openssl command as the second opinion on what we make.
#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "crypto/files.h"

namespace kedge::crypto {

class workbench {
 public:
  workbench() {
    std::string name = (std::filesystem::temp_directory_path() / "kedge-crypto-XXXXXX").string();
    if (!mkdtemp(name.data())) std::abort();
    folder_ = name;
  }
  workbench(const workbench&) = delete;
  workbench& operator=(const workbench&) = delete;
  ~workbench() {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }

  std::string path(const std::string& name) const { return folder_ + "/" + name; }
  void put(const std::string& name, std::string_view content) const {
    if (!write_file(path(name), content)) std::abort();
  }
  std::string get(const std::string& name) const { return read_file(path(name)).value(); }

  // Runs the line in the folder; what it printed, without blanks at the ends of lines (OpenSSL 3.0 has some), and
  // whether it succeeded.
  struct answer {
    bool good = false;
    std::string text;
  };
  answer run(const std::string& line) const {
    auto whole = "cd '" + folder_ + "' && { " + line + " ; } 2>&1";
    auto* pipe = popen(whole.c_str(), "r");
    if (!pipe) std::abort();
    answer out;
    char part[4096];
    while (auto n = fread(part, 1, sizeof part, pipe)) out.text.append(part, n);
    int status = pclose(pipe);
    for (auto at = out.text.find(" \n"); at != out.text.npos; at = out.text.find(" \n")) out.text.erase(at, 1);
    out.good = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    return out;
  }

 private:
  std::string folder_;
};

}  // namespace kedge::crypto
