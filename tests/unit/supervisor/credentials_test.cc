#include "supervisor/credentials.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <map>

#include "base/random.h"
#include "bench.h"
#include "crypto/files.h"
#include "crypto/token.h"
#include "json/parse.h"

using namespace kedge;
using namespace kedge::supervisor;
namespace fs = std::filesystem;

namespace {

auto open_with(const config& c) { return credentials::open(c, system_wall_time(), system_random()); }

std::shared_ptr<credentials> opened(const config& c) {
  auto made = open_with(c);
  if (!made) FAIL(made.error().message);
  return *std::move(made);
}

std::string refusal(const config& c) {
  const auto made = open_with(c);
  return made ? "no error" : made.error().message;
}

std::string content(const std::string& path) { return crypto::read_file(path).value_or("missing: " + path); }

unsigned mode_of(const fs::path& path) { return static_cast<unsigned>(fs::symlink_status(path).permissions()) & 0777; }

// Below the server's folder, without its own prefix; symbolic links too.
std::map<std::string, std::string> all_files(const bench& b) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(b.settings.server_dir()))
    if (!entry.is_directory())
      files[entry.path().string().substr(b.settings.server_dir().size() + 1)] = content(entry.path().string());
  return files;
}

}  // namespace

TEST_CASE("a new server has the files of a K3s server, in its modes") {
  const bench b;
  opened(b.settings);
  // What a K3s v1.36.3 server keeps, without the database, embedded etcd, and files of single components.
  const char* private_files[] = {"cred/admin.kubeconfig",
                                 "cred/api-server.kubeconfig",
                                 "cred/cloud-controller.kubeconfig",
                                 "cred/controller.kubeconfig",
                                 "cred/ipsec.psk",
                                 "cred/passwd",
                                 "cred/scheduler.kubeconfig",
                                 "cred/supervisor.kubeconfig",
                                 "etc/egress-selector-config.yaml",
                                 "token",
                                 "tls/client-admin.key",
                                 "tls/client-auth-proxy.key",
                                 "tls/client-ca.key",
                                 "tls/client-controller.key",
                                 "tls/client-k3s-cloud-controller.key",
                                 "tls/client-k3s-controller.key",
                                 "tls/client-kube-apiserver.key",
                                 "tls/client-kube-proxy.key",
                                 "tls/client-kubelet.key",
                                 "tls/client-scheduler.key",
                                 "tls/client-supervisor.key",
                                 "tls/dynamic-cert.json",
                                 "tls/kube-controller-manager/kube-controller-manager.key",
                                 "tls/kube-scheduler/kube-scheduler.key",
                                 "tls/request-header-ca.key",
                                 "tls/server-ca.key",
                                 "tls/service.current.key",
                                 "tls/service.key",
                                 "tls/serving-kube-apiserver.key",
                                 "tls/serving-kubelet.key"};
  const char* public_files[] = {"tls/client-admin.crt",
                                "tls/client-auth-proxy.crt",
                                "tls/client-ca.crt",
                                "tls/client-ca.nochain.crt",
                                "tls/client-controller.crt",
                                "tls/client-k3s-cloud-controller.crt",
                                "tls/client-kube-apiserver.crt",
                                "tls/client-scheduler.crt",
                                "tls/client-supervisor.crt",
                                "tls/kube-controller-manager/kube-controller-manager.crt",
                                "tls/kube-scheduler/kube-scheduler.crt",
                                "tls/request-header-ca.crt",
                                "tls/server-ca.crt",
                                "tls/server-ca.nochain.crt",
                                "tls/serving-kube-apiserver.crt"};
  auto rest = all_files(b);
  for (const char* name : private_files) {
    CAPTURE(name);
    CHECK(rest.erase(name) == 1);
    CHECK(mode_of(b.server(name)) == 0600);
  }
  for (const char* name : public_files) {
    CAPTURE(name);
    CHECK(rest.erase(name) == 1);
    CHECK(mode_of(b.server(name)) == 0644);
  }
  for (const char* link : {"node-token", "agent-token"}) {
    CAPTURE(link);
    CHECK(rest.erase(link) == 1);
    CHECK(fs::read_symlink(b.server(link)) == b.server("token"));
  }
  for (const auto& [name, text] : rest) FAIL_CHECK("a file that K3s doesn't have: " << name);
  for (const char* folder : {"", "tls", "cred", "db"}) CHECK(mode_of(b.server(folder)) == 0700);
  CHECK(mode_of(b.settings.write_kubeconfig) == 0600);
}

TEST_CASE("certificates say what they say in K3s") {
  const bench b;
  const auto identity = opened(b.settings);
  struct row {
    const char *stem, *user, *group;
  };
  for (const auto& r : {row{"client-admin", "system:admin", "system:masters"},
                        row{"client-supervisor", "system:k3s-supervisor", "system:masters"},
                        row{"client-controller", "system:kube-controller-manager", ""},
                        row{"client-scheduler", "system:kube-scheduler", ""},
                        row{"client-kube-apiserver", "system:apiserver", "system:masters"},
                        row{"client-auth-proxy", "system:auth-proxy", ""},
                        row{"client-k3s-cloud-controller", "k3s-cloud-controller-manager", ""}}) {
    CAPTURE(r.stem);
    const auto files = identity->client(r.stem);
    REQUIRE(files);
    const auto chain = crypto::parse_bundle(files->first);
    REQUIRE(chain);
    CHECK(chain->size() == 2);
    CHECK(chain->front().subject().user == r.user);
    CHECK(chain->front().subject().groups ==
          (*r.group ? std::vector<std::string>{r.group} : std::vector<std::string>{}));
    CHECK(chain->front().for_client());
    CHECK(!chain->front().for_server());
  }
  CHECK(!identity->client("client-nobody"));
  const auto names = identity->serving_names();
  for (const char* name : {"127.0.0.1", "::1", "localhost", "edge-1", "10.0.0.1", "fd00::2", "10.43.0.1", "kubernetes",
                           "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"})
    CHECK_MESSAGE(std::find(names.begin(), names.end(), name) != names.end(), name);
}

TEST_CASE("a restart changes nothing") {
  const bench b;
  const auto token = opened(b.settings)->full_token();
  const auto before = all_files(b);
  CHECK(opened(b.settings)->full_token() == token);
  CHECK(all_files(b) == before);
  auto same = b.settings;
  same.token = token;  // the full form means the same
  CHECK(opened(same)->full_token() == token);
  CHECK(all_files(b) == before);
}

TEST_CASE("the token binds the authority's hash, and its file ends in a line feed") {
  bench b;
  b.settings.token = "secret:with::colons";
  const auto identity = opened(b.settings);
  const auto hash = crypto::ca_hash(content(b.server("tls/server-ca.crt")), system_wall_time());
  REQUIRE(hash);
  CHECK(content(b.server("token")) == "K10" + *hash + "::server:secret:with::colons\n");
  CHECK(identity->agent_token() == "K10" + *hash + "::node:secret:with::colons");
  const auto table = identity->passwd_table();
  REQUIRE(table->verify("server", "secret:with::colons"));
  CHECK(table->verify("server", "secret:with::colons")->groups == std::vector<std::string>{"k3s:server"});
  REQUIRE(table->verify("node", "secret:with::colons"));
  CHECK(table->verify("node", "secret:with::colons")->groups == std::vector<std::string>{"k3s:agent"});
  CHECK(!table->verify("server", "secret"));
}

TEST_CASE("agents may have a token of their own") {
  bench b;
  b.settings.token = "for-servers";
  b.settings.agent_token = "for-agents";
  const auto identity = opened(b.settings);
  CHECK(!fs::is_symlink(b.server("agent-token")));
  CHECK(content(b.server("agent-token")) == identity->agent_token() + "\n");
  CHECK(mode_of(b.server("agent-token")) == 0600);
  CHECK(identity->passwd_table()->verify("node", "for-agents"));
  CHECK(!identity->passwd_table()->verify("node", "for-servers"));
}

TEST_CASE("what would make another cluster of it is refused, with what to do") {
  bench b;
  b.settings.token = "first";
  opened(b.settings);
  auto c = b.settings;
  c.token = "second";
  CHECK(refusal(c).find("--token is not the token that this cluster was made with") != std::string::npos);
  c.token = "K10" + std::string(64, '0') + "::server:first";
  CHECK(refusal(c).find("token CA hash does not match the Cluster CA certificate hash") != std::string::npos);
  c.token = "abcdef.0123456789abcdef";
  CHECK(refusal(c).find("bootstrap token") != std::string::npos);
  CHECK(refusal(b.settings) == "no error");
}

TEST_CASE("half of an authority is never repaired") {
  for (const char* stem : {"server-ca", "client-ca", "request-header-ca"}) {
    for (const char* extension : {".crt", ".key"}) {
      const bench b;
      opened(b.settings);
      const auto file = b.server("tls/") + stem + extension;
      fs::remove(file);
      CAPTURE(file);
      CHECK(refusal(b.settings).starts_with(file + " is missing"));
      CHECK(!fs::exists(file));
    }
  }
  const bench b;
  opened(b.settings);
  REQUIRE(crypto::write_file(b.server("tls/client-ca.crt"), "damaged"));
  CHECK(refusal(b.settings).find("tls/client-ca.crt") != std::string::npos);
}

TEST_CASE("a lost leaf is made anew, and the others stay") {
  const bench b;
  opened(b.settings);
  const auto before = all_files(b);
  fs::remove(b.server("tls/client-admin.crt"));
  opened(b.settings);
  const auto after = all_files(b);
  CHECK(after.at("tls/client-admin.crt") != before.at("tls/client-admin.crt"));
  CHECK(after.at("tls/client-scheduler.crt") == before.at("tls/client-scheduler.crt"));
  CHECK(after.at("tls/client-ca.crt") == before.at("tls/client-ca.crt"));
}

TEST_CASE("leaves near their end are renewed at a start") {
  const bench b;
  opened(b.settings);
  const auto before = all_files(b);
  const auto later = credentials::open(b.settings, system_wall_time() + std::chrono::days(300), system_random());
  REQUIRE(later);
  const auto after = all_files(b);
  CHECK(after.at("tls/client-admin.crt") != before.at("tls/client-admin.crt"));
  CHECK(after.at("tls/client-ca.crt") == before.at("tls/client-ca.crt"));
  CHECK(after.at("token") == before.at("token"));
}

TEST_CASE("the leaves of an etcd of the cluster's own are made anew while it runs, near their end or set aside") {
  const bench b;
  const auto identity = opened(b.settings);
  auto now = system_wall_time();
  CHECK_FALSE(identity->is_set_aside());  // who has no etcd needs none
  REQUIRE(make_etcd_certificates(b.settings, now, system_random()));
  auto before = all_files(b);
  REQUIRE(identity->renew(now, system_random()));
  CHECK(all_files(b) == before);
  fs::remove(b.server("tls/etcd/client.crt"));
  CHECK(identity->is_set_aside());
  REQUIRE(identity->renew(now, system_random()));
  CHECK_FALSE(identity->is_set_aside());
  CHECK(all_files(b).at("tls/etcd/peer-server-client.crt") == before.at("tls/etcd/peer-server-client.crt"));
  before = all_files(b);
  REQUIRE(identity->renew(now + std::chrono::days(300), system_random()));
  const auto after = all_files(b);
  for (auto name : {"client", "server-client", "peer-server-client"}) {
    const auto file = std::string("tls/etcd/") + name + ".crt";
    CHECK(after.at(file) != before.at(file));
  }
  CHECK(after.at("tls/etcd/server-ca.crt") == before.at("tls/etcd/server-ca.crt"));
}

TEST_CASE("a rotated token counts at once, on disk, and after a restart") {
  bench b;
  b.settings.token = "old";
  const auto identity = opened(b.settings);
  REQUIRE(identity->use_token("new"));
  CHECK(identity->passwd_table()->verify("server", "new"));
  CHECK(!identity->passwd_table()->verify("server", "old"));
  CHECK(identity->passwd_table()->verify("node", "new"));  // it was the same, so it follows
  CHECK(content(b.server("token")) == identity->full_token() + "\n");
  CHECK(identity->full_token().ends_with("::server:new"));

  auto c = b.settings;
  c.token = "new";
  CHECK(opened(c)->full_token() == identity->full_token());
  CHECK(refusal(b.settings).find("--token is not the token") != std::string::npos);
}

TEST_CASE("an agent's own token stays when the server's is rotated") {
  bench b;
  b.settings.token = "old";
  b.settings.agent_token = "agents";
  const auto identity = opened(b.settings);
  REQUIRE(identity->use_token("new"));
  CHECK(identity->passwd_table()->verify("node", "agents"));
  CHECK(identity->passwd_table()->verify("server", "new"));
}

TEST_CASE("the administrator's kubeconfig is whole, with the mode asked for") {
  bench b;
  b.settings.https_port = 7443;
  b.settings.write_kubeconfig_mode = 0640;
  const auto identity = opened(b.settings);
  CHECK(identity->admin_kubeconfig_path() == b.settings.write_kubeconfig);
  CHECK(mode_of(b.settings.write_kubeconfig) == 0640);
  const auto document = json::parse_yaml(content(b.settings.write_kubeconfig));
  REQUIRE(document);
  CHECK((*document)["current-context"].as_string() == "default");
  CHECK((*document)["clusters"][0]["cluster"]["server"].as_string() == "https://127.0.0.1:7443");
  CHECK(!(*document)["users"][0]["user"]["client-key-data"].as_string().empty());

  // The usual place leads there; a file of somebody else's is left alone, and no reason not to start.
  b.settings.usual_kubeconfig = b.path + "/usual/k3s.yaml";
  REQUIRE(opened(b.settings));
  CHECK(std::filesystem::read_symlink(b.settings.usual_kubeconfig) == b.settings.write_kubeconfig);
  std::filesystem::remove(b.settings.usual_kubeconfig);
  REQUIRE(crypto::write_file(b.settings.usual_kubeconfig, "somebody else's"));
  REQUIRE(opened(b.settings));
  CHECK(content(b.settings.usual_kubeconfig) == "somebody else's");

  b.settings.write_kubeconfig_group = "no-such-group-here";
  CHECK(refusal(b.settings).find("--write-kubeconfig-group") != std::string::npos);
}

TEST_CASE("a K3s cluster's RSA service account key is kept and used") {
  const bench b;
  const auto rsa = crypto::private_key::generate(crypto::key_kind::rsa_2048);
  REQUIRE(rsa);
  REQUIRE(crypto::make_folder(b.server("tls")));
  REQUIRE(crypto::write_file(b.server("tls/service.key"), rsa->pem()));
  CHECK(opened(b.settings)->service_keys_pem() == rsa->pem());
}
