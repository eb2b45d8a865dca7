// Which requests a webhook is asked about, and as what; and what its answers mean: as tables.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include "api/admission/webhook/match.h"
#include "api/admission/webhook/review.h"
#include "json/parse.h"

namespace kedge::api::webhook {
namespace {

json::value parsed(std::string_view text) {
  auto v = json::parse(text);
  REQUIRE_MESSAGE(v.has_value(), text);
  return *std::move(v);
}

hook hook_of(std::string_view rules, std::string_view more = "", bool mutating = false) {
  auto all = read_hooks(
      parsed(fmt::format(
          R"({{"metadata":{{"name":"c"}},"webhooks":[{{"name":"h","rules":[{}],"clientConfig":{{"url":"https://h/"}},"admissionReviewVersions":["v1"]{}}}]}})",
          rules, more)),
      mutating);
  REQUIRE(all.size() == 1);
  return std::move(all.front());
}

const served& resource(std::string_view group, std::string_view version, std::string_view plural) {
  auto s = builtin_registry().find(group, version, plural);
  REQUIRE(s);
  return *s;
}

}  // namespace

TEST_CASE("rules: operation, group, version, resource, subresource, scope") {
  struct row {
    std::string_view rule;
    operation what;
    std::string_view group, version, plural, sub, ns;
    bool wanted;
  };
  constexpr std::string_view all = R"({"operations":["*"],"apiGroups":["*"],"apiVersions":["*"],"resources":["*/*"]})";
  constexpr std::string_view pods =
      R"({"operations":["CREATE"],"apiGroups":[""],"apiVersions":["v1"],"resources":["pods","pods/exec"]})";
  constexpr std::string_view subs =
      R"({"operations":["*"],"apiGroups":[""],"apiVersions":["v1"],"resources":["*/status"]})";
  constexpr std::string_view mains = R"({"operations":["*"],"apiGroups":["*"],"apiVersions":["*"],"resources":["*"]})";
  constexpr std::string_view cluster =
      R"({"operations":["*"],"apiGroups":["*"],"apiVersions":["*"],"resources":["*"],"scope":"Cluster"})";
  constexpr std::string_view spaced =
      R"({"operations":["*"],"apiGroups":["*"],"apiVersions":["*"],"resources":["*"],"scope":"Namespaced"})";
  const row rows[] = {
      {all, operation::create, "", "v1", "pods", "", "a", true},
      {all, operation::connect, "", "v1", "pods", "exec", "a", true},
      {all, operation::remove, "", "v1", "nodes", "", "", true},
      {pods, operation::create, "", "v1", "pods", "", "a", true},
      {pods, operation::update, "", "v1", "pods", "", "a", false},
      {pods, operation::create, "", "v1", "pods", "exec", "a", true},
      {pods, operation::create, "", "v1", "pods", "eviction", "a", false},
      {pods, operation::create, "", "v1", "services", "", "a", false},
      {pods, operation::create, "apps", "v1", "deployments", "", "a", false},
      {subs, operation::update, "", "v1", "pods", "status", "a", true},
      {subs, operation::update, "", "v1", "pods", "", "a", false},
      {mains, operation::update, "", "v1", "pods", "status", "a", false},
      {cluster, operation::update, "", "v1", "pods", "", "a", false},
      {cluster, operation::update, "", "v1", "nodes", "", "", true},
      {cluster, operation::update, "", "v1", "namespaces", "", "a", true},
      {spaced, operation::update, "", "v1", "namespaces", "", "a", false},
      {spaced, operation::update, "", "v1", "nodes", "", "", false},
      {spaced, operation::update, "", "v1", "pods", "", "a", true},
  };
  for (auto& r : rows) {
    CAPTURE(r.rule);
    CAPTURE(r.plural);
    auto& s = resource(r.group, r.version, r.plural);
    subject about{.what = r.what, .asked = &s, .subresource = r.sub, .ns = std::string(r.ns), .name = "x"};
    CHECK((match_rules(hook_of(r.rule), about) == &s) == r.wanted);
  }
}

TEST_CASE("an equivalent resource is matched as what the rule knows, unless the policy is Exact") {
  constexpr std::string_view v2 =
      R"({"operations":["*"],"apiGroups":["autoscaling"],"apiVersions":["v2"],"resources":["horizontalpodautoscalers"]})";
  constexpr std::string_view events =
      R"({"operations":["*"],"apiGroups":[""],"apiVersions":["v1"],"resources":["events"]})";
  auto& v1 = resource("autoscaling", "v1", "horizontalpodautoscalers");
  subject about{.what = operation::create, .asked = &v1, .ns = "a", .name = "x"};
  CHECK(match_rules(hook_of(v2), about) == &resource("autoscaling", "v2", "horizontalpodautoscalers"));
  CHECK(match_rules(hook_of(v2, R"(,"matchPolicy":"Exact")"), about) == nullptr);
  about.asked = &resource("events.k8s.io", "v1", "events");
  CHECK(match_rules(hook_of(events), about) == &resource("", "v1", "events"));
}

TEST_CASE("what decides about webhooks, and who may what, is never asked about") {
  for (auto s : builtin_registry().all()) {
    CAPTURE(s->group);
    CAPTURE(s->resource);
    const bool wanted = s->group == "admissionregistration.k8s.io" || s->group == "authorization.k8s.io" ||
                        s->resource == "tokenreviews" || s->resource == "selfsubjectreviews";
    CHECK(is_exempt(*s) == wanted);
  }
}

TEST_CASE("a refusal is at least a 400, whatever it calls itself") {
  struct row {
    std::string_view status, message;
    int code;
  };
  const row rows[] = {
      {R"({"message":"m"})", R"(admission webhook "h" denied the request: m)", 400},
      {R"({"reason":"R"})", R"(admission webhook "h" denied the request: R)", 400},
      {R"({"code":200,"status":"Success"})", R"(admission webhook "h" denied the request without explanation)", 400},
      {R"({"code":999999,"message":"m"})", R"(admission webhook "h" denied the request: m)", 999},
      {"null", R"(admission webhook "h" denied the request without explanation)", 400}};
  auto h = hook_of(R"({"operations":["*"]})");
  for (auto& r : rows) {
    CAPTURE(r.status);
    auto v = read_verdict(
        h, "u",
        parsed(fmt::format(
            R"({{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{{"uid":"u","allowed":false,"status":{}}}}})",
            r.status)));
    REQUIRE(v.has_value());
    CHECK(v->refused.message == r.message);
    CHECK(v->refused.code == r.code);
  }
}

}  // namespace kedge::api::webhook
