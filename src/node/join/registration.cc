#include "node/join/registration.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "base/log.h"
#include "base/strings.h"
#include "crypto/certificate.h"
#include "crypto/files.h"
#include "crypto/key.h"
#include "crypto/pem.h"
#include "crypto/request.h"
#include "json/parse.h"
#include "json/write.h"
#include "meta/nodes.h"
#include "node/limits.h"
#include "node/machine/system_info.h"
#include "reactor/offload.h"
#include "reactor/sync.h"

namespace kedge::node {

namespace {

std::vector<std::string> ip_nets(const json::value& document, std::string_view list, std::string_view single) {
  std::vector<std::string> out;
  if (auto* all = document[list].array())
    for (auto& v : *all)
      if (auto text = parse_ip_net(v); !text.empty()) out.push_back(std::move(text));
  if (out.empty())
    if (auto text = parse_ip_net(document[single]); !text.empty()) out.push_back(std::move(text));
  return out;
}

std::string agent_file(const agent_config& config, std::string_view name) {
  return config.agent_folder() + "/" + std::string(name);
}

// RFC 1123 subdomain: what the API takes as a Node's name.
// The file's trimmed content, or `content`, which is then the file's.
result<std::string> kept_in(const std::string& path, unsigned mode, std::string content) {
  if (auto old = crypto::read_file(path)) {
    auto text = trim(*old);
    if (!text.empty()) return std::string(text);
  } else if (old.error().code != errc::not_found) {
    return fail(std::move(old).error());
  }
  KEDGE_CHECK(crypto::make_folder(path.substr(0, path.find_last_of('/')), 0755));
  KEDGE_CHECK(crypto::write_file(path, content + "\n", {.mode = mode}));
  return content;
}

// The key that stands in the file, or a new one.
result<crypto::private_key> key_of(const std::string& path) {
  if (auto text = crypto::read_file(path))
    if (auto key = crypto::private_key::from_pem(*text)) return key;
  return crypto::private_key::generate(crypto::key_kind::ecdsa_p256);
}

struct wanted_certificate {
  std::string_view name;        // of the endpoint and of the files: client-kubelet
  bool names_node;              // sends the K3s-Node-* headers
  std::string_view kubeconfig;  // empty: none
};
constexpr wanted_certificate wanted_certificates[] = {
    {"serving-kubelet", true, ""},
    {"client-kubelet", true, "kubelet.kubeconfig"},
    {"client-kube-proxy", false, "kubeproxy.kubeconfig"},
    {"client-k3s-controller", false, "k3scontroller.kubeconfig"},
};

// serving-kubelet is for every address of the node, client-kubelet names the internal ones.
supervisor_client::header_list node_headers(const agent_config& config, const std::string& password, bool serving) {
  auto ips = config.node_ips;
  if (serving) ips.insert(ips.end(), config.node_external_ips.begin(), config.node_external_ips.end());
  return {{"K3s-Node-Name", config.node_name}, {"K3s-Node-Password", password}, {"K3s-Node-IP", join(ips, ",")}};
}

// The answer must be about the key that will be used with it.
result<void> check_pair(std::string_view chain, std::string_view key_pem, std::string_view name) {
  KEDGE_TRY(auto bundle, crypto::parse_bundle(chain));
  KEDGE_TRY(auto key, crypto::private_key::from_pem(key_pem));
  if (bundle.front().key() == key.public_part()) return {};
  return fail(errc::protocol,
              "the server's certificate for " + std::string(name) + " is not for the key that asked for it");
}

// One certificate: asked for, checked, on disk.
task<result<client_identity>> fetch_certificate(supervisor_client& server, const agent_config& config,
                                                const std::string& password, const wanted_certificate& w) {
  auto stem = agent_file(config, w.name);
  KEDGE_CO_TRY(auto loaded, co_await reactor::offload([path = stem + ".key"] { return key_of(path); }));
  KEDGE_CO_TRY(auto key, std::move(loaded));
  KEDGE_CO_TRY(auto request, crypto::make_request(key));
  supervisor_client::header_list headers;
  if (w.names_node) headers = node_headers(config, password, w.name == "serving-kubelet");
  KEDGE_CO_TRY(auto answer,
               co_await server.post("/v1-k3s/" + std::string(w.name) + ".crt", std::move(request), std::move(headers)));
  KEDGE_CO_TRY(auto got, parse_issued(answer));
  client_identity pair{std::move(got.chain), got.key.empty() ? key.pem() : std::move(got.key)};
  KEDGE_CO_CHECK(check_pair(pair.chain, pair.key, w.name));
  auto config_text =
      component_kubeconfig(config.api(), agent_file(config, "server-ca.crt"), stem + ".crt", stem + ".key");
  auto config_file = w.kubeconfig.empty() ? std::string() : agent_file(config, w.kubeconfig);
  KEDGE_CO_TRY(auto written, co_await reactor::offload([pair, stem, config_text, config_file]() -> result<void> {
                 KEDGE_CHECK(crypto::write_file(stem + ".key", pair.key));
                 KEDGE_CHECK(crypto::write_file(stem + ".crt", pair.chain));
                 if (!config_file.empty()) KEDGE_CHECK(crypto::write_file(config_file, config_text));
                 return {};
               }));
  KEDGE_CO_CHECK(std::move(written));
  co_return pair;
}

task<result<std::string>> fetch_ca_file(supervisor_client& server, const agent_config& config, std::string name) {
  KEDGE_CO_TRY(auto text, co_await server.get("/v1-k3s/" + name));
  if (auto good = crypto::parse_bundle(text); !good)
    co_return fail(std::move(good).error().with("the server's " + name + ": "));
  KEDGE_CO_TRY(auto written, co_await reactor::offload(
                                 [path = agent_file(config, name), text] { return crypto::write_file(path, text); }));
  KEDGE_CO_CHECK(std::move(written));
  co_return text;
}

// What the last registration told, beside its certificates: of this node, at these servers.
std::string told_file(const agent_config& config) { return agent_file(config, "etc/cluster.json"); }

result<void> keep_told(const agent_config& config, const json::value& document) {
  auto text =
      json::write(json::object{{"node", config.node_name}, {"server", config.server_url}, {"config", document}});
  auto file = told_file(config);
  if (auto old = crypto::read_file(file, answer_bytes_max); old && *old == text) return {};
  KEDGE_CHECK(crypto::make_folder(file.substr(0, file.find_last_of('/')), 0755));
  return crypto::write_file(file, text);
}

// What lies on this node's own disk was good when it came: a clock that stands before its authorities' begin (a machine
// without a battery, after a power cut) is wrong, and is taken for that time. By the network nobody is believed so: who
// has a key whose certificate has ended would be believed, too.
wall_time not_before_their_begin(std::string_view authorities, wall_time now) {
  if (auto bundle = crypto::parse_bundle(authorities))
    for (auto& one : *bundle) now = std::max(now, one.not_before());
  return now;
}

// errc::not_found: there was none, or another's.
result<registration> load_told(const agent_config& config, const crypto::token& token, wall_time now) {
  KEDGE_TRY(auto text, crypto::read_file(told_file(config), answer_bytes_max));
  KEDGE_TRY(auto told, json::parse(text));
  if (told["node"].as_string() != config.node_name || told["server"].as_string() != config.server_url)
    return fail(errc::not_found, "the last registration was another node's, or at other servers");
  registration out{.from_disk = true};
  KEDGE_TRY(out.cluster, parse_cluster_config(told["config"]));
  KEDGE_TRY(out.server_ca, crypto::read_file(agent_file(config, "server-ca.crt")));
  KEDGE_CHECK(crypto::check_ca_hash(token, out.server_ca, not_before_their_begin(out.server_ca, now)));
  KEDGE_TRY(out.kubelet, load_kubelet_identity(config));
  return out;
}

// Everything after the CA is trusted, once.
task<result<registration>> try_register(supervisor_client& server, agent_config config, const std::string& password) {
  registration out;
  KEDGE_CO_TRY(auto text, co_await server.get("/v1-k3s/config"));
  KEDGE_CO_TRY(auto document, json::parse(text));
  KEDGE_CO_TRY(out.cluster, parse_cluster_config(document));
  config.node_ips = order_addresses(std::move(config.node_ips), out.cluster.cluster_cidrs);
  KEDGE_CO_CHECK(co_await fetch_ca_file(server, config, "client-ca.crt"));
  KEDGE_CO_TRY(out.server_ca, co_await fetch_ca_file(server, config, "server-ca.crt"));
  for (auto& w : wanted_certificates) {
    KEDGE_CO_TRY(auto pair, co_await fetch_certificate(server, config, password, w));
    if (w.name == "client-kubelet") out.kubelet = std::move(pair);
  }
  auto kept = co_await reactor::offload([config, document] { return keep_told(config, document); });
  if (kept && !*kept) log::warning("the next start needs a server: {}", kept->error().message);
  co_return out;
}

// Whether no server said it, or one that can't serve.
bool is_silence(const error& e) {
  return e.code == errc::refused || e.code == errc::closed || e.code == errc::timeout || e.code == errc::io ||
         e.code == errc::unavailable;
}

// A server that is about to be ready is asked again soon; one that isn't, at K3s's cadence.
class retry_pause {
 public:
  explicit retry_pause(duration most, bool jitter) : most_(most), jitter_(jitter) {}
  bool quick() const { return next_ < most_; }
  reactor::sleep_awaiter wait() {
    auto d = std::min(next_, most_);
    next_ = std::min(next_ * 2, most_);
    auto& random = reactor::loop::current().random();
    if (jitter_ && !quick())
      d += duration(static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(d.count()) + 1)));
    return reactor::sleep_for(d);
  }

 private:
  duration most_;
  bool jitter_;
  duration next_ = start_poll_interval;
};

// The first problem, and then those that last: not each of the quick questions to a server that is starting.
void report(const error& e, const retry_pause& pause, bool first) {
  if (first || !pause.quick()) log::warning("not registered yet: {}", e.message);
}

}  // namespace

result<client_identity> load_kubelet_identity(const agent_config& config) {
  KEDGE_TRY(auto chain, crypto::read_file(agent_file(config, "client-kubelet.crt")));
  KEDGE_TRY(auto key, crypto::read_file(agent_file(config, "client-kubelet.key")));
  KEDGE_CHECK(check_pair(chain, key, "client-kubelet"));
  return client_identity{std::move(chain), std::move(key)};
}

std::string parse_ip_net(const json::value& v) {
  auto ip = v["IP"].as_string();
  auto mask = unbase64(v["Mask"].as_string());
  if (ip.empty() || !mask || (mask->size() != 4 && mask->size() != 16)) return {};
  int bits = 0;
  for (unsigned char c : *mask) bits += std::popcount(c);
  return std::string(ip) + "/" + std::to_string(bits);
}

result<cluster_config> parse_cluster_config(const json::value& d) {
  if (!d.is_object()) return fail(errc::protocol, "the server's /v1-k3s/config is no JSON object");
  if (!d["DisableNPC"].as_bool() &&
      (d["ServiceIPRange"].is_null() || d["ServiceNodePortRange"]["Size"].as_integer() == 0))
    return fail(errc::unsupported,
                "incompatible down-level server detected; servers must be upgraded before this agent is");
  cluster_config c;
  c.cluster_cidrs = ip_nets(d, "ClusterIPRanges", "ClusterIPRange");
  c.service_cidrs = ip_nets(d, "ServiceIPRanges", "ServiceIPRange");
  if (auto* all = d["ClusterDNSs"].array())
    for (auto& v : *all) c.cluster_dns.emplace_back(v.as_string());
  if (c.cluster_dns.empty() && d["ClusterDNS"].is_string()) c.cluster_dns.emplace_back(d["ClusterDNS"].as_string());
  c.cluster_domain = d["ClusterDomain"].as_string();
  c.flannel_backend = d["FlannelBackend"].as_string();
  c.system_default_registry = d["SystemDefaultRegistry"].as_string();
  c.embedded_registry = d["EmbeddedRegistry"].as_bool();
  c.egress_selector_mode = d["EgressSelectorMode"].as_string();
  c.https_port = static_cast<unsigned>(d["HTTPSPort"].as_integer());
  c.supervisor_port = static_cast<unsigned>(d["SupervisorPort"].as_integer());
  c.disable_cloud_controller = d["DisableCCM"].as_bool();
  c.flannel_ipv6_masquerade = d["FlannelIPv6Masq"].as_bool();
  c.flannel_external_ip = d["FlannelExternalIP"].as_bool();
  c.disable_kube_proxy = d["DisableKubeProxy"].as_bool();
  c.disable_service_lb = d["DisableServiceLB"].as_bool();
  c.disable_dns = d["Disables"]["coredns"].as_bool() || d["Skips"]["coredns"].as_bool();
  c.disable_network_policy = d["DisableNPC"].as_bool();
  return c;
}

result<node_identity> load_identity(const agent_config& config, std::string_view hostname, random_source& random) {
  node_identity out;
  out.name = lower(config.node_name.empty() ? hostname : std::string_view(config.node_name));
  if (out.name.empty()) return fail(errc::invalid, "the machine has no host name; give one with --node-name");
  if (config.with_node_id) {
    KEDGE_TRY(auto id, kept_in(config.password_folder + "/id", 0644, random.hex_text(4)));
    out.name += "-" + id;
  }
  if (auto problem = meta::node_name_problem(out.name); !problem.empty())
    return fail(errc::invalid, std::move(problem));
  KEDGE_TRY(out.password, kept_in(config.password_folder + "/password", 0600, random.hex_text(16)));
  return out;
}

result<issued> parse_issued(std::string_view pem) {
  KEDGE_TRY(auto blocks, crypto::parse_pem(pem));
  issued out;
  for (auto& b : blocks)
    (b.type.contains("PRIVATE KEY") ? out.key : out.chain) += crypto::write_pem(b.type, as_bytes(b.der));
  if (out.chain.empty())
    return fail(errc::protocol, "the server's answer to a certificate request holds no certificate");
  return out;
}

std::string component_kubeconfig(std::string_view server, std::string_view ca_file, std::string_view certificate_file,
                                 std::string_view key_file) {
  return fmt::format(R"(apiVersion: v1
clusters:
- cluster:
    server: {}
    certificate-authority: {}
  name: local
contexts:
- context:
    cluster: local
    namespace: default
    user: user
  name: Default
current-context: Default
kind: Config
preferences: {{}}
users:
- name: user
  user:
    client-certificate: {}
    client-key: {}
)",
                     server, ca_file, certificate_file, key_file);
}

error explain(error e, const agent_config& config, std::string_view node_name) {
  if (e.code == errc::forbidden)
    return {
        e.code,
        fmt::format(
            "Node password rejected, duplicate hostname or contents of '{}/password' may not match server node-passwd "
            "entry, try enabling a unique node name with the --with-node-id flag; if this machine was reinstalled, "
            "delete secret kube-system/{}.node-password.k3s on the server (the server says: {})",
            config.password_folder, node_name, e.message)};
  // A server that says why (a certificate and a clock that don't fit, a token that was rotated) is believed.
  if (e.code == errc::unauthenticated && e.message.starts_with("not authorized: ")) return e;
  if (e.code == errc::unauthenticated)
    return {e.code,
            "the server does not accept the token; compare it with the server's node-token file (the server says: " +
                e.message + ")"};
  return e;
}

task<result<registration>> register_node(agent_config config, std::string password, reactor::network* network,
                                         std::string known_ca) {
  auto folder = co_await reactor::offload([path = config.agent_folder()] { return crypto::make_folder(path, 0755); });
  KEDGE_CO_TRY(auto made, std::move(folder));
  KEDGE_CO_CHECK(std::move(made));
  auto parsed = crypto::parse_token(config.token, "node");
  if (!parsed) co_return fail(std::move(parsed).error().with("--token: "));
  // The certificate of an earlier start, shown beside the token.
  KEDGE_CO_TRY(auto earlier, co_await reactor::offload([config] { return load_kubelet_identity(config); }));
  auto token = *std::move(parsed);
  KEDGE_CO_TRY(auto server, supervisor_client::make(config.api(), token, earlier.value_or(client_identity{}), network));

  // Where no server serves for a while; one that refuses this node has the word.
  std::optional<registration> known;
  if (config.start_without_server) {
    auto now = reactor::loop::current().wall_now();
    auto told = co_await reactor::offload([config, token, now] { return load_told(config, token, now); });
    if (told && *told) known = std::move(**told);
  }
  auto silent_since = reactor::loop::current().now();
  auto gives_up = [&](const error& e) {
    if (!known) return false;
    if (is_silence(e)) return reactor::loop::current().now() - silent_since >= offline_patience;
    silent_since = reactor::loop::current().now();
    return false;
  };
  retry_pause trust_pause(token_retry_interval, false);
  const bool is_known = !known_ca.empty() && (co_await server.trust_server_by(known_ca)).has_value();
  for (bool first = true; !is_known; first = false) {
    auto trusted = known ? co_await reactor::with_deadline(server.trust_server(), silent_since + offline_patience)
                         : co_await server.trust_server();
    if (trusted) break;
    if (server.wrong_cluster()) co_return fail(std::move(trusted).error());
    if (gives_up(trusted.error())) co_return *std::move(known);
    report(trusted.error(), trust_pause, first);
    co_await trust_pause.wait();
  }
  silent_since = reactor::loop::current().now();
  retry_pause pause(config_retry_interval, true);
  for (bool first = true;; first = false) {
    auto done = co_await try_register(server, config, password);
    if (done) {
      log::info("registered with {} as node {}", config.api(), config.node_name);
      co_return done;
    }
    if (gives_up(done.error())) co_return *std::move(known);
    auto e = explain(std::move(done).error(), config, config.node_name);
    if (e.code == errc::unsupported) co_return fail(std::move(e));
    report(e, pause, first);
    // Rejected credentials don't become right within milliseconds, and each try costs the server a scrypt.
    if (e.code == errc::forbidden || e.code == errc::unauthenticated)
      co_await reactor::sleep_for(config_retry_interval);
    else
      co_await pause.wait();
  }
}

}  // namespace kedge::node
