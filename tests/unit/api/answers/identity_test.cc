// Files that say who is who and who is asked: what tests/answers/identity records of kube-apiserver, word for word.
#include <doctest/doctest.h>

#include <fstream>
#include <string>
#include <string_view>

#include "api/authentication/configuration.h"
#include "api/authorization/configuration.h"
#include "json/parse.h"
#include "json/write.h"
#include "support/temporary_folder.h"

namespace kedge::api {
namespace {

// What kube-apiserver puts before the findings.
std::string_view without_wrapping(std::string_view said) {
  for (std::string_view wrapping : {"invalid authentication configuration: ",
                                    "failed to load AuthorizationConfiguration from file: strict decoding error: "})
    if (said.starts_with(wrapping)) said.remove_prefix(wrapping.size());
  return said;
}

TEST_CASE("authentication and authorization configurations are refused in kube-apiserver's words") {
  const temporary_folder folder;
  const auto kubeconfig = folder.path() + "/kubeconfig";
  std::ofstream(kubeconfig) << "current-context: c\ncontexts: [{name: c, context: {cluster: k}}]\n"
                               "clusters: [{name: k, cluster: {server: 'https://127.0.0.1:1'}}]\n";
  std::ifstream rows(KEDGE_ANSWERS "/identity/files.jsonl");
  std::string line;
  int count = 0;
  for (; std::getline(rows, line); ++count) {
    auto row = json::parse(line);
    REQUIRE(row.has_value());
    auto file = json::write((*row)["file"]);
    if (auto at = file.find("KUBECONFIG"); at != file.npos) file.replace(at, 10, kubeconfig);
    std::string ours;
    if ((*row)["flag"].as_string() == "authentication") {
      if (auto read = parse_authentication(file, {}); !read) ours = read.error().message;
    } else if (auto read = parse_authorization(file); !read) {
      ours = read.error().message;
    }
    CHECK_MESSAGE(ours == without_wrapping((*row)["said"].as_string()), (*row)["name"].as_string());
  }
  CHECK(count > 15);
}

}  // namespace
}  // namespace kedge::api
