#include "node/offline/checkpoint_file.h"

#include <doctest/doctest.h>
#include <sys/stat.h>

#include <filesystem>

#include "crypto/files.h"
#include "loop.h"
#include "reactor/scope.h"
#include "support/temporary_folder.h"

using namespace kedge;
using namespace kedge::node;

namespace {

struct ledger {
  std::string text;
  std::string checkpoint() const { return text; }
};

ino_t file_of(const std::string& path) {
  struct stat about{};
  CHECK(::stat(path.c_str(), &about) == 0);
  return about.st_ino;
}

}  // namespace

TEST_CASE("a checkpoint file has what the ledger said last, however many writes are on their way") {
  temporary_folder folder;
  test_loop on;
  on.run([](std::string path) -> task<void> {
    checkpoint_file file(path, 100);
    ledger of{"0"};
    reactor::scope writes;
    for (int i = 1; i <= 5; ++i) {
      writes.spawn([](checkpoint_file& f, ledger& l) -> task<void> {
        auto done = co_await f.write(l);
        CHECK(done.has_value());
      }(file, of));
      of.text = std::to_string(i);
    }
    co_await writes.join();
    CHECK(crypto::read_file(path).value_or("") == "5");
  }(folder.path() + "/pods/state"));
}

TEST_CASE("a checkpoint file is written only when it would be another") {
  temporary_folder folder;
  test_loop on;
  on.run([](std::string path) -> task<void> {
    {
      checkpoint_file file(path, 100);
      auto none = co_await file.read();
      NEEDS(none);
      CHECK(!*none);
      file.assume("nothing yet");
      auto written = co_await file.write(ledger{"nothing yet"});
      NEEDS(written);
      CHECK(!std::filesystem::exists(path));
      written = co_await file.write(ledger{"one"});
      NEEDS(written);
    }
    auto before = file_of(path);
    checkpoint_file again(path, 100);
    auto read = co_await again.read();
    NEEDS(read);
    CHECK(*read == "one");
    auto written = co_await again.write(ledger{"one"});
    NEEDS(written);
    CHECK(file_of(path) == before);
    written = co_await again.write(ledger{"two"});
    NEEDS(written);
    CHECK(file_of(path) != before);
    CHECK(crypto::read_file(path).value_or("") == "two");
  }(folder.path() + "/state"));
}

TEST_CASE("a checkpoint file that is too large, or can't be written, says so") {
  temporary_folder folder;
  test_loop on;
  on.run([](std::string path) -> task<void> {
    CHECK(crypto::write_file(path, std::string(101, 'x')).has_value());
    checkpoint_file large(path, 100);
    auto read = co_await large.read();
    CHECK((!read && read.error().message.find(path) != std::string::npos));
    checkpoint_file below(path + "/below", 100);  // its folder is a file
    auto written = co_await below.write(ledger{"one"});
    CHECK(!written.has_value());
  }(folder.path() + "/state"));
}
