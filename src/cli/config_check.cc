#include "cli/config_check.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>

#include "cli/datastore_options.h"
#include "cli/node_settings.h"
#include "cli/server_settings.h"
#include "crypto/bootstrap_record.h"
#include "crypto/files.h"
#include "crypto/token.h"
#include "datastore/endpoint.h"
#include "net/tls.h"
#include "node/join/http_proxy.h"
#include "node/join/registration.h"
#include "node/join/supervisor_client.h"
#include "reactor/loop.h"
#include "reactor/sync.h"
#include "server/etcd/settings.h"
#include "supervisor/bootstrap_data.h"

namespace kedge::cli {

namespace {

constexpr auto database_time = std::chrono::seconds(10);

using problems = std::vector<std::string>;

// `text`: gets what is in it.
void look_at_file(std::string_view flag, const std::string& path, problems& out, std::string* text = nullptr) {
  if (path.empty()) return;
  auto read = crypto::read_file(path);
  if (!read)
    out.push_back(fmt::format("{}: {}", flag, read.error().message));
  else if (text)
    *text = *std::move(read);
}

// The nearest folder that is there must let this user in.
void look_at_folder(std::string_view flag, std::string path, problems& out) {
  while (path.size() > 1 && ::access(path.c_str(), F_OK) != 0) path.resize(std::max<std::size_t>(1, path.rfind('/')));
  if (::access(path.c_str(), W_OK) != 0)
    out.push_back(fmt::format("{}: {}", flag, os_error(errno, path + " can't be written").message));
}

void look_at_port(std::string_view flag, const std::string& address, std::uint16_t port, problems& out) {
  auto at = reactor::endpoint{address.empty() ? "0.0.0.0" : address, port};
  if (auto there = reactor::os_network().listen(at); !there)
    out.push_back(fmt::format("{}: {}: {}", flag, at.text(), there.error().message));
}

// Who has a datastore is known by the names of its record, one for each token.
task<result<void>> look_at_token(datastore::log& l, const supervisor::config& cluster) {
  KEDGE_CO_TRY(auto password, supervisor::known_password(cluster));
  std::vector<std::string> tokens{password ? crypto::bootstrap_key(*password) : std::string(),
                                  password ? supervisor::rotation_key(*password) : std::string()};
  bool cluster_there = false;
  for (datastore::revision after = 0;;) {
    KEDGE_CO_TRY(auto page, co_await l.load_live(after));
    for (auto& e : page.entries) {
      if (std::ranges::find(tokens, e.name) != tokens.end()) co_return result<void>();
      cluster_there |= e.name.starts_with(crypto::bootstrap_prefix) && e.name.size() > crypto::bootstrap_prefix.size();
    }
    after = page.at;
    if (page.done) break;
  }
  if (cluster_there)
    co_return fail(errc::unauthenticated,
                   "the cluster in it has another token: it stands in server/token in the data directory of any of its "
                   "servers");
  co_return result<void>();
}

// Opens it, reads, and closes it, which changes nothing. The file of a server that runs here is that server's, and one
// that isn't there is made.
void look_at_database(const server_options& o, const supervisor::config& cluster, problems& out) {
  auto where = datastore_options(o);
  where.looks_only = true;
  where.sqlite.lock_wait = {};
  where.sqlite.makes_database = false;
  const bool shared = datastore::is_shared_endpoint(where.endpoint);
  if (!shared && ::access(datastore::sqlite_path(where).c_str(), F_OK) != 0) return;
  auto log = datastore::make_log(where);
  if (!log) return;  // server_settings says why
  auto& loop = reactor::loop::current();
  auto opened = loop.run_until([](datastore::log& l, const supervisor::config& c) -> task<result<void>> {
    const auto deadline = reactor::loop::current().now() + database_time;
    auto done = co_await reactor::with_deadline(l.open(), deadline);
    if (done) done = co_await reactor::with_deadline(look_at_token(l, c), deadline);
    co_await l.close();
    co_return done;
  }(**log, cluster));
  if (opened || opened.error().code == errc::not_found) return;
  if (!shared && opened.error().code == errc::unavailable) return;
  const auto& about = (*log)->description();
  if (opened.error().code == errc::timeout)
    out.push_back(fmt::format("--datastore-endpoint: {} gives no answer within {} s", about, database_time.count()));
  else
    out.push_back(fmt::format("--datastore-endpoint: {}", opened.error().message));
}

// The files of TLS to a datastore have to be of use together, too.
void look_at_tls_files(const server_options& o, problems& out) {
  const auto before = out.size();
  net::tls_client_options tls{.alpn = {}};
  std::string ca;
  look_at_file("--datastore-cafile", o.datastore_ca_file, out, &ca);
  if (!ca.empty()) tls.ca_pem = std::move(ca);
  look_at_file("--datastore-certfile", o.datastore_cert_file, out, &tls.chain_pem);
  look_at_file("--datastore-keyfile", o.datastore_key_file, out, &tls.key_pem);
  if (out.size() != before) return;
  if (auto usable = net::tls_client_context::make(std::move(tls)); !usable)
    out.push_back("--datastore-cafile, --datastore-certfile and --datastore-keyfile: " + usable.error().message);
}

// Whether the server that is to be joined is there, is who the token means, and takes the token.
task<result<void>> ask_server(audience who, const agent_options& o, reactor::network& network) {
  const bool server = who == audience::server;
  KEDGE_CO_TRY(auto token, crypto::parse_token(o.token, server ? "server" : "node"));
  // A node that has been one shows its certificate beside the token, which may have ended since.
  auto earlier =
      server ? node::client_identity{} : node::load_kubelet_identity(node_config(o)).value_or(node::client_identity{});
  KEDGE_CO_TRY(auto there, node::supervisor_client::make(o.server_url, std::move(token), std::move(earlier), &network));
  KEDGE_CO_CHECK(co_await there.trust_server());
  KEDGE_CO_CHECK(co_await there.get(server ? "/v1-k3s/server-bootstrap" : "/v1-k3s/config"));
  if (server) KEDGE_CO_CHECK(co_await there.get("/db/info"));
  co_return result<void>();
}

void look_at_server(audience who, const agent_options& o, problems& out) {
  auto& direct = reactor::os_network();
  std::unique_ptr<reactor::network> proxied;
  if (auto proxy = who == audience::agent ? proxy_of_this_process() : std::nullopt) {
    auto made = node::make_proxied_network(*proxy, direct);
    if (!made) {
      out.push_back(made.error().message);
      return;
    }
    proxied = *std::move(made);
  }
  auto asked = reactor::loop::current().run_until(ask_server(who, o, proxied ? *proxied : direct));
  if (!asked)
    out.push_back("--server: " + node::explain(std::move(asked).error(), node_config(o), o.node_name).message);
}

}  // namespace

std::optional<std::string> clock_problem(wall_time now) {
  if (now >= wall_time(std::chrono::sys_days(std::chrono::year(1980) / 1 / 1))) return std::nullopt;
  return "this machine's clock is before 1980; set it first";
}

void look_at_machine(audience who, const server_options& o, std::vector<std::string>& out) {
  if (auto wrong = clock_problem(system_wall_time())) out.push_back(*std::move(wrong));
  auto backend = reactor::make_backend(reactor::io_backend::automatic);
  if (!backend) {
    out.push_back(backend.error().message);
    return;
  }
  reactor::loop loop(*std::move(backend));
  reactor::loop::current_guard here(loop);
  auto& agent = o.agent;
  look_at_folder("--data-dir", agent.data_dir, out);
  const auto known = out.size();
  if (!agent.token.empty())
    if (auto token = crypto::parse_token(agent.token, who == audience::server ? "server" : "node"); !token)
      out.push_back("--token: " + token.error().message);
  const bool token_is_one = out.size() == known && !agent.token.empty();
  if (who == audience::agent || !o.disable_agent) {
    look_at_port("--kubelet-arg=port", agent.bind_address, agent.kubelet.port, out);
    if (agent.private_registry != agent_options().private_registry)
      look_at_file("--private-registry", agent.private_registry, out);
    look_at_file("--resolv-conf", agent.resolv_conf, out);
    look_at_file("--flannel-cni-conf", agent.flannel_cni_conf, out);
  }
  if (who == audience::agent) {
    if (!agent.disable_apiserver_lb) look_at_port("--lb-server-port", "127.0.0.1", agent.lb_server_port, out);
    if (token_is_one && !agent.server_url.empty()) look_at_server(who, agent, out);
    return;
  }
  look_at_port("--https-listen-port", agent.bind_address, o.https_listen_port, out);
  if (manages_etcd(o) && !o.disable_etcd)
    for (std::uint16_t port : {2379, 2380, 2381}) look_at_port("the cluster's etcd", "127.0.0.1", port, out);
  look_at_file("--etcd-s3-endpoint-ca", o.etcd_s3_endpoint_ca, out);
  if (!o.snapshot_dir.empty()) look_at_folder("--snapshot-dir", o.snapshot_dir, out);
  look_at_tls_files(o, out);
  auto settings = server_settings(o);
  if (!settings) out.push_back(settings.error().message);
  if (!manages_etcd(o))
    look_at_database(o, settings ? settings->cluster : supervisor::config(), out);
  else if (token_is_one && !agent.server_url.empty() && !server::etcd_has_data(agent.data_dir + "/server"))
    look_at_server(who, agent, out);
}

}  // namespace kedge::cli
