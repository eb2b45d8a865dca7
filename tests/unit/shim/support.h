// support.h: a folder that goes with its test, and a loop that runs until a condition holds.
#pragma once

#include <doctest/doctest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <string>

#include "shim/loop.h"

namespace kedge::shim {

class temporary_folder {
 public:
  temporary_folder() {
    char name[] = "/tmp/kedge-unit-shim-XXXXXX";
    path_ = ::mkdtemp(name);
  }
  temporary_folder(const temporary_folder&) = delete;
  temporary_folder& operator=(const temporary_folder&) = delete;
  ~temporary_folder() { std::filesystem::remove_all(path_); }
  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  void write(const std::string& name, std::string_view text) const {
    auto file = *this / name;
    std::filesystem::create_directories(std::filesystem::path(file).parent_path());
    std::ofstream(file) << text;
  }

 private:
  std::string path_;
};

// Runs `work` on the loop to its end, which must come in ten seconds.
inline void run(loop& l, task<void> work) {
  auto timer = l.set_timer(now_ms() + 10'000, [] { FAIL("it takes too long"); });
  detach([](loop& on, task<void> w, std::uint64_t t) -> task<void> {
    co_await std::move(w);
    on.cancel_timer(t);
    on.stop();
  }(l, std::move(work), timer));
  l.run([] {});
}

}  // namespace kedge::shim
