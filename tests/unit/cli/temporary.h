// temporary.h: a folder that goes with the test.
#pragma once

#include <stdlib.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

struct temporary_folder {
  std::string path;
  temporary_folder() {
    char name[] = "/tmp/kedge_cli_XXXXXX";
    path = ::mkdtemp(name);
  }
  temporary_folder(const temporary_folder&) = delete;
  ~temporary_folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
  std::string write(const std::string& name, std::string_view content, unsigned mode = 0644) const {
    const auto file = path + '/' + name;
    std::filesystem::create_directories(std::filesystem::path(file).parent_path());
    std::ofstream(file) << content;
    ::chmod(file.c_str(), mode);
    return file;
  }
};
