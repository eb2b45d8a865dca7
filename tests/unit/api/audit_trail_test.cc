// What is told of requests to the handler: levels, stages, objects, and those that end in another way.
#include "api/audit/trail.h"

#include "harness.h"

namespace kedge::api {
namespace {

class kept_events final : public audit_sink {
 public:
  audit_policy policy;
  bool takes = true;
  std::vector<json::value> events;

  explicit kept_events(audit_policy p) : policy(std::move(p)) {}
  audit_verdict evaluate(const attributes& asked) noexcept override { return policy.evaluate(asked); }
  task<bool> process(const audit_event& e, audit_stage stage, wall_time at) override {
    post(e, stage, at);
    co_return takes;
  }
  void post(const audit_event& e, audit_stage stage, wall_time at) override {
    if (!e.verdict.omits(stage)) events.push_back(*json::parse(audit_json(e, stage, at)));
  }
  std::string stages() const {
    std::string out;
    for (auto& e : events) out += std::string(e["stage"].as_string()) + ' ';
    return out;
  }
};

struct audited_world : api_world {
  kept_events told;
  explicit audited_world(std::string_view level)
      : told([&] {
          std::vector<std::string> warnings;
          return *audit_policy::parse(
              fmt::format(
                  "{{apiVersion: audit.k8s.io/v1, kind: Policy, rules: [{{level: None, nonResourceURLs: [/livez]}}, "
                  "{{level: {}, omitManagedFields: true}}]}}",
                  level),
              warnings);
        }()) {
    handler = std::make_unique<api_handler>(api_parts{.objects = *objects,
                                                      .who = who,
                                                      .may = may,
                                                      .rules = rules,
                                                      .checks = checks,
                                                      .measures = measures,
                                                      .audit = &told,
                                                      .ranges = ranges,
                                                      .server_address = "10.0.0.1:6443"});
  }
  const json::value& last() const { return told.events.back(); }
};

constexpr std::string_view maps = "/api/v1/namespaces/default/configmaps";

TEST_CASE("at level Metadata an event says who, what, whether and how it ended") {
  audited_world w("Metadata");
  w.must(w.post(maps, config_map("a")), 201);
  CHECK(w.told.stages() == "RequestReceived ResponseComplete ");
  CHECK(w.told.events[0]["responseStatus"].is_null());
  CHECK(w.told.events[0]["objectRef"]["name"].is_null());
  auto& e = w.last();
  CHECK(e["user"]["username"].as_string() == "tester");
  CHECK(e["objectRef"]["name"].as_string() == "a");
  CHECK(json::write(e["responseStatus"]) == R"({"metadata":{},"code":201})");
  CHECK(e["annotations"]["authorization.k8s.io/decision"].as_string() == "allow");
  CHECK(e["annotations"]["authorization.k8s.io/reason"].as_string() == "everyone may");
  CHECK(e["requestObject"].is_null());
  CHECK(e["responseObject"].is_null());
  w.get(std::string(maps) + "/none");
  CHECK(w.last()["responseStatus"]["reason"].as_string() == "NotFound");
  CHECK(w.last()["responseStatus"]["message"].as_string() == "configmaps \"none\" not found");
  CHECK(w.last()["responseStatus"]["details"]["name"].as_string() == "none");
  CHECK(w.last()["responseObject"].is_null());
}

TEST_CASE("objects are told at the levels that want them, without managed fields") {
  for (std::string_view level : {"Request", "RequestResponse"}) {
    CAPTURE(level);
    audited_world w(level);
    const bool answers = level == "RequestResponse";
    w.must(w.post(maps, config_map("a")), 201);
    CHECK(w.last()["requestObject"]["data"]["k"].as_string() == "v");
    CHECK(w.last()["responseObject"]["metadata"]["uid"].is_string() == answers);
    CHECK(w.last()["responseObject"]["metadata"]["managedFields"].is_null());
    auto patched = w.patch(std::string(maps) + "/a", R"({"data":{"k":"w"}})", merge);
    CHECK(patched.json()["metadata"]["managedFields"].is_array());
    CHECK(json::write(w.last()["requestObject"]) == R"({"data":{"k":"w"}})");
    w.get(maps);
    CHECK(w.last()["responseObject"]["items"].size() == (answers ? 1 : 0));
    CHECK(w.last()["responseObject"]["items"][0]["metadata"]["managedFields"].is_null());
    w.get(maps, {{"Accept", "application/json;as=Table;g=meta.k8s.io;v=v1"}});
    CHECK(w.last()["responseObject"]["rows"].size() == (answers ? 1 : 0));
    w.remove(std::string(maps) + "/a", R"({"propagationPolicy":"Background"})");
    CHECK(json::write(w.last()["requestObject"]) ==
          R"({"kind":"DeleteOptions","apiVersion":"meta.k8s.io/__internal","propagationPolicy":"Background"})");
    CHECK(w.last()["responseStatus"]["status"].as_string() == "Success");
    CHECK((w.last()["responseObject"]["kind"].as_string() == "Status") == answers);
    w.post(maps, "{");
    CHECK(w.last()["requestObject"].is_null());
    CHECK(w.last()["responseStatus"]["code"].as_integer() == 400);
  }
}

TEST_CASE("a request that isn't told of, is refused, or comes from nobody") {
  audited_world w("Metadata");
  w.get("/livez");
  CHECK(w.told.events.empty());
  w.may.denied_resource = "secrets";
  w.get("/api/v1/secrets");
  CHECK(w.last()["responseStatus"]["code"].as_integer() == 403);
  CHECK(w.last()["annotations"]["authorization.k8s.io/decision"].as_string() == "forbid");
  w.get(maps, {{"Impersonate-User", "bob"}});
  CHECK(w.last()["user"]["username"].as_string() == "tester");
  CHECK(w.last()["impersonatedUser"]["username"].as_string() == "bob");
  w.told.events.clear();
  w.who.known = false;
  w.get(maps, {{"Authorization", "Bearer x"}});
  CHECK(w.told.stages() == "ResponseStarted ");
  CHECK(json::write(w.last()["user"]) == "{}");
  CHECK(w.last()["responseStatus"]["code"].as_integer() == 401);
  w.who.known = true;
  w.told.takes = false;
  auto refused = w.get(maps);
  CHECK(refused.code == 500);
  CHECK(refused.body ==
        "Internal Server Error: \"/api/v1/namespaces/default/configmaps\": failed to store audit event\n");
}

TEST_CASE("a watch is told of as it begins and as it ends, also when its client just goes") {
  audited_world w("RequestResponse");
  {
    running_watch watch(w, std::string(maps) + "?watch=true");
    CHECK(watch.quiet());
    CHECK(w.told.stages() == "RequestReceived ResponseStarted ");
  }
  CHECK(w.told.stages() == "RequestReceived ResponseStarted ResponseComplete ");
  CHECK(w.last()["responseStatus"]["code"].as_integer() == 200);
}

}  // namespace
}  // namespace kedge::api
