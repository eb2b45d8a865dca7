#include "node/port/kubelet_access.h"

#include <fmt/format.h>

#include "base/key.h"
#include "base/strings.h"
#include "crypto/digest.h"
#include "node/limits.h"

namespace kedge::node {

namespace {

using json::array;
using json::object;

bool below(std::string_view path, std::string_view root) {
  return path == root || (path.starts_with(root) && path.substr(root.size()).starts_with('/'));
}

}  // namespace

// The kubelet's server/auth.go, with KubeletFineGrainedAuthz (beta since 1.33).
std::vector<std::string_view> node_subresources(std::string_view path) {
  if (below(path, "/stats")) return {"stats"};
  if (below(path, "/metrics")) return {"metrics"};
  if (below(path, "/logs")) return {"log"};
  if (below(path, "/checkpoint")) return {"checkpoint"};
  if (below(path, "/statusz")) return {"statusz"};
  if (below(path, "/flagz")) return {"configz"};
  if (below(path, "/configz")) return {"configz", "proxy"};
  if (below(path, "/healthz")) return {"healthz", "proxy"};
  if (below(path, "/pods") || below(path, "/runningpods")) return {"pods", "proxy"};
  return {"proxy"};
}

std::string_view review_verb(std::string_view method) {
  if (method == "POST") return "create";
  if (method == "PUT") return "update";
  if (method == "PATCH") return "patch";
  if (method == "DELETE") return "delete";
  return method == "GET" ? "get" : "";
}

template <typename T>
void kubelet_access::remember(std::map<std::string, remembered<T>>& in, std::string key, T value, duration how_long) {
  auto now = reactor::loop::current().now();
  if (in.size() >= access_cache_max) std::erase_if(in, [now](auto& one) { return one.second.until < now; });
  if (in.size() >= access_cache_max) in.clear();
  in.insert_or_assign(std::move(key), remembered<T>{std::move(value), now + how_long});
}

task<result<kubelet_access::user>> kubelet_access::identify(net::http::exchange& e) {
  auto& loop = reactor::loop::current();
  std::vector<crypto::certificate> chain;
  for (auto& der : e.connection().peer_certificates) {
    auto parsed = crypto::certificate::from_der(as_bytes(der));
    if (!parsed) break;
    chain.push_back(std::move(*parsed));
  }
  if (!chain.empty() && client_ca_.verify_client(chain, loop.wall_now())) {
    auto& s = chain.front().subject();
    co_return user{.name = s.user, .uid = s.uid, .groups = s.groups};
  }
  auto header = e.request().headers.get("authorization");
  if (header.size() < 8 || !iequals(header.substr(0, 7), "bearer "))
    co_return fail(errc::unauthenticated, "Unauthorized");
  std::string token(trim(header.substr(7)));
  auto key = crypto::sha256_hex(as_bytes(token));
  if (auto known = tokens_.find(key); known != tokens_.end() && known->second.until > loop.now())
    co_return known->second.value;
  json::value review(
      object{{"apiVersion", "authentication.k8s.io/v1"}, {"kind", "TokenReview"}, {"spec", object{{"token", token}}}});
  KEDGE_CO_TRY(auto answer, co_await api_.create("/apis/authentication.k8s.io/v1/tokenreviews", review));
  auto& status = answer["status"];
  if (!status["authenticated"].as_bool()) co_return fail(errc::unauthenticated, "Unauthorized");
  user u{.name = std::string(status["user"]["username"].as_string()),
         .uid = std::string(status["user"]["uid"].as_string())};
  if (auto* all = status["user"]["groups"].array())
    for (auto& g : *all) u.groups.emplace_back(g.as_string());
  remember(tokens_, std::move(key), u, token_cache_time);
  co_return u;
}

task<result<bool>> kubelet_access::granted(const user& u, std::string verb, std::string subresource) {
  std::string key;
  for (std::string_view part :
       {std::string_view(u.name), std::string_view(u.uid), std::string_view(verb), std::string_view(subresource)})
    append_part(key, part);
  for (auto& group : u.groups) append_part(key, group);
  if (auto known = decisions_.find(key);
      known != decisions_.end() && known->second.until > reactor::loop::current().now())
    co_return known->second.value;
  array groups_value;
  for (auto& g : u.groups) groups_value.emplace_back(g);
  json::value review(object{{"apiVersion", "authorization.k8s.io/v1"},
                            {"kind", "SubjectAccessReview"},
                            {"spec", object{{"user", u.name},
                                            {"uid", u.uid},
                                            {"groups", std::move(groups_value)},
                                            {"resourceAttributes", object{{"verb", verb},
                                                                          {"version", "v1"},
                                                                          {"resource", "nodes"},
                                                                          {"subresource", subresource},
                                                                          {"name", node_name_}}}}}});
  KEDGE_CO_TRY(auto answer, co_await api_.create("/apis/authorization.k8s.io/v1/subjectaccessreviews", review));
  bool yes = answer["status"]["allowed"].as_bool();
  remember(decisions_, std::move(key), yes, yes ? granted_cache_time : refused_cache_time);
  co_return yes;
}

task<result<std::string>> kubelet_access::check_member(net::http::exchange& e) {
  KEDGE_CO_TRY(auto who, co_await identify(e));
  for (auto& g : who.groups)
    if (g == "system:nodes" || g == "system:masters") co_return std::move(who.name);
  co_return fail(errc::forbidden, fmt::format("Forbidden (user={}): it is no node of the cluster\n", who.name));
}

task<result<void>> kubelet_access::check(net::http::exchange& e) {
  KEDGE_CO_TRY(auto who, co_await identify(e));
  for (auto& g : who.groups)
    if (g == "system:masters") co_return result<void>();
  std::string verb(review_verb(e.request().method)), path = e.request().path;
  auto subresources = node_subresources(path);
  for (auto s : subresources) {
    KEDGE_CO_TRY(auto yes, co_await granted(who, verb, std::string(s)));
    if (yes) co_return result<void>();
  }
  co_return fail(errc::forbidden, fmt::format("Forbidden (user={}, verb={}, resource=nodes, subresource(s)=[{}])\n",
                                              who.name, verb, fmt::join(subresources, " ")));
}

}  // namespace kedge::node
