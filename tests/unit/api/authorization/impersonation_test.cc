// Acting as somebody else: each way that kube-apiserver 1.37 knows, and what none of them lets through.
#include "api/authorization/impersonation.h"

#include "../access_harness.h"

namespace kedge::api::testing {
namespace {

using fields = std::vector<std::pair<std::string, std::string>>;

struct stage {
  cluster c;
  rule_source* rules = nullptr;
  std::unique_ptr<authorizer> authz = make_authorizer(&rules);
  // A ClusterRole bound to `who`.
  void allow(const std::string& who, std::string_view rules_text) {
    static int count = 0;
    auto name = "r" + std::to_string(++count);
    c.put("{kind: ClusterRole, metadata: {name: " + name + "}, rules: " + std::string(rules_text) + "}");
    c.put("{kind: ClusterRoleBinding, metadata: {name: " + name + "}, subjects: [{kind: User, name: '" + who +
          "'}], roleRef: {kind: ClusterRole, name: " + name + "}}");
  }
  api_result<std::optional<user_info>> as(const user_info& who, const fields& list,
                                          attributes asked = ask({}, "get", "", "pods", "ns", "p")) {
    net::http::headers h;
    for (auto& [name, value] : list) h.add(name, value);
    asked.user = who;
    return impersonate(h, asked, *authz, c.now());
  }
  // The groups of who it becomes, or the refusal's message.
  std::string groups(const user_info& who, const fields& list) {
    auto got = as(who, list);
    if (!got) return got.error().message;
    if (!*got) return "nobody else";
    std::string out;
    for (auto& g : (*got)->groups) out += (out.empty() ? "" : " ") + g;
    return out;
  }
};

TEST_CASE("legacy impersonation asks about every part") {
  stage s;
  s.allow(
      "ann",
      "[{apiGroups: [''], resources: [users], resourceNames: [bob, 'system:anonymous'], verbs: [impersonate]},"
      "{apiGroups: [''], resources: [groups], resourceNames: [dev, 'system:unauthenticated'], verbs: [impersonate]},"
      "{apiGroups: [''], resources: [serviceaccounts], resourceNames: [robot], verbs: [impersonate]},"
      "{apiGroups: [authentication.k8s.io], resources: [userextras/scopes], resourceNames: [view], verbs: "
      "[impersonate]},"
      "{apiGroups: [authentication.k8s.io], resources: [uids], resourceNames: [u1], verbs: [impersonate]}]");
  auto ann = user("ann");
  struct row {
    fields headers;
    std::string groups;  // empty: refused
  };
  const row rows[] = {
      {{}, "nobody else"},
      {{{"Impersonate-User", "bob"}}, "system:authenticated"},
      {{{"impersonate-user", "bob"}}, "system:authenticated"},
      {{{"Impersonate-User", "eve"}}, ""},
      {{{"Impersonate-User", "bob"}, {"Impersonate-Group", "dev"}}, "dev system:authenticated"},
      {{{"Impersonate-User", "bob"}, {"Impersonate-Group", "system:masters"}}, ""},
      {{{"Impersonate-User", "bob"}, {"Impersonate-Group", "dev"}, {"Impersonate-Group", "ops"}}, ""},
      {{{"Impersonate-User", "bob"}, {"Impersonate-Group", "system:unauthenticated"}}, "system:unauthenticated"},
      {{{"Impersonate-User", "system:anonymous"}}, "system:unauthenticated"},
      {{{"Impersonate-User", "system:serviceaccount:ci:robot"}},
       "system:serviceaccounts system:serviceaccounts:ci system:authenticated"},
      {{{"Impersonate-User", "system:serviceaccount:ci:robot"}, {"Impersonate-Group", "dev"}},
       "dev system:authenticated"},
      {{{"Impersonate-User", "system:serviceaccount:ci:other"}}, ""},
      // Not names of service accounts, so of users: which ann may not be.
      {{{"Impersonate-User", "system:serviceaccount::robot"}}, ""},
      {{{"Impersonate-User", "system:serviceaccount:ci:"}}, ""},
      {{{"Impersonate-User", "system:serviceaccount:Ci:robot"}}, ""},
      {{{"Impersonate-User", "bob"}, {"Impersonate-Extra-Scopes", "view"}}, "system:authenticated"},
      {{{"Impersonate-User", "bob"}, {"Impersonate-Extra-Scopes", "write"}}, ""},
      {{{"Impersonate-User", "bob"}, {"Impersonate-Extra-Other", "view"}}, ""},
      {{{"Impersonate-User", "bob"}, {"Impersonate-Extra-%zz", "view"}},
       ""},  // a bad escape is asked about as it stands, not dropped
      {{{"Impersonate-User", "bob"}, {"Impersonate-Extra-", "view"}}, ""},
      {{{"Impersonate-User", "bob"}, {"Impersonate-Uid", "u1"}}, "system:authenticated"},
      {{{"Impersonate-User", "bob"}, {"Impersonate-Uid", "u2"}}, ""},
  };
  for (auto& r : rows) {
    CAPTURE(r.groups);
    std::string shown;
    for (auto& [name, value] : r.headers) shown += name + "=" + value + " ";
    CAPTURE(shown);
    if (r.groups.empty())
      CHECK(s.as(ann, r.headers).error().code == 403);
    else
      CHECK(s.groups(ann, r.headers) == r.groups);
  }
  auto extra =
      s.as(admin(), {{"Impersonate-User", "x"}, {"Impersonate-Extra-Team%2Fname", "a"}, {"Impersonate-Uid", "u"}});
  REQUIRE(extra.has_value());
  CHECK((*extra)->extra.at("team/name").front() == "a");
  CHECK((*extra)->uid == "u");
  auto unnamed = s.as(ann, {{"Impersonate-Group", "x"}});
  CHECK(unnamed.error().code == 400);
  CHECK(
      unnamed.error().message ==
      R"(requested &user.DefaultInfo{Name:"", UID:"", Groups:[]string{"x"}, Extra:map[string][]string(nil)} without impersonating a user name)");
  CHECK(s.as(ann, {{"Impersonate-Extra-%zz", "x"}}).error().code == 400);
}

TEST_CASE("constrained impersonation wants the deed and the person") {
  stage s;
  const auto sa = [](const std::string& node) {
    auto u = user("system:serviceaccount:mon:agent", {"system:serviceaccounts", "system:authenticated"});
    if (!node.empty()) u.extra["authentication.kubernetes.io/node-name"] = {node};
    return u;
  };
  const fields as_n1 = {{"Impersonate-User", "system:node:n1"}}, as_bob = {{"Impersonate-User", "bob"}};
  // The person alone is not enough, nor the deed alone.
  s.allow("ann",
          "[{apiGroups: [authentication.k8s.io], resources: [users], resourceNames: [bob], verbs: "
          "['impersonate:user-info']}]");
  CHECK(
      s.groups(user("ann"), as_bob) ==
      R"(pods "p" is forbidden: User "ann" cannot impersonate-on:user-info:get resource "pods" in API group "" in the namespace "ns")");
  s.allow("cid", "[{apiGroups: [''], resources: [pods], verbs: ['impersonate-on:user-info:get']}]");
  CHECK(
      s.groups(user("cid"), as_bob) ==
      R"(users.authentication.k8s.io "bob" is forbidden: User "cid" cannot impersonate:user-info resource "users" in API group "authentication.k8s.io" at the cluster scope)");
  s.allow("ann", "[{apiGroups: [''], resources: [pods], verbs: ['impersonate-on:user-info:get']}]");
  CHECK(s.groups(user("ann"), as_bob) == "system:authenticated");
  CHECK_FALSE(s.as(user("ann"), as_bob, ask({}, "delete", "", "pods", "ns", "p")).has_value());
  // Never the administrators' group, whatever is granted.
  s.allow("ann", "[{apiGroups: [authentication.k8s.io], resources: ['*'], verbs: ['impersonate:user-info']}]");
  CHECK(s.as(user("ann"), {{"Impersonate-User", "bob"}, {"Impersonate-Group", "system:masters"}}).error().code == 403);
  CHECK(s.groups(user("ann"), {{"Impersonate-User", "bob"}, {"Impersonate-Group", "dev"}}) ==
        "dev system:authenticated");
  CHECK(s.as(user("ann"), {{"Impersonate-User", "bob"}, {"Impersonate-Extra-plain", "v"}}).error().code == 403);
  CHECK(s.groups(user("ann"), {{"Impersonate-User", "bob"}, {"Impersonate-Extra-acme.io%2Fteam", "v"}}) ==
        "system:authenticated");
  // Nodes and accounts aren't mere users.
  CHECK(s.as(user("ann"), as_n1).error().code == 403);
  CHECK(s.as(user("ann"), {{"Impersonate-User", "system:serviceaccount:ci:robot"}}).error().code == 403);

  s.allow("system:serviceaccount:mon:agent",
          "[{apiGroups: [authentication.k8s.io], resources: [nodes], resourceNames: ['*'], verbs: "
          "['impersonate:associated-node']},"
          "{apiGroups: [''], resources: [pods], verbs: ['impersonate-on:associated-node:get']}]");
  CHECK(s.groups(sa("n1"), as_n1) == "system:nodes system:authenticated");
  CHECK(s.as(sa("n2"), as_n1).error().code == 403);
  CHECK(s.as(sa(""), as_n1).error().code == 403);
  CHECK(s.as(sa("n1"), {{"Impersonate-User", "system:node:n1"}, {"Impersonate-Group", "system:nodes"}}).error().code ==
        403);

  s.allow("ops",
          "[{apiGroups: [authentication.k8s.io], resources: [nodes], resourceNames: [n1], verbs: "
          "['impersonate:arbitrary-node']},"
          "{apiGroups: [authentication.k8s.io], resources: [serviceaccounts], resourceNames: [robot], verbs: "
          "['impersonate:serviceaccount']},"
          "{apiGroups: [''], resources: [pods], verbs: ['impersonate-on:arbitrary-node:get', "
          "'impersonate-on:serviceaccount:get']}]");
  CHECK(s.groups(user("ops"), as_n1) == "system:nodes system:authenticated");
  CHECK(s.as(user("ops"), {{"Impersonate-User", "system:node:n2"}}).error().code == 403);
  CHECK(s.groups(user("ops"), {{"Impersonate-User", "system:serviceaccount:ci:robot"}}) ==
        "system:serviceaccounts system:serviceaccounts:ci system:authenticated");
}

}  // namespace
}  // namespace kedge::api::testing
