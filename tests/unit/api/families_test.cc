// Services' families of addresses, by what the cluster has; the words are kube-apiserver's (registry/core/service).
#include <set>

#include "base/strings.h"
#include "harness.h"

using namespace kedge;
using namespace kedge::api;

namespace {

const resource_id services{"", "v1", "services"}, addresses{"networking.k8s.io", "v1", "ipaddresses"},
    ranges{"networking.k8s.io", "v1", "servicecidrs"};

struct cluster_of : api_world {
  explicit cluster_of(std::initializer_list<const char*> cidrs) {
    api_world::ranges.cidrs.clear();
    for (auto* c : cidrs) api_world::ranges.cidrs.push_back(ip_range::parse(c).value());
  }
  // "policy; families; families of its addresses", or the causes.
  std::string told(const api_result<json::value>& s) {
    if (!s) {
      std::string out;
      for (auto& c : s.error().causes) out += (out.empty() ? "" : " | ") + c.field + ": " + c.message;
      return out.empty() ? s.error().message : out;
    }
    auto& spec = (*s)["spec"];
    std::string out(spec["ipFamilyPolicy"].as_string());
    for (std::size_t i = 0; i < spec["ipFamilies"].size(); ++i)
      out += (i ? "," : "; ") + std::string(spec["ipFamilies"][i].as_string());
    for (std::size_t i = 0; i < spec["clusterIPs"].size(); ++i) {
      auto ip = ip_address::parse(spec["clusterIPs"][i].as_string());
      out += (i ? "," : "; ") + std::string(!ip ? "None" : ip->is_v4() ? "4" : "6");
    }
    CHECK((spec["clusterIPs"].empty() || spec["clusterIP"] == spec["clusterIPs"][0]));
    return out;
  }
  std::string create(const std::string& spec, const std::string& name = "s") {
    auto made = loop.run_until(client->create(services, "default", body(spec, name)));
    auto out = told(made);
    if (made && name == "s") (void)loop.run_until(client->remove(services, "default", name));
    return out;
  }
  std::string change(const std::string& name, const std::function<void(json::value&)>& f) {
    auto now = client->get(services, "default", name).value();
    f(now.member("spec"));
    return told(loop.run_until(client->update(services, "default", std::move(now))));
  }
  static json::value body(const std::string& spec, const std::string& name) {
    return json::parse(R"({"apiVersion":"v1","kind":"Service","metadata":{"name":")" + name +
                       R"("},"spec":{"ports":[{"port":80}])" + (spec.empty() ? "" : ",") + spec + "}}")
        .value();
  }
  std::set<std::string> taken() {
    std::set<std::string> out;
    for (auto& a : client->list(addresses, ""))
      out.insert(std::string(a["metadata"]["name"].as_string()) + " " +
                 std::string(a["metadata"]["labels"]["ipaddress.kubernetes.io/ip-family"].as_string()));
    return out;
  }
};

}  // namespace

TEST_CASE("services: families by what is asked for and what the cluster has") {
  struct row {
    std::string spec, four, six_four, six;
  };
  const std::string no_dual = "this cluster is not configured for dual-stack services";
  const std::string refused_dual = "spec.ipFamilyPolicy: Invalid value: \"RequireDualStack\": " + no_dual;
  auto unknown = [](const char* family) {
    return std::string("spec.ipFamilies[0]: Invalid value: \"") + family + "\": not configured on this cluster";
  };
  const row rows[] = {
      {"", "SingleStack; IPv4; 4", "SingleStack; IPv6; 6", "SingleStack; IPv6; 6"},
      {R"("ipFamilyPolicy":"PreferDualStack")", "PreferDualStack; IPv4; 4", "PreferDualStack; IPv6,IPv4; 6,4",
       "PreferDualStack; IPv6; 6"},
      {R"("ipFamilyPolicy":"RequireDualStack")", refused_dual, "RequireDualStack; IPv6,IPv4; 6,4", refused_dual},
      {R"("ipFamilies":["IPv4"])", "SingleStack; IPv4; 4", "SingleStack; IPv4; 4", unknown("IPv4")},
      {R"("ipFamilies":["IPv6"])", unknown("IPv6"), "SingleStack; IPv6; 6", "SingleStack; IPv6; 6"},
      {R"("ipFamilies":["IPv4"],"ipFamilyPolicy":"PreferDualStack")", "PreferDualStack; IPv4; 4",
       "PreferDualStack; IPv4,IPv6; 4,6", unknown("IPv4")},
      {R"("clusterIP":"10.43.0.77")", "SingleStack; IPv4; 4", "SingleStack; IPv4; 4",
       "spec.clusterIPs[0]: Invalid value: [\"10.43.0.77\"]: IPv4 is not configured on this cluster"},
      {R"("clusterIP":"None","selector":{"a":"b"})", "SingleStack; IPv4; None", "SingleStack; IPv6; None",
       "SingleStack; IPv6; None"},
      {R"("clusterIP":"None")", "RequireDualStack; IPv4,IPv6; None", "RequireDualStack; IPv6,IPv4; None",
       "RequireDualStack; IPv6,IPv4; None"},
      {R"("clusterIP":"None","selector":{"a":"b"},"ipFamilyPolicy":"PreferDualStack")", "PreferDualStack; IPv4; None",
       "PreferDualStack; IPv6,IPv4; None", "PreferDualStack; IPv6; None"},
  };
  auto compare = [&](std::initializer_list<const char*> cidrs, std::string row::* wanted) {
    cluster_of w(cidrs);
    for (auto& r : rows) {
      CAPTURE(r.spec);
      CHECK(w.create(r.spec) == r.*wanted);
    }
    CHECK(w.taken().empty());
  };
  compare({"10.43.0.0/16"}, &row::four);
  compare({"fd00:43::/112", "10.43.0.0/16"}, &row::six_four);
  compare({"fd00:43::/112"}, &row::six);
}

TEST_CASE("services: a second address comes and goes with the policy") {
  cluster_of w{"10.43.0.0/16", "fd00:43::/112"};
  CHECK(w.create("", "grows") == "SingleStack; IPv4; 4");
  auto policy = [&](const char* p) {
    return w.change("grows", [p](json::value& spec) { spec.set("ipFamilyPolicy", p); });
  };
  CHECK(policy("PreferDualStack") == "PreferDualStack; IPv4,IPv6; 4,6");
  CHECK(w.taken().size() == 2);
  // Fewer without saying so.
  auto refused = w.change("grows", [](json::value& spec) { spec.set("ipFamilies", json::array{"IPv4"}); });
  CHECK(refused.contains("must be 'SingleStack' to release the secondary IP family"));
  CHECK(policy("SingleStack") == "SingleStack; IPv4; 4");
  CHECK(w.taken().size() == 1);
  // A Service that prefers both keeps what it has when the cluster becomes one of both.
  w.api_world::ranges.cidrs.pop_back();
  CHECK(w.create(R"("ipFamilyPolicy":"PreferDualStack")", "prefers") == "PreferDualStack; IPv4; 4");
  w.api_world::ranges.cidrs.push_back(ip_range::parse("fd00:43::/112").value());
  auto touch = [](json::value& spec) { spec.set("sessionAffinity", "ClientIP"); };
  CHECK(w.change("prefers", touch) == "PreferDualStack; IPv4; 4");
  CHECK(w.change("prefers", [](json::value& spec) { spec.set("ipFamilyPolicy", "RequireDualStack"); }) ==
        "RequireDualStack; IPv4,IPv6; 4,6");
  for (auto& a : w.taken()) CHECK((a.contains(':') ? a.ends_with(" IPv6") : a.ends_with(" IPv4")));
}

TEST_CASE("services: further ranges give addresses once they are ready, and none when they are about to go") {
  cluster_of w{"10.43.0.0/30"};
  CHECK(w.create("", "one") == "SingleStack; IPv4; 4");
  CHECK(w.create("", "two") == "SingleStack; IPv4; 4");
  CHECK(w.create("", "three").contains("failed to allocate a serviceIP: range is full"));
  CHECK(w.create(R"("clusterIP":"10.99.0.7")", "three").contains("is not in the valid range"));
  auto more = json::parse(R"({"apiVersion":"networking.k8s.io/v1","kind":"ServiceCIDR","metadata":{"name":"more"},
    "spec":{"cidrs":["10.99.0.0/28"]}})");
  auto made = w.loop.run_until(w.client->create(ranges, "", *more));
  REQUIRE(made);
  CHECK(w.create(R"("clusterIP":"10.99.0.7")", "three").contains("is not in the valid range"));
  auto ready = [&](const char* status) {
    auto now = w.client->get(ranges, "", "more").value();
    now.member("status").set("conditions", json::array{json::object{{"type", "Ready"},
                                                                    {"status", status},
                                                                    {"reason", ""},
                                                                    {"message", ""},
                                                                    {"lastTransitionTime", "2026-01-01T00:00:00Z"}}});
    auto told = w.loop.run_until(w.client->update(ranges, "", std::move(now), "status"));
    CHECK_MESSAGE(told, (told ? "" : told.error().message));
  };
  ready("True");
  CHECK(w.create(R"("clusterIP":"10.99.0.7")", "three") == "SingleStack; IPv4; 4");
  CHECK(w.create(R"("clusterIP":"10.99.0.15")", "four").contains("is not in the valid range"));  // the broadcast
  CHECK(w.create("", "four") == "SingleStack; IPv4; 4");
  ready("False");
  CHECK(w.create("", "five").contains("range is full"));
}
