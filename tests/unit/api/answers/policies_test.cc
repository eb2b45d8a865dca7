// What kube-apiserver's policies and rules made of requests (tests/answers/policies/*.jsonl), Kedge's make of them: the
// same code, reason, message, causes and warnings, and the same object where they let it pass.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <set>

#include "../harness.h"
#include "api/admission/chain.h"
#include "api/authorization/rbac.h"
#include "api/bootstrap.h"
#include "api/custom/tables.h"
#include "api/write/not_yet.h"
#include "base/strings.h"

namespace kedge::api {
namespace {

constexpr std::string_view crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

// The handler with policies that act, and custom resources.
struct governed_world : api_world {
  rule_source* sources = nullptr;
  std::unique_ptr<authorizer> authz = make_authorizer(&sources);
  std::unique_ptr<admission_chain> chain;
  custom::tables tables{*objects};

  governed_world() {
    who.user = {"admin", "admin", {"system:masters", "system:authenticated"}, {}};
    auto made = admission_chain::create({}, *authz, *sources, objects.get());
    REQUIRE(made.has_value());
    chain = *std::move(made);
    chain->obey_policies([this] { return tables.current(); });
    tables.follow();
    virtual_resource virtuals;
    virtuals.create = [](const authorized&, const json::value& body, const store::snapshot&,
                         std::vector<std::string>&) -> task<api_result<json::value>> { co_return body; };
    handler = std::make_unique<api_handler>(api_parts{.objects = *objects,
                                                      .who = who,
                                                      .may = *authz,
                                                      .rules = *chain,
                                                      .checks = checks,
                                                      .measures = measures,
                                                      .ranges = ranges,
                                                      .virtuals = std::move(virtuals),
                                                      .server_address = "10.0.0.1:6443",
                                                      .custom = &tables});
    client = make_objects(*objects, *chain, ranges, &tables);
    REQUIRE(loop.run_until(bootstrap_cluster(*client, {.endpoint_addresses = {"10.0.0.1"}})).has_value());
  }
  ~governed_world() {
    handler.reset();
    client.reset();
    chain.reset();
  }

  // Lets what follows the store see what was written.
  void settle() {
    for (int i = 0; i < 20; ++i) loop.turn(loop.now());
  }
  answer_text send(std::string_view method, const std::string& target, const json::value& body = nullptr,
                   header_list headers = {}) {
    headers.emplace_back("Content-Type", "application/json");
    return ask(method, target, body.is_null() ? std::string() : json::write(body), headers);
  }
  void make(const std::string& path, const json::value& body) {
    // The account that pods need is there already.
    if (auto a = send("POST", path, body); a.code != 409) must(a, 201);
    if (path != crds) return;
    settle();
    auto here = fmt::format("{}/{}", crds, name_in(body));
    auto crd = must(get(here), 200);
    crd.member("status").set("acceptedNames", crd["spec"]["names"]);
    crd.member("status").set("conditions", json::array{json::object{{"type", "Established"},
                                                                    {"status", "True"},
                                                                    {"reason", "x"},
                                                                    {"message", ""},
                                                                    {"lastTransitionTime", "2026-01-01T00:00:00Z"}}});
    must(send("PUT", here + "/status", crd), 200);
    settle();
  }
  void change_schema(std::string_view name, const json::value& schema) {
    auto here = fmt::format("{}/{}", crds, name);
    auto crd = must(get(here), 200);
    (*crd.member("spec").member("versions").array())[0].member("schema").set("openAPIV3Schema", schema);
    must(send("PUT", here, crd), 200);
    settle();
  }
};

std::set<std::string> texts_of(const answer_text& a) {
  std::set<std::string> out;
  for (auto& h : a.headers) {
    if (!iequals(h.first, "Warning")) continue;
    std::string_view text = h.second;
    if (text.starts_with("299 - \"")) text.remove_prefix(7);
    if (text.ends_with('"')) text.remove_suffix(1);
    std::string plain;
    for (std::size_t i = 0; i < text.size(); ++i) plain += text[i] == '\\' && i + 1 < text.size() ? text[++i] : text[i];
    out.insert(std::move(plain));
  }
  for (auto& own : all_not_yet()) out.erase(std::string(own.text));
  return out;
}

std::set<std::string> texts_of(const json::value& list) {
  std::set<std::string> out;
  for (std::size_t i = 0; i < list.size(); ++i) out.emplace(list[i].as_string());
  return out;
}

json::value told(const answer_text& a) {
  json::object out{{"code", a.code}};
  auto body = json::parse(a.body).value_or(json::value());
  if (a.code >= 300) {
    out.set("reason", body["reason"].as_string());
    out.set("message", body["message"].as_string());
    auto& causes = body["details"]["causes"];
    json::array list;
    for (std::size_t i = 0; i < causes.size(); ++i)
      list.push_back(json::array{causes[i]["field"].as_string(), causes[i]["reason"].as_string(),
                                 causes[i]["message"].as_string()});
    if (!list.empty()) out.set("causes", std::move(list));
  } else if (body["kind"].as_string() != "Status") {
    for (auto name : {"uid", "resourceVersion", "creationTimestamp", "managedFields", "generation"})
      body.member("metadata").erase(name);
    out.set("object", std::move(body));
  }
  return out;
}

void play(governed_world& w, const json::value& line) {
  for (std::size_t i = 0; i < line["make"].size(); ++i)
    w.make(std::string(line["make"][i][0].as_string()), line["make"][i][1]);
  if (line["later"].is_object()) w.change_schema(line["schema"].as_string(), line["later"]);
  w.settle();
  if (line["case"].is_null()) return;
  CAPTURE(line["case"].as_integer());
  auto path = std::string(line["path"].as_string());
  auto body = line["body"];
  if (line["method"].as_string() == "PUT") {
    auto here = path.ends_with("/status") ? path.substr(0, path.size() - 7) : path;
    auto held = w.must(w.get(here), 200);
    body.member("metadata").set("resourceVersion", held["metadata"]["resourceVersion"]);
  }
  header_list headers;
  if (line["as"].is_string()) headers.emplace_back("Impersonate-User", std::string(line["as"].as_string()));
  auto a = w.send(line["method"].as_string(), path + "?dryRun=All", body, headers);
  auto wanted = line;
  for (auto name : {"case", "method", "path", "body", "as", "warnings"}) wanted.erase(name);
  CHECK_MESSAGE(told(a) == wanted,
                fmt::format("\n  wanted {}\n  got    {}", json::write(wanted), json::write(told(a))));
  CHECK(texts_of(a) == texts_of(line["warnings"]));
}

TEST_CASE("policies and rules do to requests what kube-apiserver's do") {
  std::size_t files = 0;
  for (auto& e : std::filesystem::directory_iterator(KEDGE_ANSWERS "/policies")) {
    if (e.path().extension() != ".jsonl") continue;
    auto only = std::getenv("KEDGE_TABLE");  // one of them, while it is worked on
    if (only && e.path().stem() != only) continue;
    CAPTURE(e.path().stem().string());
    ++files;
    governed_world w;
    std::ifstream in(e.path());
    for (std::string line; std::getline(in, line);) play(w, *json::parse(line));
  }
  CHECK((files == 3 || std::getenv("KEDGE_TABLE")));
}

}  // namespace
}  // namespace kedge::api
