// Files that say who is who, who is asked and what is encrypted: what tests/answers/files records of kube-apiserver,
// word for word.
#include <doctest/doctest.h>

#include <fstream>
#include <string>
#include <string_view>

#include "api/authentication/configuration.h"
#include "api/authorization/configuration.h"
#include "api/encryption/configuration.h"
#include "api/tracing/configuration.h"
#include "json/parse.h"
#include "json/write.h"
#include "support/temporary_folder.h"

namespace kedge::api {
namespace {

// What kube-apiserver puts before the findings.
std::string_view without_wrapping(std::string_view said) {
  for (std::string_view wrapping :
       {"invalid authentication configuration: ", "failed to load AuthorizationConfiguration from file: ",
        "error while parsing file: ", "error while building transformers: ",
        "error decoding encryption provider configuration file \"FOLDER/FILE\": ",
        "failed to validate tracing configuration: ", "failed to read tracing config: ",
        "unable to decode tracing configuration data: ", "strict decoding error: "})
    if (said.starts_with(wrapping)) said.remove_prefix(wrapping.size());
  return said;
}

TEST_CASE("configuration files are refused in kube-apiserver's words") {
  const temporary_folder folder;
  const auto kubeconfig = folder.path() + "/kubeconfig";
  std::ofstream(kubeconfig) << "current-context: c\ncontexts: [{name: c, context: {cluster: k}}]\n"
                               "clusters: [{name: k, cluster: {server: 'https://127.0.0.1:1'}}]\n";
  std::ifstream rows(KEDGE_ANSWERS "/files/recorded.jsonl");
  std::string line;
  int count = 0;
  for (; std::getline(rows, line); ++count) {
    auto row = json::parse(line);
    REQUIRE(row.has_value());
    auto file = json::write((*row)["file"]);
    if (auto at = file.find("KUBECONFIG"); at != file.npos) file.replace(at, 10, kubeconfig);
    std::string ours;
    const auto flag = (*row)["flag"].as_string();
    auto take = [&](const auto& read) {
      if (!read) ours = read.error().message;
    };
    if (flag == "authentication-config")
      take(parse_authentication(file, {}));
    else if (flag == "authorization-config")
      take(parse_authorization(file));
    else if (flag == "tracing-config-file")
      take(tracing::parse_configuration(file));
    else
      take(encryption::parse_encryption(file));
    CHECK_MESSAGE(ours == without_wrapping((*row)["said"].as_string()), (*row)["name"].as_string());
  }
  CHECK(count > 30);
}

}  // namespace
}  // namespace kedge::api
