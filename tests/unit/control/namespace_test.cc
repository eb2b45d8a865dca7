// What a namespace that goes still has in other API servers.
#include <algorithm>
#include <set>

#include "at_work.h"
#include "control/conditions.h"

namespace kedge::control {
namespace {

constexpr std::string_view going =
    "{kind: Namespace, apiVersion: v1, metadata: {name: gone, deletionTimestamp: '2026-01-01T00:00:00Z'}, spec: "
    "{finalizers: [kubernetes]}, status: {phase: Terminating}}";

std::string registered(std::string_view version, int priority) {
  return fmt::format(
      "{{kind: APIService, apiVersion: apiregistration.k8s.io/v1, metadata: {{name: {0}.x.io}}, spec: {{group: x.io, "
      "version: {0}, versionPriority: {1}, groupPriorityMinimum: 1, service: {{namespace: a, name: b}}}}}}",
      version, priority);
}

// Serves things (with collections) and parts (one by one), of which one keeps a finalizer.
struct played_server {
  bool dead = false;
  std::set<std::string> things{"a", "b"}, parts{"c"}, held{"d"};
  std::vector<std::string> asked;

  static std::string list(const std::set<std::string>& names, std::string_view more = "") {
    std::string items;
    for (auto& n : names)
      items += fmt::format(R"({}{{"metadata":{{"name":"{}"{}}}}})", items.empty() ? "" : ",", n, more);
    return R"({"items":[)" + items + "]}";
  }
  api::raw_answer answer(const std::string& method, std::string path) {
    asked.push_back(method + " " + path);
    if (dead) return {503, "service unavailable\n"};
    if (path == "/apis/x.io/v1" || path == "/apis/x.io/v1beta1")
      return {200, R"({"resources":[
        {"name":"things","namespaced":true,"verbs":["delete","deletecollection","list"]},
        {"name":"things/status","namespaced":true,"verbs":["get"]},
        {"name":"parts","namespaced":true,"verbs":["delete","list"]},
        {"name":"wide","namespaced":false,"verbs":["delete","list"]},
        {"name":"reviews","namespaced":true,"verbs":["create"]},
        {"name":"helds","namespaced":true,"verbs":["delete","deletecollection","list"]}]})"};
    const std::string root = "/apis/x.io/v1/namespaces/gone/";
    if (!path.starts_with(root)) return {404, "404 page not found\n"};
    path = path.substr(root.size(), path.find('?') - root.size());
    if (method == "DELETE") {
      if (path == "things") things.clear();
      if (path == "parts/c") parts.clear();
      return {200, "{}"};
    }
    return {200, path == "things"  ? list(things)
                 : path == "parts" ? list(parts)
                                   : list(held, R"(,"finalizers":["x.io/keep"])")};
  }
};

}  // namespace

TEST_CASE("namespace-controller: what other API servers have in a namespace goes with it, and a dead one holds it") {
  played_server server;
  at_work w("namespace", {}, [&](api::user_ref as, api::raw_request q) -> task<result<api::raw_answer>> {
    CHECK_FALSE(as->name.empty());
    co_return server.answer(q.method, std::move(q.path));
  });
  w.put(json::value(going));
  w.put(json::value(registered("v1beta1", 10)));
  w.put(json::value(registered("v1", 20)));
  auto told = [&](std::string_view type) { return condition_of(w.get("/registry/namespaces/gone"), type)["message"]; };
  server.dead = true;
  CHECK(w.work("gone") == "");
  CHECK(told("NamespaceDeletionDiscoveryFailure").as_string() ==
        "Discovery failed for some groups, 2 failing: unable to retrieve the complete list of server APIs: x.io/v1: "
        "stale GroupVersion discovery: x.io/v1, x.io/v1beta1: stale GroupVersion discovery: x.io/v1beta1");
  CHECK(server.things.size() == 2);
  server.dead = false;
  server.asked.clear();
  CHECK(w.work("gone") == "");
  CHECK(server.things.empty());
  CHECK(server.parts.empty());
  // In the preferred version, once.
  CHECK(std::ranges::count(server.asked, "DELETE /apis/x.io/v1/namespaces/gone/things?propagationPolicy=Background") ==
        1);
  CHECK(std::ranges::none_of(server.asked, [](auto& a) {
    return a.find("/v1beta1/namespaces") != a.npos || a.find("wide") != a.npos || a.find("reviews") != a.npos;
  }));
  CHECK(told("NamespaceDeletionDiscoveryFailure").as_string() == "All resources successfully discovered");
  CHECK(told("NamespaceContentRemaining").as_string() ==
        "Some resources are remaining: helds.x.io has 1 resource instances");
  CHECK(told("NamespaceFinalizersRemaining").as_string() ==
        "Some content in the namespace has finalizers remaining: x.io/keep in 1 resource instances");
  CHECK(w.get("/registry/namespaces/gone")["spec"]["finalizers"].size() == 1);
  server.held.clear();
  CHECK(w.work("gone") == "");
  CHECK(w.get("/registry/namespaces/gone")["spec"]["finalizers"].empty());
}

}  // namespace kedge::control
