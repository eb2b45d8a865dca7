// What kube-apiserver said of requests that it can't make anything of (tests/answers/serving/requests.jsonl), Kedge
// says as well: code, reason, message, causes.
#include <fstream>
#include <map>
#include <set>

#include "../harness.h"

namespace kedge::api {
namespace {

// Rows that are answered otherwise, by what is sent, and why. One that isn't any more fails.
constexpr std::string_view no_go_text = "the object that a patch made doesn't stand in the message as Go prints it";
const std::map<std::string, std::string_view, std::less<>> departures{
    {R"(application/merge-patch+json {"metadata":1})", no_go_text},
    {R"(application/merge-patch+json {"metadata":{"labels":{"a":1}}})", no_go_text},
    {R"(application/json-patch+json [{"op":"add","path":"/metadata/labels/a","value":1}])", no_go_text},
    {R"(application/strategic-merge-patch+json {"metadata":1})", no_go_text},
    {R"(application/strategic-merge-patch+json {"metadata":{"labels":{"a":1}}})", no_go_text},
    {R"(/apis/apps/v1/namespaces/default/deployments {"apiVersion":"apps/v1beta1","kind":"Deployment"})",
     "versions that Kubernetes has the types of and serves no more aren't in the tables"},
    {"/api/v1/namespaces/default/configmaps?continue=x ", "where base64 goes wrong isn't told"},
};

}  // namespace

TEST_CASE("what can't be decoded is refused in kube-apiserver's words") {
  api_world w;
  w.must(w.post("/api/v1/namespaces", R"({"metadata":{"name":"default"}})"), 201);
  std::ifstream rows(KEDGE_ANSWERS "/serving/requests.jsonl");
  std::size_t count = 0;
  std::set<std::string> departed;
  for (std::string line; std::getline(rows, line); ++count) {
    auto row = json::parse(line);
    REQUIRE(row.has_value());
    auto& r = *row;
    header_list headers;
    if (r["type"].is_string())
      headers.emplace_back("Content-Type", r["type"].as_string());
    else if (r["body"].is_string())
      headers.emplace_back("Content-Type", "application/json");
    auto a = w.ask(r["method"].as_string(), r["path"].as_string(), r["body"].as_string(), headers);
    json::value said;
    if (a.body.starts_with("{")) said = *json::parse(a.body);
    const bool fails = a.code >= 400;
    const bool same = a.code == r["code"].as_integer() &&
                      (!fails || (said["reason"] == r["reason"] && said["message"] == r["message"] &&
                                  said["details"]["causes"] == r["causes"]));
    auto known = departures.find(fmt::format(
        "{} {}", r["type"].is_string() ? r["type"].as_string() : r["path"].as_string(), r["body"].as_string()));
    if (known != departures.end() && !same) {
      departed.emplace(known->first);
      continue;
    }
    CHECK_MESSAGE(same, line << "\nis answered with " << a.code << " " << a.body);
  }
  CHECK(count > 100);
  CHECK(departed.size() == departures.size());
}

}  // namespace kedge::api
