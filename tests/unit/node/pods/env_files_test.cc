// Environment variables out of files that a pod's own containers wrote.
#include "node/pods/env_files.h"

#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>

#include "json/parse.h"
#include "support/temporary_folder.h"

using namespace kedge;
using namespace kedge::node;

TEST_CASE("lines NAME='value' are read as the kubelet reads them") {
  auto find = [](std::string_view text) {
    auto found = find_in_env_file(text, "A");
    return !found ? "wrong" : found->value_or("none");
  };
  CHECK(find("A='x'") == "x");
  CHECK(find("# A='y'\n\n  A='x'  # more\nA='z'\n") == "x");
  CHECK(find("B='1'\r\nA='x'\r\n") == "x");
  CHECK(find("A='two\nlines'\n") == "two\nlines");
  CHECK(find("B='A=1\nA=2'\nA='$(B) \"q\"'") == "$(B) \"q\"");
  CHECK(find("B='1'") == "none");
  CHECK(find("A=''") == "none");
  CHECK(find("A= 'x'") == "none");  // as a shell reads it
  CHECK(find("") == "none");
  for (auto* wrong : {"A", "A=x", "A=\"x\"", "A=", "=", "='x'", "A ='x'", "A='x", "A='x' y", "B=1\nA='x'"})
    CHECK_MESSAGE(find(wrong) == "wrong", wrong);
}

TEST_CASE("a container's variables of files become plain ones, and nothing outside its volumes is read") {
  temporary_folder folder;
  auto volume = folder.path() + "/volumes/kubernetes.io~empty-dir/v";
  std::filesystem::create_directories(volume + "/sub");
  std::ofstream(folder.path() + "/outside") << "A='secret'\n";
  std::ofstream(volume + "/sub/env") << "A='$(B)'\n";
  std::filesystem::create_symlink("/sub/env", volume + "/link");
  std::filesystem::create_symlink("../../../outside", volume + "/out");
  auto container = [](const std::string& path, const std::string& more = "") {
    return *json::parse(
        R"({"env":[{"name":"B","value":"b"},{"name":"X","valueFrom":{"fileKeyRef":{"volumeName":"v","path":")" + path +
        R"(","key":"A")" + more + R"(}}}]})");
  };
  CHECK(has_variables_of_files(container("x")));
  CHECK_FALSE(has_variables_of_files(*json::parse(R"({"env":[{"name":"B","value":"b"}]})")));
  for (auto* path : {"sub/env", "link"}) {
    auto plain = with_values_of_files(container(path), folder.path());
    REQUIRE_MESSAGE(plain, path);
    CHECK((*plain)["env"][1]["value"].as_string() == "$$(B)");  // no reference
  }
  for (auto* path : {"none", "out", "sub"}) {
    auto refused = with_values_of_files(container(path), folder.path());
    REQUIRE_MESSAGE(!refused, path);
    CHECK(refused.error().message == "couldn't parse env file");
  }
  std::ofstream(volume + "/empty") << "";
  CHECK(with_values_of_files(container("empty"), folder.path()).error().message ==
        "environment variable key \"A\" not found in file \"" + volume + "/empty\"");
  auto without = with_values_of_files(container("empty", R"(,"optional":true)"), folder.path());
  REQUIRE(without);
  CHECK((*without)["env"].size() == 1);
}
