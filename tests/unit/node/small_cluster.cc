#include "small_cluster.h"

#include "base/strings.h"
#include "crypto/files.h"
#include "crypto/request.h"
#include "crypto/token.h"
#include "json/parse.h"
#include "json/patch.h"
#include "json/write.h"

using namespace kedge;
using json::object;
using json::value;

namespace {

net::http::server_options server_options(const crypto::authority& ca) {
  auto key = crypto::private_key::generate(crypto::key_kind::ecdsa_p256).value();
  crypto::leaf_request wanted{
      .common_name = "k3s", .dns_names = {"localhost"}, .addresses = {"127.0.0.1"}, .server = true};
  auto leaf = crypto::issue(ca, key.public_part(), wanted, system_wall_time(), system_random()).value();
  net::http::server_options o;
  o.listen = {{"127.0.0.1", 0}};
  o.tls = net::tls_server_context::make({}, crypto::chain_pem(leaf, ca), key.pem()).value();
  return o;
}

// Strategic merge as far as nodes need it: conditions by type, a replaced list of addresses, the rest as a merge patch.
void patch_node(value& node, value patch) {
  auto conditions = patch["status"]["conditions"];
  if (auto* s = patch.find("status")) {
    s->erase("conditions");
    if (auto* a = s->find("addresses")) std::erase_if(*a->array(), [](auto& x) { return x.find("$patch"); });
  }
  node = json::apply_merge_patch(std::move(node), patch);
  if (!conditions.is_array()) return;
  for (auto& c : *conditions.array()) {
    auto& list = node.member("status").member("conditions").make_array();
    std::erase_if(list, [&](auto& old) { return old["type"] == c["type"]; });
    list.push_back(c);
  }
}

}  // namespace

small_cluster::small_cluster()
    : server_ca_(crypto::authority::create("k3s-server-ca", system_wall_time()).value()),
      client_ca_(crypto::authority::create("k3s-client-ca", system_wall_time()).value()),
      server_(*this, server_options(server_ca_)) {}

task<void> small_cluster::run() { (void)co_await server_.run(0); }

std::string small_cluster::url() const {
  return "https://127.0.0.1:" + std::to_string(server_.listening(0).at(0).port);
}

std::string small_cluster::full_token() const {
  return "K10" + crypto::ca_hash(ca_pem(), system_wall_time()).value() + "::node:" + password;
}

void small_cluster::write_admin(const std::string& certificate_file, const std::string& key_file) const {
  auto key = crypto::private_key::generate(crypto::key_kind::ecdsa_p256).value();
  crypto::leaf_request wanted{.common_name = "system:admin", .organizations = {"system:masters"}, .client = true};
  auto leaf = crypto::issue(client_ca_, key.public_part(), wanted, system_wall_time(), system_random()).value();
  crypto::write_file(certificate_file, crypto::chain_pem(leaf, client_ca_)).value();
  crypto::write_file(key_file, key.pem()).value();
}

small_cluster::reply small_cluster::status(int code, std::string_view reason, std::string message) {
  return {code, json::write(object{{"kind", "Status"},
                                   {"apiVersion", "v1"},
                                   {"status", "Failure"},
                                   {"message", std::move(message)},
                                   {"reason", reason},
                                   {"code", code}})};
}

task<void> small_cluster::serve(net::http::exchange& e) {
  requests.push_back(e.request().method + " " + e.request().path);
  auto body = co_await e.read_all();
  if (!body) co_return;
  auto r = answer(e, *body);
  net::http::response head{.status = r.status};
  (void)co_await e.respond(head, r.body);
}

small_cluster::reply small_cluster::answer(net::http::exchange& e, const std::string& body) {
  auto& path = e.request().path;
  if (path == "/cacerts") return {200, ca_pem()};
  if (unavailable > 0) {
    --unavailable;
    return status(503, "ServiceUnavailable", "starting");
  }
  return path.starts_with("/v1-k3s/") ? supervisor(e, body) : api(e, body);
}

small_cluster::reply small_cluster::supervisor(net::http::exchange& e, const std::string& body) {
  if (e.request().headers.get("Authorization") != "Basic " + base64(as_bytes("node:" + password)))
    return status(401, "Unauthorized", "not authorized");
  auto what = e.request().path.substr(std::string_view("/v1-k3s/").size());
  if (what == "config")
    return {
        200,
        down_level
            ? R"({"DisableNPC":false,"ServiceIPRange":null})"
            : R"({"DisableNPC":false,"ServiceIPRange":{"IP":"10.43.0.0","Mask":"//8AAA=="},)"
              R"("ServiceNodePortRange":{"Base":30000,"Size":2768},"ClusterIPRange":{"IP":"10.42.0.0","Mask":"//8AAA=="},)"
              R"("ClusterDNS":"10.43.0.10","ClusterDomain":"cluster.local","FlannelBackend":"vxlan","HTTPSPort":6443,"SupervisorPort":6443})"};
  if (what == "server-ca.crt") return {200, ca_pem()};
  if (what == "client-ca.crt") return {200, client_ca_.bundle_pem()};
  if (e.request().method == "POST") return issue(e, what.substr(0, what.find('.')), body);
  return status(404, "NotFound", "not found");
}

small_cluster::reply small_cluster::issue(net::http::exchange& e, const std::string& what, const std::string& body) {
  auto& headers = e.request().headers;
  for (auto* h : {"K3s-Node-Name", "K3s-Node-Password", "K3s-Node-IP"})
    if (headers.has(h)) headers_of_certificate[what + "." + h] = headers.get(h);
  if (what.ends_with("kubelet")) {
    auto [known, fresh] = node_passwords.emplace(headers.get("k3s-node-name"), headers.get("k3s-node-password"));
    if (!fresh && known->second != headers.get("k3s-node-password"))
      return status(403, "Forbidden", "hash does not match");
  }
  auto key = crypto::public_key_of_request(as_bytes(body));
  if (!key) return status(400, "BadRequest", key.error().message);
  std::optional<crypto::private_key> shared;
  if (sends_keys) {
    shared = crypto::private_key::generate(crypto::key_kind::ecdsa_p256).value();
    key = shared->public_part();
  }
  bool serving = what.starts_with("serving");
  crypto::leaf_request wanted{
      .common_name = "system:node:" + std::string(headers.get("K3s-Node-Name")), .client = !serving, .server = serving};
  auto& ca = serving ? server_ca_ : client_ca_;
  auto leaf = crypto::issue(ca, *key, wanted, system_wall_time(), system_random()).value();
  return {200, crypto::chain_pem(leaf, ca) + (shared ? shared->pem() : std::string())};
}

small_cluster::reply small_cluster::api(net::http::exchange& e, const std::string& body) {
  if (silent) return status(503, "ServiceUnavailable", "apiserver not ready");
  auto& chain = e.connection().peer_certificates;
  if (chain.empty()) return status(401, "Unauthorized", "Unauthorized");
  auto user = crypto::certificate::from_der(as_bytes(chain[0])).value().subject().user;
  if (api_users.empty() || api_users.back() != user) api_users.push_back(user);
  auto& method = e.request().method;
  auto& path = e.request().path;
  auto sent = json::parse(body.empty() ? "null" : body);
  if (!sent) return status(400, "BadRequest", "not JSON");

  auto at = [&](std::string_view prefix) { return path.starts_with(prefix); };
  if (at("/api/v1/namespaces/default/events")) {
    events.push_back(*sent);
    return {201, body};
  }
  bool is_lease = at("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases");
  auto& kept = is_lease ? lease : node;
  if (!is_lease && !at("/api/v1/nodes")) return status(404, "NotFound", "not found");
  if (method == "POST") {
    if (!kept.is_null()) return status(409, "AlreadyExists", "already exists");
    kept = *sent;
    kept.member("metadata").set("uid", "uid-1");
    if (!is_lease) kept.member("spec").set("podCIDR", "10.42.0.0/24");
    if (!is_lease) made_node = kept;
    return {201, json::write(kept)};
  }
  if (kept.is_null()) return status(404, "NotFound", "not found");
  if (method == "PUT") kept = *sent;
  if (method == "PATCH") patch_node(kept, *sent);
  return {200, json::write(kept)};
}
