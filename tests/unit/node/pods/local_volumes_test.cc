// Folders of volumes: made for all to write in, removed, and never anything else.
#include "node/pods/local_volumes.h"

#include <doctest/doctest.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "support/skipped.h"
#include "support/temporary_folder.h"

using namespace kedge;
using namespace kedge::node;
namespace fs = std::filesystem;

namespace {
local_volume at(const std::string& base, const std::string& folder) {
  auto v = local_volume::make(base, folder);
  REQUIRE(v.has_value());
  return *std::move(v);
}
unsigned mode_of(const std::string& path) {
  struct stat about{};
  REQUIRE(::stat(path.c_str(), &about) == 0);
  return about.st_mode & 07777;
}
}  // namespace

TEST_CASE("a volume's folder: made, left as it is when it is there, removed with what is in it") {
  const temporary_folder folder;
  const auto base = folder.path() + "/a/storage";
  auto v = at(base + "/", "pvc-1_default_data");
  REQUIRE(make_local_volume(v));
  CHECK(mode_of(base) == 0700);
  CHECK(mode_of(base + "/pvc-1_default_data") == 0777);
  std::ofstream(base + "/pvc-1_default_data/file") << "x";
  ::chmod((base + "/pvc-1_default_data").c_str(), 0750);
  REQUIRE(make_local_volume(v));
  CHECK(mode_of(base + "/pvc-1_default_data") == 0750);
  CHECK(fs::exists(base + "/pvc-1_default_data/file"));
  fs::create_directories(base + "/pvc-1_default_data/deep/er");
  fs::create_directory_symlink(folder.path(), base + "/pvc-1_default_data/out");
  REQUIRE(remove_local_volume(v));
  CHECK(!fs::exists(base + "/pvc-1_default_data"));
  CHECK(fs::exists(folder.path()));
  CHECK(remove_local_volume(v));
  CHECK(remove_local_volume(at(folder.path() + "/absent", "x")));
  REQUIRE(make_local_volume(at(base, "default/data/x")));
  CHECK(mode_of(base + "/default/data") == 0700);
  REQUIRE(remove_local_volume(at(base, "default/data/x")));
}

TEST_CASE("a volume's folder leads nowhere else") {
  for (auto [base, name] : {std::pair{"", "x"},
                            {"/", "x"},
                            {"rel", "x"},
                            {"/a/../b", "x"},
                            {"/a//b", "x"},
                            {"/a", ""},
                            {"/a", ".."},
                            {"/a", "x/../y"},
                            {"/a", "/etc"},
                            {"/a", "x//y"},
                            {"/a", "x/"},
                            {"/a", "."}})
    CHECK(!local_volume::make(base, name).has_value());
  CHECK(!local_volume::make("/a", std::string(2000, 'x')).has_value());
  const temporary_folder folder;
  const auto base = folder.path() + "/storage", other = folder.path() + "/other";
  fs::create_directories(base);
  fs::create_directories(other + "/inside");
  fs::create_directory_symlink(other, base + "/link");
  CHECK(!make_local_volume(at(base, "link")).has_value());
  CHECK(!make_local_volume(at(base, "link/inside/x")).has_value());
  CHECK(!remove_local_volume(at(base, "link")).has_value());
  CHECK(!remove_local_volume(at(base, "link/inside")).has_value());
  CHECK(fs::exists(other + "/inside"));
  std::ofstream(base + "/file") << "x";
  CHECK(!remove_local_volume(at(base, "file")).has_value());
}

TEST_CASE("a volume's folder isn't removed while something is mounted there") {
  const temporary_folder folder;
  const auto base = folder.path() + "/storage";
  auto v = at(base, "v");
  REQUIRE(make_local_volume(v));
  fs::create_directories(base + "/v/inner");
  std::ofstream(base + "/v/kept") << "x";
  if (::mount(folder.path().c_str(), (base + "/v/inner").c_str(), nullptr, MS_BIND, nullptr) != 0)
    return tests::skip("mounts need root");
  auto refused = remove_local_volume(v);
  ::umount2((base + "/v/inner").c_str(), MNT_DETACH);
  REQUIRE(!refused.has_value());
  CHECK(refused.error().code == errc::unavailable);
  CHECK(fs::exists(base + "/v/kept"));
  CHECK(remove_local_volume(v));
}
