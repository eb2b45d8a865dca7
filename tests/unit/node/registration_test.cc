#include "node/join/registration.h"

#include <doctest/doctest.h>
#include <sys/stat.h>

#include "base/strings.h"
#include "crypto/certificate.h"
#include "crypto/files.h"
#include "crypto/request.h"
#include "json/parse.h"
#include "loop.h"
#include "node/limits.h"
#include "small_cluster.h"
#include "support/temporary_folder.h"

using namespace kedge;
using namespace kedge::node;
using namespace std::chrono_literals;

namespace {

unsigned mode_of(const std::string& path) {
  struct stat s{};
  return ::stat(path.c_str(), &s) == 0 ? s.st_mode & 0777 : 0;
}

agent_config config_for(const small_cluster& cluster, const temporary_folder& folder) {
  agent_config c;
  c.server_url = cluster.url();
  c.token = cluster.full_token();
  c.node_name = "edge-7";
  c.node_ips = {"10.0.0.7", "fd00::7"};
  c.node_external_ips = {"192.0.2.7"};
  c.data_dir = folder.path();
  c.password_folder = folder.path() + "/node";
  return c;
}

// Runs `test` with a cluster that listens.
template <typename F>
void with_cluster(F test) {
  test_loop t;
  small_cluster cluster;
  t.run([](small_cluster& c, F f) -> task<void> {
    reactor::scope serving;
    serving.spawn(c.run());
    co_await c.listening().wait();
    co_await f(c);
  }(cluster, std::move(test)));
}

std::string text_of(const std::string& path) { return crypto::read_file(path).value_or(std::string()); }

task<result<registration>> register_for(agent_config c, std::string password, duration most) {
  return reactor::with_deadline(register_node(std::move(c), std::move(password), nullptr),
                                reactor::loop::current().now() + most);
}

}  // namespace

TEST_CASE("registering asks as a K3s agent does and leaves its files") {
  temporary_folder folder;
  with_cluster([&](small_cluster& c) -> task<void> {
    auto config = config_for(c, folder);
    auto r = co_await register_for(config, "pw", 10s);
    NEEDS(r);
    CHECK(c.requests == std::vector<std::string>{"GET /cacerts", "GET /v1-k3s/config", "GET /v1-k3s/client-ca.crt",
                                                 "GET /v1-k3s/server-ca.crt", "POST /v1-k3s/serving-kubelet.crt",
                                                 "POST /v1-k3s/client-kubelet.crt",
                                                 "POST /v1-k3s/client-kube-proxy.crt",
                                                 "POST /v1-k3s/client-k3s-controller.crt"});
    auto& h = c.headers_of_certificate;
    CHECK(h["serving-kubelet.K3s-Node-Name"] == "edge-7");
    CHECK(h["serving-kubelet.K3s-Node-Password"] == "pw");
    CHECK(h["serving-kubelet.K3s-Node-IP"] == "10.0.0.7,fd00::7,192.0.2.7");
    CHECK(h["client-kubelet.K3s-Node-IP"] == "10.0.0.7,fd00::7");
    CHECK_FALSE(h.contains("client-kube-proxy.K3s-Node-Name"));
    CHECK(r->cluster.cluster_cidrs == std::vector<std::string>{"10.42.0.0/16"});
    CHECK(r->cluster.flannel_backend == "vxlan");
    CHECK(r->server_ca == c.ca_pem());

    auto agent = folder.path() + "/agent/";
    for (auto* name :
         {"client-ca.crt", "server-ca.crt", "client-kubelet.crt", "client-kubelet.key", "serving-kubelet.crt",
          "serving-kubelet.key", "client-kube-proxy.crt", "client-kube-proxy.key", "client-k3s-controller.crt",
          "client-k3s-controller.key", "kubelet.kubeconfig", "kubeproxy.kubeconfig", "k3scontroller.kubeconfig"}) {
      CAPTURE(name);
      CHECK(mode_of(agent + name) == 0600);
    }
    CHECK(text_of(agent + "server-ca.crt") == c.ca_pem());
    auto kubeconfig = json::parse_yaml(text_of(agent + "kubelet.kubeconfig"));
    NEEDS(kubeconfig);
    auto& cluster = (*kubeconfig)["clusters"][std::size_t{0}]["cluster"];
    CHECK(cluster["server"] == c.url());
    CHECK(cluster["certificate-authority"] == agent + "server-ca.crt");
    CHECK((*kubeconfig)["users"][std::size_t{0}]["user"]["client-key"] == agent + "client-kubelet.key");

    // The second start keeps the keys and renews the certificates.
    auto key = text_of(agent + "client-kubelet.key"), certificate = text_of(agent + "client-kubelet.crt");
    auto again = co_await register_for(config, "pw", 10s);
    NEEDS(again);
    CHECK(text_of(agent + "client-kubelet.key") == key);
    CHECK(text_of(agent + "client-kubelet.crt") != certificate);
  });
}

TEST_CASE("where no server answers, a node that was one before goes by what it was told") {
  temporary_folder folder;
  agent_config config;
  with_cluster([&](small_cluster& c) -> task<void> {
    config = config_for(c, folder);
    config.start_without_server = true;
    auto r = co_await register_for(config, "pw", 10s);
    NEEDS(r);
    CHECK_FALSE(r->from_disk);
    // A server that answers is waited for, whatever it says.
    c.unavailable = 1;
    auto again = co_await register_for(config, "pw", 10s);
    NEEDS(again);
    CHECK_FALSE(again->from_disk);
  });
  test_loop t;
  t.run([](agent_config told) -> task<void> {
    auto r = co_await register_for(told, "pw", 20s);
    NEEDS(r);
    CHECK(r->from_disk);
    CHECK(r->cluster.cluster_cidrs == std::vector<std::string>{"10.42.0.0/16"});
    CHECK(r->server_ca == text_of(told.agent_folder() + "/server-ca.crt"));
    CHECK_FALSE(r->kubelet.key.empty());
    // Another node's, other servers', or not wanted: it goes on asking.
    auto another = told;
    another.node_name = "edge-8";
    auto elsewhere = told;
    elsewhere.server_url = "https://127.0.0.1:1";
    auto strict = told;
    strict.start_without_server = false;
    auto of_another_cluster = told;
    of_another_cluster.token = "K10" + std::string(64, 'a') + "::node:secret";
    for (auto& one : {another, elsewhere, of_another_cluster, strict})
      CHECK((co_await register_for(one, "pw", offline_patience + 200ms)).error().code == errc::timeout);
  }(config));
}

TEST_CASE("a node whose clock lost the time goes by what its own disk has of authorities that begin later") {
  temporary_folder folder;
  agent_config config;
  with_cluster([&](small_cluster& c) -> task<void> {
    config = config_for(c, folder);
    config.start_without_server = true;
    auto r = co_await register_for(config, "pw", 10s);
    NEEDS(r);
  });
  // As after a rotation: a signer that the token's authority has signed.
  const auto later = system_wall_time() + 24h * 365 * 20;
  const auto root = crypto::authority::create("root", later).value(),
             signer = crypto::authority::create("new", later).value();
  const auto bridge = crypto::cross_sign(root, signer.signer(), system_random()).value();
  REQUIRE(crypto::write_file(config.agent_folder() + "/server-ca.crt", bridge.pem() + root.signer().pem()));
  test_loop t;
  t.run([](agent_config told, std::string named) -> task<void> {
    told.token = "K10" + named + "::node:secret";
    auto r = co_await register_for(told, "pw", 20s);
    NEEDS(r);
    CHECK(r->from_disk);
    told.token = "K10" + std::string(64, 'a') + "::node:secret";
    CHECK((co_await register_for(told, "pw", offline_patience + 200ms)).error().code == errc::timeout);
  }(config, root.signer().fingerprint_sha256()));
}

TEST_CASE("every form of token joins") {
  with_cluster([&](small_cluster& c) -> task<void> {
    for (auto& token :
         {c.full_token(), std::string("secret"), std::string("K10::node:secret"), std::string("K10::server:secret")}) {
      temporary_folder folder;
      auto config = config_for(c, folder);
      config.token = token;
      CAPTURE(token.substr(0, 3));
      CHECK(co_await register_for(config, "pw", 10s));
    }
  });
}

TEST_CASE("what can't be cured by waiting fails at once and says why") {
  with_cluster([&](small_cluster& c) -> task<void> {
    struct row {
      std::string token, url, message;
    };
    for (auto& r :
         {row{"", c.url(), "token must not be empty"}, row{"K10abc::node:x", c.url(), "invalid token CA hash length"},
          row{"K10" + std::string(64, 'a') + "::node:secret", c.url(), "token CA hash does not match"},
          row{"secret", "http://127.0.0.1:1", "only https:// URLs are supported"}}) {
      temporary_folder folder;
      auto config = config_for(c, folder);
      config.token = r.token;
      config.server_url = r.url;
      auto failed = co_await register_for(config, "pw", 5s);
      CAPTURE(r.message);
      CHECK_FALSE(failed);
      if (!failed) CHECK(failed.error().message.contains(r.message));
    }
    c.down_level = true;
    temporary_folder folder;
    auto failed = co_await register_for(config_for(c, folder), "pw", 5s);
    CHECK(failed.error().message.contains("down-level server"));
  });
}

TEST_CASE("a server that starts is waited for") {
  temporary_folder folder;
  with_cluster([&](small_cluster& c) -> task<void> {
    c.unavailable = 3;
    CHECK(co_await register_for(config_for(c, folder), "pw", 5s));
  });
}

TEST_CASE("a copied name is refused, and let in when the name is free again") {
  temporary_folder folder;
  with_cluster([&](small_cluster& c) -> task<void> {
    c.node_passwords["edge-7"] = "another";
    auto refused = co_await register_for(config_for(c, folder), "pw", 1s);
    CHECK(refused.error().code == errc::timeout);  // it goes on trying
    c.node_passwords.clear();
    CHECK(co_await register_for(config_for(c, folder), "pw", 5s));
  });
}

TEST_CASE("a key that the server sends replaces ours") {
  temporary_folder folder;
  with_cluster([&](small_cluster& c) -> task<void> {
    c.sends_keys = true;
    auto r = co_await register_for(config_for(c, folder), "pw", 10s);
    NEEDS(r);
    auto stem = folder.path() + "/agent/client-kubelet";
    auto chain = crypto::parse_bundle(text_of(stem + ".crt"));
    auto key = crypto::private_key::from_pem(text_of(stem + ".key"));
    NEEDS(chain);
    NEEDS(key);
    CHECK(chain->front().key() == key->public_part());
    CHECK_FALSE(text_of(stem + ".crt").contains("PRIVATE"));
  });
}

TEST_CASE("the Date of an answer is read as servers write it") {
  auto at = [](std::string_view text) {
    auto t = parse_http_date(text);
    return t ? format_rfc3339(*t) : std::string("none");
  };
  CHECK(at("Sun, 06 Nov 1994 08:49:37 GMT") == "1994-11-06T08:49:37Z");
  CHECK(at("Thu, 29 Feb 2024 00:00:60 GMT") == "2024-02-29T00:01:00Z");
  for (auto bad : {"", "Sun, 06 Nov 1994 08:49:37", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun, 30 Feb 2024 08:49:37 GMT",
                   "Sun, 06 Nov 1994 24:00:00 GMT", "Sun, 06 Nix 1994 08:49:37 GMT", "Sun, 06 Nov 19-4 08:49:37 GMT"})
    CHECK(at(bad) == "none");
}

TEST_CASE("refusals are explained to the operator") {
  agent_config c;
  c.password_folder = "/etc/rancher/node";
  auto rejected = explain({errc::forbidden, "hash does not match"}, c, "edge-7").message;
  CHECK(rejected.contains("Node password rejected, duplicate hostname or contents of '/etc/rancher/node/password'"));
  CHECK(rejected.contains("--with-node-id"));
  CHECK(rejected.contains("edge-7.node-password.k3s"));
  CHECK(explain({errc::unauthenticated, "not authorized"}, c, "edge-7").message.contains("token"));
  // Who says why is believed.
  CHECK(
      explain({errc::unauthenticated, "not authorized: the cluster's token was rotated; use the new one"}, c, "edge-7")
          .message == "not authorized: the cluster's token was rotated; use the new one");
  CHECK(explain({errc::refused, "x"}, c, "edge-7").message == "x");
}

TEST_CASE("a machine's identity is made once and kept") {
  temporary_folder folder;
  agent_config c;
  c.password_folder = folder.path() + "/rancher/node";
  auto first = load_identity(c, "Edge-7", system_random()).value();
  CHECK(first.name == "edge-7");
  CHECK(first.password.size() == 32);
  CHECK(text_of(c.password_folder + "/password") == first.password + "\n");
  CHECK(mode_of(c.password_folder + "/password") == 0600);
  CHECK(load_identity(c, "edge-7", system_random()).value().password == first.password);

  c.with_node_id = true;
  c.node_name = "Given";
  auto named = load_identity(c, "edge-7", system_random()).value();
  CHECK(named.name.starts_with("given-"));
  CHECK(named.name.size() == 6 + 8);
  CHECK(load_identity(c, "edge-7", system_random()).value().name == named.name);
  CHECK(mode_of(c.password_folder + "/id") == 0644);

  c.with_node_id = false;
  c.node_name.clear();
  for (auto* bad : {"", "my_machine", "-a", "a..b", "a b"}) {
    CAPTURE(bad);
    CHECK(load_identity(c, bad, system_random()).error().message.contains("--node-name"));
  }
}

TEST_CASE("what an agent reads of the cluster's configuration") {
  auto c = parse_cluster_config(json::parse(R"({"ClusterIPRanges":[{"IP":"10.42.0.0","Mask":"//8AAA=="},
    {"IP":"fd42::","Mask":"////////AAAAAAAAAAAAAA=="}],"ServiceIPRange":{"IP":"10.43.0.0","Mask":"//8AAA=="},
    "ServiceNodePortRange":{"Base":30000,"Size":2768},"ClusterDNSs":["10.43.0.10"],"FlannelBackend":"none","DisableNPC":false,
    "DisableCCM":true,"HTTPSPort":6443,"SupervisorPort":9345})")
                                    .value())
               .value();
  CHECK(c.cluster_cidrs == std::vector<std::string>{"10.42.0.0/16", "fd42::/48"});
  CHECK(c.service_cidrs == std::vector<std::string>{"10.43.0.0/16"});
  CHECK(c.cluster_dns == std::vector<std::string>{"10.43.0.10"});
  CHECK(c.flannel_backend == "none");
  CHECK(c.disable_cloud_controller);
  CHECK(c.supervisor_port == 9345);
  CHECK(parse_cluster_config(json::parse(R"({"DisableNPC":true})").value()));
  CHECK(parse_cluster_config(json::parse(R"({})").value()).error().code == errc::unsupported);
  CHECK_FALSE(parse_cluster_config(json::parse("[]").value()));
  for (auto* bad : {"null", "{}", R"({"IP":"1.2.3.4","Mask":"!"})", R"({"IP":"1.2.3.4","Mask":"AA=="})"})
    CHECK(parse_ip_net(json::parse(bad).value()).empty());
}

TEST_CASE("an answer without a certificate is no answer") {
  CHECK_FALSE(parse_issued(""));
  CHECK_FALSE(parse_issued("-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n"));
}
