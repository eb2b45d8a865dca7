#include "supervisor/routes.h"

#include <map>

#include "api/authentication/union.h"
#include "base/ip.h"
#include "base/log.h"
#include "base/strings.h"
#include "crypto/bootstrap_record.h"
#include "crypto/files.h"
#include "crypto/request.h"
#include "crypto/token.h"
#include "json/parse.h"
#include "json/write.h"
#include "reactor/offload.h"
#include "supervisor/bootstrap_data.h"
#include "supervisor/config_document.h"
#include "supervisor/server_names.h"
#include "tunnel/dial.h"

namespace kedge::supervisor {

namespace {

using net::http::exchange;
using net::http::response;

constexpr std::size_t request_bytes_max = 128 * 1024;    // other authorities are some 60 KiB, all else a few
constexpr std::size_t static_file_bytes_max = 64 << 20;  // chart archives
// Agents that all come back at once must not starve the API: K3s's bounds for this group of paths.
constexpr unsigned reads_at_once_max = 20;
constexpr unsigned writes_at_once_max = 10;
// Requests whose bodies are still on their way, 128 KiB each at most.
constexpr unsigned bodies_at_once_max = 100;

task<void> answer(exchange& e, int code, std::string type, std::string body, bool close = false) {
  response r;
  r.status = code;
  if (!type.empty()) r.headers.add("Content-Type", std::move(type));
  if (close) r.headers.add("Connection", "close");
  if (auto sent = co_await e.respond(r, body); !sent)
    log::debug("supervisor: answer not sent: {}", sent.error().message);
}

task<void> refuse(exchange& e, api::status s) {
  co_await answer(e, s.code, "application/json", json::write(s.to_json()) + "\n", true);
}

api::status plain(int code, std::string reason, std::string message) {
  api::status s;
  s.code = code;
  s.reason = std::move(reason);
  s.message = std::move(message);
  return s;
}

struct counted {
  explicit counted(unsigned& n) noexcept : n_(n) { ++n_; }
  counted(const counted&) = delete;
  ~counted() { --n_; }
  unsigned& n_;
};

class routes final : public net::http::handler {
 public:
  explicit routes(services s) : s_(std::move(s)) {}

  // No coroutine of its own: a watch would keep the frame, and with it the room for all that could have been asked for.
  task<void> serve(exchange& e) override {
    auto& path = e.request().path;
    if (e.request().method == "CONNECT") return egress(e);
    if (path == "/cacerts") return cacerts(e);
    // K3s's /ping says "pong" as long as the process lives. Balancers' checks have nothing else that needs no
    // credentials.
    if (path == "/ping")
      return s_.serves() ? answer(e, 200, "text/plain; charset=utf-8", "pong")
                         : answer(e, 503, "text/plain; charset=utf-8", "not serving", true);
    if (path.starts_with("/static/")) return serve_static(e);
    if (path == "/db/snapshot") return snapshot(e);
    if (path == "/db/info" && s_.etcd_members) return members(e);
    if (path.starts_with("/db/")) return refuse(e, plain(400, "BadRequest", "etcd datastore disabled"));
    if (!path.starts_with("/v1-k3s/")) return s_.next.serve(e);
    return serve_own(e, std::string_view(path).substr(8));
  }

 private:
  using route = task<void> (routes::*)(exchange&, const api::user_info&, std::string body);
  struct entry {
    route run;
    bool for_servers;
  };

  task<void> serve_own(exchange& e, std::string_view name) {
    if (name == "connect") co_return co_await connect_node(e);
    static const std::map<std::string_view, entry> table = {
        {"serving-kubelet.crt", {&routes::serving_kubelet, false}},
        {"client-kubelet.crt", {&routes::client_kubelet, false}},
        {"client-kube-proxy.crt", {&routes::client_kube_proxy, false}},
        {"client-k3s-controller.crt", {&routes::client_controller, false}},
        {"client-ca.crt", {&routes::client_ca, false}},
        {"server-ca.crt", {&routes::server_ca, false}},
        {"apiservers", {&routes::apiservers, false}},
        {"config", {&routes::config_of_cluster, false}},
        {"readyz", {&routes::readyz, false}},
        {"token", {&routes::rotate_token, true}},
        {"server-bootstrap", {&routes::server_bootstrap, true}},
        {"encrypt/status", {&routes::encrypt_status, true}},
        {"encrypt/config", {&routes::encrypt_config, true}},
        {"datastore", {&routes::datastore, true}},
        {"cert/cacerts", {&routes::rotate_authorities, true}},
    };
    auto found = table.find(name);
    if (found == table.end()) co_return co_await s_.next.serve(e);
    // K3s tells a missing identity (403) from a wrong one (401).
    bool anonymous = !e.request().headers.has("Authorization") && e.connection().peer_certificates.empty();
    if (anonymous) co_return co_await refuse(e, plain(403, "Forbidden", "forbidden"));
    auto user = co_await authenticate(e);
    if (!user) co_return co_await refuse(e, user.error());
    const api::user_info& who = **user;
    bool allowed = found->second.for_servers ? who.in_group("k3s:server")
                                             : who.in_group("k3s:agent") || who.in_group("system:nodes") ||
                                                   who.in_group("system:bootstrappers");
    if (!allowed) co_return co_await refuse(e, plain(403, "Forbidden", "forbidden"));
    // Who sends slowly holds no place among those who are served: they are counted when all is there.
    if (bodies_ >= bodies_at_once_max) co_return co_await too_many(e);
    std::string body;
    {
      counted one(bodies_);
      e.limit_body(request_bytes_max);
      auto all = co_await e.read_all();
      if (!all) co_return co_await refuse(e, plain(400, "BadRequest", all.error().message));
      body = *std::move(all);
    }
    auto& method = e.request().method;
    bool reads = method == "GET" || method == "HEAD";
    auto& running = reads ? reads_ : writes_;
    if (running >= (reads ? reads_at_once_max : writes_at_once_max)) co_return co_await too_many(e);
    counted one(running);
    co_await (this->*found->second.run)(e, who, std::move(body));
  }

  static task<void> too_many(exchange& e) {
    response r;
    r.status = 429;
    r.headers.add("Retry-After", "1");
    r.headers.add("Content-Type", "text/plain; charset=utf-8");
    co_await e.respond(r, "Too many requests, please try again later.\n");
  }

  // K3s's words, and the reason where it is one that sends people after the wrong thing: whoever showed a certificate
  // of this cluster and a token hears which of both isn't good.
  api::status not_authorized(exchange& e) const {
    auto s = plain(401, "Unauthorized", "not authorized");
    auto& shown = e.connection().peer_certificates;
    if (shown.empty()) return s;
    auto now = reactor::loop::current().wall_now();
    auto leaf = crypto::certificate::from_der(as_bytes(shown.front()));
    if (!leaf || leaf->authority_key_id() != s_.identity.client_ca().signer().subject_key_id()) return s;
    if (auto wrong = s_.identity.clock_problem(now))
      s.message += ": " + *wrong;
    else if (auto invalid = crypto::reason_invalid(*leaf, now))
      s.message += ": the client certificate of " + quote(leaf->subject().user) + ": " + *invalid +
                   "; compare the clocks of both machines";
    return s;
  }

  // Whether a password said who it is, and one that a rotation of the servers' token changes.
  bool by_servers_token(const api::user_info& who) const {
    return who.in_group("k3s:server") || (who.in_group("k3s:agent") && !s_.identity.agents_have_own_token());
  }

  static api::status cannot_be_told(const error& why) {
    return plain(503, "ServiceUnavailable", "whether the token is still good can't be found out: " + why.message);
  }

  // Who asks. A password that is right counts only while it is the cluster's by the newest state of all; the
  // certificate that an agent shows beside its token counts all the same.
  task<api::api_result<api::user_ref>> authenticate(exchange& e) {
    // Another server may have made a bootstrap token, or taken it away, a moment ago: the datastore's newest state
    // counts.
    if (crypto::is_bootstrap_token(api::bearer_token(e.request().headers)))
      if (auto now = co_await s_.objects.objects_store().latest(); !now)
        co_return api::fail(cannot_be_told(now.error()));
    auto user = co_await s_.who.authenticate(e);
    if (!user) co_return api::fail(not_authorized(e));
    if (!by_servers_token(**user)) co_return user;
    auto stands = co_await s_.token_stands();
    if (stands && *stands) co_return user;
    if (!e.connection().peer_certificates.empty())
      if (auto other = co_await s_.who_without_password.authenticate(e); other && (*other)->in_group("system:nodes"))
        co_return other;
    if (!stands) co_return api::fail(cannot_be_told(stands.error()));
    co_return api::fail(plain(401, "Unauthorized", "not authorized: the cluster's token was rotated; use the new one"));
  }

  // Who asks, with K3s's answers for those who may not; nullopt: refused already.
  task<std::optional<api::user_info>> member(exchange& e, std::string_view group) {
    bool anonymous = !e.request().headers.has("Authorization") && e.connection().peer_certificates.empty();
    if (!anonymous) {
      auto user = co_await authenticate(e);
      if (!user) {
        co_await refuse(e, user.error());
        co_return std::nullopt;
      }
      if ((*user)->in_group(group)) co_return **user;
    }
    co_await refuse(e, plain(403, "Forbidden", "forbidden"));
    co_return std::nullopt;
  }

  // Agents ask again and again, and are told by the mark alone that nothing has changed, the clients' authority too.
  task<void> cacerts(exchange& e) {
    auto text = s_.identity.server_ca().bundle_pem();
    response r;
    r.headers.add("ETag", crypto::authorities_mark(text, s_.identity.client_ca().bundle_pem()));
    r.headers.add("Content-Type", "text/plain");
    const bool known = e.request().headers.get("If-None-Match") == r.headers.get("ETag");
    r.status = known ? 304 : 200;
    if (known) text.clear();
    if (auto sent = co_await e.respond(r, text); !sent)
      log::debug("supervisor: answer not sent: {}", sent.error().message);
  }

  // ---- tunnels ----

  task<void> connect_node(exchange& e) {
    auto user = co_await member(e, "system:nodes");
    if (!user) co_return;
    constexpr std::string_view node_user = "system:node:";
    if (!user->name.starts_with(node_user) || user->name.size() == node_user.size())
      co_return co_await refuse(e, plain(401, "Unauthorized", "a tunnel is for a node's own certificate"));
    co_await s_.tunnels.serve(e, user->name.substr(node_user.size()));
  }

  task<void> snapshot(exchange& e) {
    if (!co_await member(e, "k3s:server")) co_return;
    if (e.request().method != "POST") co_return co_await refuse(e, api::method_not_allowed());
    e.limit_body(request_bytes_max);
    auto body = co_await e.read_all();
    auto request = body ? json::parse(*body) : result<json::value>(fail(body.error()));
    if (!request) co_return co_await refuse(e, plain(400, "BadRequest", request.error().message));
    auto done = co_await s_.snapshot_request(*std::move(request));
    if (done) co_return co_await answer(e, 200, "application/json", json::write(*done));
    auto code = done.error().code;
    co_await refuse(e, code == errc::invalid          ? plain(400, "BadRequest", done.error().message)
                       : code == errc::already_exists ? plain(409, "Conflict", done.error().message)
                                                      : plain(500, "InternalError", done.error().message));
  }

  // As K3s: this machine may know, and servers.
  task<void> members(exchange& e) {
    auto own_machine = ip_address::parse(e.connection().peer.address);
    if (!(own_machine && own_machine->is_loopback()) && !co_await member(e, "k3s:server")) co_return;
    auto told = co_await s_.etcd_members();
    if (told) co_return co_await answer(e, 200, "application/json", *std::move(told));
    co_await refuse(e, plain(503, "ServiceUnavailable", told.error().message));
  }

  task<void> egress(exchange& e) {
    auto user = co_await member(e, "system:masters");
    if (!user) co_return;
    bool relayed = e.request().headers.has(relayed_header);
    auto target = e.request().target;
    auto there = co_await s_.dialer.dial_target(target, !relayed);
    if (!there)
      co_return co_await refuse(e, plain(502, "BadGateway", "no way to " + target + ": " + there.error().message));
    auto here = co_await e.upgrade({.status = 200});
    if (!here) co_return;
    co_await tunnel::splice(**here, **there);
  }

  task<void> serve_static(exchange& e) {
    auto decoded = percent_decode(std::string_view(e.request().path).substr(8), false);
    bool bad = !decoded || decoded->empty() || decoded->find('\0') != std::string::npos;
    if (!bad)
      for (auto part : split(*decoded, '/'))
        if (part.empty() || part == "." || part == "..") bad = true;
    if (bad) co_return co_await answer(e, 404, "text/plain; charset=utf-8", "404 page not found\n");
    auto file = co_await reactor::offload([path = s_.settings.server_dir() + "/static/" + *decoded] {
      return crypto::read_file(path, static_file_bytes_max);
    });
    if (!file || !*file) co_return co_await answer(e, 404, "text/plain; charset=utf-8", "404 page not found\n");
    co_await answer(e, 200, "application/octet-stream", std::move(**file));
  }

  // ---- certificates ----

  struct node_identity {
    std::string name;
    std::vector<std::string> addresses;
  };

  // Who the request says it is, once it is known to be that node: header names, its certificate, its password.
  task<api::api_result<node_identity>> identify(exchange& e, const api::user_info& user) {
    auto& h = e.request().headers;
    node_identity id;
    id.name = lower(trim(h.get("K3s-Node-Name")));
    auto password = std::string(trim(h.get("K3s-Node-Password")));
    constexpr std::string_view node_user = "system:node:";
    bool by_certificate = user.in_group("system:nodes") && user.name.starts_with(node_user);
    if (id.name.empty())
      co_return api::fail(plain(400, "BadRequest", "header K3s-Node-Name is missing: the node's name is not set"));
    if (by_certificate && user.name.substr(node_user.size()) != id.name)
      co_return api::fail(plain(400, "BadRequest", "header node name does not match auth node name"));
    if (is_server_name(s_.settings, s_.objects, id.name))
      co_return api::fail(
          plain(403, "Forbidden",
                "node name " + quote(id.name) + " stands for the API servers; give the node another by --node-name"));
    if (password.empty())
      co_return api::fail(
          plain(400, "BadRequest", "header K3s-Node-Password is missing: the node's password is not set"));
    if (by_certificate && !s_.objects.get({"", "v1", "nodes"}, "", id.name))
      co_return api::fail(plain(401, "Unauthorized", "not authorized"));
    for (auto part : split(h.get("K3s-Node-IP"), ','))
      if (auto a = trim(part); !a.empty()) {
        if (!ip_address::parse(a))
          co_return api::fail(plain(500, "InternalError", "header K3s-Node-IP has an invalid address " + quote(a)));
        id.addresses.emplace_back(a);
      }
    auto certified = certified_addresses(s_.settings, s_.objects, id.addresses, e.connection().peer.address);
    if (certified.size() < id.addresses.size())
      log::warning("node {} from {} asked for a certificate that names a server's address: it is left out",
                   quote(id.name), e.connection().peer.text());
    id.addresses = std::move(certified);
    // Agents show it beside the token, which is who they are as long as it is good.
    if (!by_certificate && !e.connection().peer_certificates.empty()) {
      auto shown = co_await s_.who_without_password.authenticate(e);
      by_certificate =
          shown && (*shown)->in_group("system:nodes") && (*shown)->name == std::string(node_user) + id.name;
    }
    if (auto ok = co_await s_.passwords.check(id.name, std::move(password), by_certificate); !ok) {
      log::warning("node {} from {} was refused: {}", quote(id.name), e.connection().peer.text(), ok.error().message);
      co_return api::fail(std::move(ok).error());
    }
    co_return id;
  }

  // Signs the key of the request's body; without one (an agent from before 2025) the shared key `legacy` goes along.
  task<void> sign(exchange& e, const crypto::authority& ca, crypto::leaf_request leaf, std::string body,
                  std::string legacy) {
    std::string shared_key;
    auto key = e.request().method == "POST" ? crypto::public_key_of_request(as_bytes(body))
                                            : result<crypto::public_key>(fail(errc::invalid, "no request"));
    if (!key) {
      auto pem =
          co_await reactor::offload([id = s_.identity.shared_from_this(), legacy] { return id->legacy_key(legacy); });
      if (!pem || !*pem)
        co_return co_await refuse(e, plain(500, "InternalError", "the shared key " + legacy + " can't be read"));
      shared_key = **pem;
      auto parsed = crypto::private_key::from_pem(shared_key);
      if (!parsed)
        co_return co_await refuse(e, plain(500, "InternalError", "the shared key " + legacy + " is damaged"));
      key = parsed->public_part();
    }
    auto& loop = reactor::loop::current();
    auto certificate = crypto::issue(ca, *key, leaf, loop.wall_now(), loop.random());
    if (!certificate) co_return co_await refuse(e, plain(500, "InternalError", certificate.error().message));
    co_await answer(e, 200, "", crypto::chain_pem(*certificate, ca) + shared_key);
  }

  task<void> serving_kubelet(exchange& e, const api::user_info& user, std::string body) {
    auto id = co_await identify(e, user);
    if (!id) co_return co_await refuse(e, id.error());
    crypto::leaf_request leaf{.common_name = id->name,
                              .dns_names = {id->name, "localhost"},
                              .addresses = {"127.0.0.1", "::1"},
                              .server = true};
    leaf.addresses.insert(leaf.addresses.end(), id->addresses.begin(), id->addresses.end());
    co_await sign(e, s_.identity.server_ca(), std::move(leaf), std::move(body), "serving-kubelet");
  }
  task<void> client_kubelet(exchange& e, const api::user_info& user, std::string body) {
    auto id = co_await identify(e, user);
    if (!id) co_return co_await refuse(e, id.error());
    co_await sign(e, s_.identity.client_ca(),
                  {.common_name = "system:node:" + id->name, .organizations = {"system:nodes"}, .client = true},
                  std::move(body), "client-kubelet");
  }
  task<void> client_kube_proxy(exchange& e, const api::user_info&, std::string body) {
    co_await sign(e, s_.identity.client_ca(), {.common_name = "system:kube-proxy", .client = true}, std::move(body),
                  "client-kube-proxy");
  }
  task<void> client_controller(exchange& e, const api::user_info&, std::string body) {
    co_await sign(e, s_.identity.client_ca(), {.common_name = "system:k3s-controller", .client = true}, std::move(body),
                  "client-k3s-controller");
  }
  task<void> client_ca(exchange& e, const api::user_info&, std::string) {
    co_await answer(e, 200, "text/plain", s_.identity.client_ca().bundle_pem());
  }
  task<void> server_ca(exchange& e, const api::user_info&, std::string) {
    co_await answer(e, 200, "text/plain", s_.identity.server_ca().bundle_pem());
  }

  // ---- documents ----

  task<void> apiservers(exchange& e, const api::user_info&, std::string) {
    json::array list;
    s_.objects.each({"discovery.k8s.io", "v1", "endpointslices"}, "default", api::slices_of("kubernetes"),
                    [&](const json::value& slice) {
                      auto port = slice["ports"][0]["port"].as_integer(443);
                      for (std::size_t i = 0; i < slice["endpoints"].size(); ++i) {
                        auto& endpoint = slice["endpoints"][i];
                        if (!endpoint["conditions"]["ready"].as_bool(true)) continue;
                        for (std::size_t a = 0; a < endpoint["addresses"].size(); ++a)
                          list.push_back(reactor::endpoint{std::string(endpoint["addresses"][a].as_string()),
                                                           static_cast<std::uint16_t>(port)}
                                             .text());
                      }
                      return true;
                    });
    co_await answer(e, 200, "application/json", json::write(list) + "\n");
  }
  task<void> config_of_cluster(exchange& e, const api::user_info&, std::string) {
    auto d = config_document(s_.settings, s_.identity.ipsec_psk(), s_.identity.serving_names());
    co_await answer(e, 200, "application/json", json::write(d) + "\n");
  }
  task<void> readyz(exchange& e, const api::user_info&, std::string) {
    if (!s_.controllers_running())
      co_return co_await refuse(e, plain(503, "ServiceUnavailable", "runtime core not ready"));
    co_await answer(e, 200, "text/plain; charset=utf-8", "ok");
  }

  // ---- for servers ----

  task<void> server_bootstrap(exchange& e, const api::user_info&, std::string) {
    // Only who keeps the members has another server to give the cluster's keys to.
    if (!s_.etcd_members) co_return co_await refuse(e, plain(400, "BadRequest", "etcd disabled"));
    auto files = co_await reactor::offload([dir = s_.settings.server_dir()] { return read_bootstrap_files(dir); });
    if (!files || !*files)
      co_return co_await refuse(e, plain(500, "InternalError", "the cluster's keys can't be read"));
    co_await answer(e, 200, "application/json", crypto::write_bootstrap_files(**files));
  }
  task<void> encrypt_status(exchange& e, const api::user_info&, std::string) {
    auto status = co_await s_.encryption_status();
    co_await answer(e, 200, "application/json", json::write(status) + "\n");
  }
  task<void> encrypt_config(exchange& e, const api::user_info&, std::string body) {
    if (e.request().method != "PUT") co_return co_await refuse(e, api::method_not_allowed());
    auto document = json::parse(body);
    if (!document) co_return co_await refuse(e, plain(400, "BadRequest", document.error().message));
    auto done = co_await s_.change_encryption(*std::move(document));
    if (!done) co_return co_await refuse(e, plain(400, "BadRequest", done.error().message));
    co_await answer(e, 200, "", "");
  }
  // GET: its space. PUT: compacts it, and gives the space back.
  task<void> datastore(exchange& e, const api::user_info&, std::string) {
    auto& method = e.request().method;
    if (method != "GET" && method != "PUT") co_return co_await refuse(e, api::method_not_allowed());
    if (method == "PUT") {
      auto begun = co_await s_.compact_datastore();
      if (!begun) co_return co_await refuse(e, plain(503, "ServiceUnavailable", begun.error().message));
    }
    auto status = co_await s_.datastore_status();
    co_await answer(e, method == "PUT" ? 202 : 200, "application/json", json::write(status) + "\n");
  }
  task<void> rotate_authorities(exchange& e, const api::user_info&, std::string body) {
    if (e.request().method != "PUT") co_return co_await refuse(e, api::method_not_allowed());
    auto files = crypto::parse_bootstrap_files(body);
    if (!files) co_return co_await refuse(e, plain(400, "BadRequest", files.error().message));
    bool force = false;
    for (auto part : split(e.request().query, '&')) force = force || part == "force=true" || part == "force=1";
    auto done = co_await s_.rotate_authorities(*std::move(files), force);
    if (done) co_return co_await answer(e, 204, "", "");
    const bool bad = done.error().code == errc::invalid || done.error().code == errc::too_large ||
                     done.error().code == errc::unsupported;
    co_await refuse(
        e, bad ? plain(400, "BadRequest", "failed to validate new CA certificates and keys: " + done.error().message)
               : plain(503, "ServiceUnavailable", done.error().message));
  }
  task<void> rotate_token(exchange& e, const api::user_info&, std::string body) {
    if (e.request().method != "PUT") co_return co_await refuse(e, api::method_not_allowed());
    auto document = json::parse(body);
    if (!document) co_return co_await refuse(e, plain(400, "BadRequest", document.error().message));
    auto behind = co_await s_.rotate_token(std::string((*document)["newToken"].as_string()));
    if (!behind) {
      bool away = behind.error().code == errc::unavailable || behind.error().code == errc::timeout ||
                  behind.error().code == errc::unknown_outcome;
      co_return co_await refuse(e, away ? plain(503, "ServiceUnavailable", behind.error().message)
                                        : plain(400, "BadRequest", behind.error().message));
    }
    json::array without;
    for (auto& address : *behind) without.emplace_back(address);
    co_await answer(e, 200, "application/json", json::write(json::object{{"without", std::move(without)}}) + "\n");
  }

  services s_;
  unsigned reads_ = 0, writes_ = 0, bodies_ = 0;
};

}  // namespace

std::unique_ptr<net::http::handler> make_routes(services s) { return std::make_unique<routes>(std::move(s)); }

}  // namespace kedge::supervisor
