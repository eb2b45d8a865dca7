#include "supervisor/credentials.h"

#include <grp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "base/ip.h"
#include "base/log.h"
#include "base/strings.h"
#include "crypto/files.h"
#include "crypto/token.h"

namespace kedge::supervisor {

namespace {

bool exists(const std::string& path) { return ::access(path.c_str(), F_OK) == 0; }

// Where files are written that are synced together once the server serves: some fifty of them one by one would be most
// of the time of a first start. Blocking start code of one thread only.
thread_local std::vector<std::string>* unsynced = nullptr;

// Replaces the file, unless it says the same already.
result<void> put(const std::string& path, std::string_view content, crypto::write_options options = {}) {
  struct stat s;
  if (auto now = crypto::read_file(path);
      now && *now == content && ::stat(path.c_str(), &s) == 0 && (s.st_mode & 0777) == options.mode)
    return {};
  options.sync = unsynced == nullptr;
  KEDGE_CHECK(crypto::write_file(path, content, options));
  if (unsynced) unsynced->push_back(path);
  return {};
}

void add_name(std::vector<std::string>& names, const std::string& name) {
  if (name.empty()) return;
  for (auto& n : names)
    if (n == name) return;
  names.push_back(name);
}

std::string base(const config& c) { return c.server_dir() + "/tls/"; }

// A CA from its two files; both missing: a new one. One of two missing is never repaired: whatever trusts the old one
// breaks.
result<crypto::authority> open_authority(const config& c, const std::string& stem, std::string_view name,
                                         wall_time now) {
  auto certificate = base(c) + stem + ".crt", key = base(c) + stem + ".key";
  if (exists(certificate) != exists(key))
    return fail(
        errc::corrupt,
        (exists(certificate) ? key : certificate) +
            " is missing; restore it, or remove the other of the pair for a new CA (every node must then join anew)");
  if (!exists(certificate)) {
    KEDGE_TRY(auto ca, crypto::authority::create(name, now));
    KEDGE_CHECK(put(key, ca.key().pem()));
    KEDGE_CHECK(put(certificate, ca.bundle_pem(), {.mode = 0644}));
    return ca;
  }
  KEDGE_TRY(auto certificate_pem, crypto::read_file(certificate));
  KEDGE_TRY(auto key_pem, crypto::read_file(key));
  auto ca = crypto::authority::from_pem(certificate_pem, key_pem);
  if (!ca) return fail(std::move(ca).error().with(certificate + ": "));
  return ca;
}

// A leaf and its key in two files; made anew when missing, near its end, or not as wanted. K3s makes a new key each
// time.
// Whether it was made.
result<bool> ensure_leaf(const std::string& stem, const crypto::authority& ca, const crypto::leaf_request& wanted,
                         wall_time now, random_source& random) {
  auto certificate = stem + ".crt", key_path = stem + ".key";
  if (exists(certificate) && exists(key_path)) {
    auto text = crypto::read_file(certificate);
    auto chain = text ? crypto::parse_bundle(*text) : result<std::vector<crypto::certificate>>(fail(text.error()));
    auto reason = chain ? crypto::reason_to_renew(chain->front(), ca.signer(), wanted, now)
                        : std::optional<std::string>("it can't be read");
    if (!reason && crypto::carries_bundle(*chain, ca)) return false;
    // Behind it goes what leads to what others trust.
    if (!reason) {
      KEDGE_CHECK(put(certificate, crypto::chain_pem(chain->front(), ca), {.mode = 0644}));
      return true;
    }
    log::info("renewing {}: {}", certificate, *reason);
  }
  KEDGE_TRY(auto key, crypto::private_key::generate(crypto::key_kind::ecdsa_p256));
  KEDGE_TRY(auto leaf, crypto::issue(ca, key.public_part(), wanted, now, random));
  KEDGE_CHECK(put(key_path, key.pem()));
  KEDGE_CHECK(put(certificate, crypto::chain_pem(leaf, ca), {.mode = 0644}));
  return true;
}

result<void> ensure_key(const std::string& path, crypto::key_kind kind) {
  if (exists(path)) return {};
  KEDGE_TRY(auto key, crypto::private_key::generate(kind));
  return put(path, key.pem());
}

// Points `link` at `target`, whatever stood there.
result<void> symlink_to(const std::string& target, const std::string& link) {
  char now[4096];
  auto n = ::readlink(link.c_str(), now, sizeof now);
  if (n >= 0 && std::string_view(now, static_cast<std::size_t>(n)) == target) return {};
  ::unlink(link.c_str());
  if (::symlink(target.c_str(), link.c_str()) != 0) return fail(os_error(errno, "link " + link));
  return {};
}

std::string local_url(const config& c) {
  auto host = c.bind_address.empty() || c.bind_address == "0.0.0.0" ? "127.0.0.1"
              : c.bind_address == "::"                              ? "::1"
                                                                    : c.bind_address;
  return "https://" + reactor::endpoint{host, c.https_port}.text();
}

std::string file_kubeconfig(const std::string& server, const std::string& ca, const std::string& stem) {
  return "apiVersion: v1\nclusters:\n- cluster:\n    server: " + server + "\n    certificate-authority: " + ca +
         "\n  name: local\ncontexts:\n- context:\n    cluster: local\n    namespace: default\n    user: user\n  name: "
         "Default\n"
         "current-context: Default\nkind: Config\npreferences: {}\nusers:\n- name: user\n  user:\n    "
         "client-certificate: " +
         stem + ".crt\n    client-key: " + stem + ".key\n";
}

struct client_row {
  const char *stem, *user, *group;
};
constexpr client_row clients[] = {{"client-admin", "system:admin", "system:masters"},
                                  {"client-supervisor", "system:k3s-supervisor", "system:masters"},
                                  {"client-controller", "system:kube-controller-manager", ""},
                                  {"client-scheduler", "system:kube-scheduler", ""},
                                  {"client-kube-apiserver", "system:apiserver", "system:masters"},
                                  {"client-k3s-cloud-controller", "k3s-cloud-controller-manager", ""}};
constexpr const char* other_leaves[] = {"client-auth-proxy", "serving-kube-apiserver", "kube-scheduler/kube-scheduler",
                                        "kube-controller-manager/kube-controller-manager"};
constexpr const char* etcd_leaves[] = {"etcd/client", "etcd/server-client", "etcd/peer-server-client"};
constexpr const char* regenerate_mark = "dynamic-cert-regenerate";

bool has_etcd(const config& c) { return exists(base(c) + "etcd/server-ca.key"); }

// What was made: by the names of their files. etcd reads them anew for each connection.
result<std::vector<std::string>> ensure_etcd_leaves(const config& c, wall_time now, random_source& random) {
  KEDGE_TRY(auto servers, open_authority(c, "etcd/server-ca", "etcd-server-ca", now));
  KEDGE_TRY(auto peers, open_authority(c, "etcd/peer-ca", "etcd-peer-ca", now));
  crypto::leaf_request member{.client = true, .server = true};
  for (auto& n : initial_names(c)) (ip_address::parse(n) ? member.addresses : member.dns_names).push_back(n);
  std::vector<std::string> made;
  for (std::string_view stem : etcd_leaves) {
    auto wanted = member;
    if (stem == "etcd/client") wanted = {.common_name = "etcd-client", .client = true};
    if (stem == "etcd/server-client") wanted.common_name = "etcd-server";
    const bool of_peers = stem == "etcd/peer-server-client";
    if (of_peers) wanted.common_name = "etcd-peer";
    KEDGE_TRY(auto is_new, ensure_leaf(base(c) + std::string(stem), of_peers ? peers : servers, wanted, now, random));
    if (is_new) made.emplace_back(stem);
  }
  return made;
}

}  // namespace

std::string embedded_kubeconfig(const std::string& name, const std::string& server_url, const std::string& ca_pem,
                                const std::string& certificate_pem, const std::string& key_pem) {
  return "apiVersion: v1\nclusters:\n- cluster:\n    certificate-authority-data: " + base64(as_bytes(ca_pem)) +
         "\n    server: " + server_url + "\n  name: " + name + "\ncontexts:\n- context:\n    cluster: " + name +
         "\n    user: " + name + "\n  name: " + name + "\ncurrent-context: " + name +
         "\nkind: Config\npreferences: {}\nusers:\n- name: " + name +
         "\n  user:\n    client-certificate-data: " + base64(as_bytes(certificate_pem)) +
         "\n    client-key-data: " + base64(as_bytes(key_pem)) + "\n";
}

std::vector<std::string> initial_names(const config& c) {
  std::vector<std::string> names;
  for (auto& n : c.tls_sans) add_name(names, n);
  for (auto n : {"127.0.0.1", "::1", "localhost"}) add_name(names, n);
  add_name(names, c.node_name);
  char host[256] = {};
  if (::gethostname(host, sizeof host - 1) == 0)
    add_name(names, lower(std::string_view(host).substr(0, std::string_view(host).find('.'))));
  for (auto& n : c.node_ips) add_name(names, n);
  for (auto& n : c.node_external_ips) add_name(names, n);
  add_name(names, c.advertise_address);
  for (auto& cidr : c.service_cidrs) add_name(names, first_address(cidr, 1));
  for (auto n : {"kubernetes", "kubernetes.default", "kubernetes.default.svc"}) add_name(names, n);
  add_name(names, "kubernetes.default.svc." + c.cluster_domain);
  return names;
}

// Makes those that are missing.
result<credentials::authority_set> credentials::read_authorities(const config& c, wall_time now) {
  KEDGE_TRY(auto server, open_authority(c, "server-ca", "k3s-server-ca", now));
  KEDGE_TRY(auto client, open_authority(c, "client-ca", "k3s-client-ca", now));
  KEDGE_TRY(auto request_header, open_authority(c, "request-header-ca", "k3s-request-header-ca", now));
  // Service account tokens are signed with ES256 in a new cluster: making an RSA-2048 key takes up to 300 ms of a start
  // that shall take 200, and each signature a millisecond. A K3s cluster's RSA keys are kept and used as they are.
  KEDGE_CHECK(ensure_key(base(c) + "service.key", crypto::key_kind::ecdsa_p256));
  KEDGE_TRY(auto keys, crypto::read_file(base(c) + "service.key"));
  return authority_set{std::move(server), std::move(client), std::move(request_header), std::move(keys)};
}

result<std::shared_ptr<credentials>> credentials::open(const config& c, wall_time now, random_source& random) {
  std::vector<std::string> written;
  unsynced = &written;
  struct ending {
    ~ending() { unsynced = nullptr; }
  } at_end;
  for (auto folder : {"", "/tls", "/tls/kube-scheduler", "/tls/kube-controller-manager", "/cred", "/etc", "/db"})
    KEDGE_CHECK(crypto::make_folder(c.server_dir() + folder, 0700));
  KEDGE_TRY(auto authorities, read_authorities(c, now));
  KEDGE_TRY(auto serving,
            serving_certificate::open(c.server_dir() + "/tls", authorities.server, initial_names(c), now, random));
  std::shared_ptr<credentials> out(new credentials(c, std::move(authorities), std::move(serving)));
  if (auto wrong = out->clock_problem(now)) log::error("{}", *wrong);
  KEDGE_CHECK(out->write_clients(now, random));
  KEDGE_CHECK(out->write_tokens(random));
  KEDGE_CHECK(out->write_kubeconfigs());
  out->unsynced_ = std::move(written);
  return out;
}

result<void> credentials::sync() {
  for (auto& path : std::exchange(unsynced_, {})) KEDGE_CHECK(crypto::sync_file(path));
  return {};
}

std::optional<std::string> credentials::clock_problem(wall_time now) const {
  auto all = authorities();
  for (auto* ca : {&all->server, &all->client, &all->request_header})
    if (auto reason = crypto::reason_invalid(ca->signer(), now))
      return "the cluster's authority " + quote(ca->signer().subject().user) +
             " is not valid by this server's clock: " + *reason +
             "; until the clock is set right, this server and its clients can't trust each other";
  return std::nullopt;
}

std::optional<std::string> credentials::not_begun(wall_time now) const {
  return now < authorities()->client.signer().not_before() ? clock_problem(now) : std::nullopt;
}

result<void> credentials::write_clients(wall_time now, random_source& random) {
  auto tls = base(settings_);
  // kube-controller-manager's signers want a CA file of one certificate.
  auto all = authorities();
  KEDGE_CHECK(put(tls + "server-ca.nochain.crt", all->server.signer().pem(), {.mode = 0644}));
  KEDGE_CHECK(put(tls + "client-ca.nochain.crt", all->client.signer().pem(), {.mode = 0644}));

  KEDGE_CHECK(ensure_leaves(now, random));
  for (auto stem : {"client-kube-proxy", "client-k3s-controller", "client-kubelet", "serving-kubelet"})
    KEDGE_CHECK(ensure_key(tls + stem + ".key", crypto::key_kind::ecdsa_p256));

  KEDGE_TRY(auto keys, crypto::parse_private_keys(all->service_keys));
  KEDGE_CHECK(put(tls + "service.current.key", keys.front().pem()));

  auto psk = settings_.server_dir() + "/cred/ipsec.psk";
  if (!exists(psk)) KEDGE_CHECK(put(psk, random.hex_text(48) + "\n"));
  KEDGE_TRY(auto psk_text, crypto::read_file(psk));
  ipsec_psk_ = trim(psk_text);

  KEDGE_CHECK(put(settings_.server_dir() + "/etc/egress-selector-config.yaml",
                  "{\"kind\":\"EgressSelectorConfiguration\",\"apiVersion\":\"apiserver.k8s.io/"
                  "v1beta1\",\"egressSelections\":[{\"name\":\"cluster\",\"connection\":{"
                  "\"proxyProtocol\":\"HTTPConnect\",\"transport\":{\"tcp\":{\"url\":\"" +
                      local_url(settings_) + "\",\"tlsConfig\":{\"caBundle\":\"" + tls +
                      "server-ca.crt\",\"clientKey\":\"" + tls + "client-kube-apiserver.key\",\"clientCert\":\"" + tls +
                      "client-kube-apiserver.crt\"}}}}}]}"));
  return {};
}

result<std::vector<std::string>> credentials::ensure_leaves(wall_time now, random_source& random) const {
  auto tls = base(settings_);
  auto all = authorities();
  std::vector<std::string> made;
  auto ensure = [&](const std::string& stem, const crypto::authority& ca, crypto::leaf_request wanted) -> result<void> {
    KEDGE_TRY(auto is_new, ensure_leaf(tls + stem, ca, wanted, now, random));
    if (is_new) made.push_back(stem);
    return {};
  };
  for (auto& r : clients) {
    crypto::leaf_request wanted{.common_name = r.user, .client = true};
    if (*r.group) wanted.organizations = {r.group};
    KEDGE_CHECK(ensure(r.stem, all->client, std::move(wanted)));
  }
  KEDGE_CHECK(ensure("client-auth-proxy", all->request_header, {.common_name = "system:auth-proxy", .client = true}));
  crypto::leaf_request api{.common_name = "kube-apiserver", .server = true};
  for (auto& n : initial_names(settings_)) (ip_address::parse(n) ? api.addresses : api.dns_names).push_back(n);
  KEDGE_CHECK(ensure("serving-kube-apiserver", all->server, std::move(api)));
  for (std::string name : {"kube-scheduler", "kube-controller-manager"})
    KEDGE_CHECK(
        ensure(name + "/" + name, all->server,
               {.common_name = name, .dns_names = {"localhost"}, .addresses = {"127.0.0.1", "::1"}, .server = true}));
  return made;
}

bool credentials::is_set_aside() const {
  auto tls = base(settings_);
  for (auto& r : clients)
    if (!exists(tls + r.stem + ".crt")) return true;
  for (auto* stem : other_leaves)
    if (!exists(tls + stem + ".crt")) return true;
  if (has_etcd(settings_))
    for (auto* stem : etcd_leaves)
      if (!exists(tls + stem + ".crt")) return true;
  return exists(tls + regenerate_mark);
}

result<std::vector<std::string>> credentials::renew(wall_time now, random_source& random) {
  std::lock_guard one_at_a_time(making_);
  KEDGE_TRY(auto made, ensure_leaves(now, random));
  if (has_etcd(settings_)) {
    KEDGE_TRY(auto of_etcd, ensure_etcd_leaves(settings_, now, random));
    made.insert(made.end(), of_etcd.begin(), of_etcd.end());
  }
  if (exists(base(settings_) + regenerate_mark)) {
    auto names = serving_names();
    KEDGE_TRY(auto fresh, serving_certificate::open(settings_.server_dir() + "/tls", server_ca(), names, now, random));
    std::lock_guard lock(mutex_);
    serving_ = std::move(fresh);
    made.emplace_back("k3s-server");
  }
  if (!made.empty()) KEDGE_CHECK(write_kubeconfigs());
  return made;
}

result<void> credentials::reload(wall_time now, random_source& random) {
  std::lock_guard one_at_a_time(making_);
  KEDGE_TRY(auto read, read_authorities(settings_, now));
  auto server_ca = read.server;
  {
    std::lock_guard lock(mutex_);
    authorities_ = std::make_shared<const authority_set>(std::move(read));
    KEDGE_CHECK(serving_.sign_by(std::move(server_ca), now, random));
    KEDGE_CHECK(save_tokens());
  }
  KEDGE_CHECK(write_clients(now, random));
  return write_kubeconfigs();
}

result<void> credentials::write_tokens(random_source& random) {
  auto dir = settings_.server_dir();
  if (auto text = crypto::read_file(dir + "/cred/passwd")) { KEDGE_TRY(passwd_, crypto::passwd::parse(*text)); }
  auto* recorded = passwd_.find("server");
  if (!settings_.token.empty()) {
    KEDGE_TRY(auto given, crypto::parse_token(settings_.token, "server"));
    if (given.password.empty())
      return fail(errc::invalid, "a server's --token can't be a bootstrap token: it would end");
    KEDGE_CHECK(crypto::check_ca_hash(given, server_ca().bundle_pem(), system_wall_time()));
    password_ = given.password;
    if (recorded && recorded->password != password_)
      return fail(errc::invalid, "--token is not the token that this cluster was made with; it stands in " + dir +
                                     "/token (`kedge token rotate` changes it)");
  } else if (recorded) {
    password_ = recorded->password;
  } else if (auto text = crypto::read_file(dir + "/token")) {
    KEDGE_TRY(auto kept, crypto::parse_token(trim(*text), "server"));
    password_ = kept.password;
  } else {
    password_ = crypto::generate_token(random);
  }
  agent_password_ =
      settings_.agent_token.empty() ? password_ : std::string(crypto::password_of_token(settings_.agent_token, "node"));
  return save_tokens();
}

// Passwd and the token files say what password_ and agent_password_ are.
result<void> credentials::save_tokens() {
  auto dir = settings_.server_dir();
  bool changed = passwd_.ensure("node", "k3s:agent", agent_password_);
  changed = passwd_.ensure("server", "k3s:server", password_) || changed;
  passwd_shared_ = std::make_shared<const crypto::passwd>(passwd_);
  if (changed || !exists(dir + "/cred/passwd")) KEDGE_CHECK(put(dir + "/cred/passwd", passwd_.write()));
  KEDGE_TRY(auto hash, crypto::ca_hash(authorities_->server.bundle_pem(), system_wall_time()));
  KEDGE_CHECK(put(dir + "/token", crypto::token{hash, "server", password_, ""}.format() + "\n"));
  KEDGE_CHECK(symlink_to(dir + "/token", dir + "/node-token"));
  if (agent_password_ == password_) return symlink_to(dir + "/token", dir + "/agent-token");
  ::unlink((dir + "/agent-token").c_str());
  return put(dir + "/agent-token", crypto::token{hash, "node", agent_password_, ""}.format() + "\n");
}

result<void> credentials::write_kubeconfigs() {
  auto url = local_url(settings_);
  auto tls = base(settings_), cred = settings_.server_dir() + "/cred/";
  struct row {
    const char *file, *stem;
  };
  static constexpr row components[] = {{"admin", "client-admin"},
                                       {"supervisor", "client-supervisor"},
                                       {"controller", "client-controller"},
                                       {"scheduler", "client-scheduler"},
                                       {"api-server", "client-kube-apiserver"},
                                       {"cloud-controller", "client-k3s-cloud-controller"}};
  for (auto& r : components)
    KEDGE_CHECK(put(cred + r.file + ".kubeconfig", file_kubeconfig(url, tls + "server-ca.crt", tls + r.stem)));

  // K3s writes to the usual place, or makes that a link to where --write-kubeconfig says.
  auto& usual = settings_.usual_kubeconfig;
  kubeconfig_path_ = settings_.write_kubeconfig.empty() ? usual : settings_.write_kubeconfig;
  std::error_code unknown;  // only when there is no current folder
  if (auto whole = std::filesystem::absolute(kubeconfig_path_, unknown); !unknown) kubeconfig_path_ = whole.string();
  KEDGE_CHECK(crypto::make_folder(kubeconfig_path_.substr(0, kubeconfig_path_.rfind('/')), 0755));
  KEDGE_TRY(auto admin, client("client-admin"));
  KEDGE_CHECK(put(
      kubeconfig_path_,
      embedded_kubeconfig(settings_.write_kubeconfig_name, url, server_ca().bundle_pem(), admin.first, admin.second),
      {.mode = settings_.write_kubeconfig_mode}));
  if (!usual.empty() && kubeconfig_path_ != usual) link_kubeconfig(usual);
  if (!settings_.write_kubeconfig_group.empty()) {
    auto* g = ::getgrnam(settings_.write_kubeconfig_group.c_str());
    auto number = parse_uint(settings_.write_kubeconfig_group);
    if (!g && !number)
      return fail(errc::not_found,
                  "--write-kubeconfig-group: there is no group " + quote(settings_.write_kubeconfig_group));
    if (::chown(kubeconfig_path_.c_str(), static_cast<uid_t>(-1), g ? g->gr_gid : static_cast<gid_t>(*number)) != 0)
      return fail(os_error(errno, "--write-kubeconfig-group: change the group of " + kubeconfig_path_));
  }
  return {};
}

// A convenience, and perhaps not this server's to make: a plain file there may be a K3s's, and stays.
void credentials::link_kubeconfig(const std::string& usual) const {
  struct stat s{};
  bool there = ::lstat(usual.c_str(), &s) == 0;
  if (there && !S_ISLNK(s.st_mode)) {
    log::warning("{} is left as it is; this server's kubeconfig is {}", usual, kubeconfig_path_);
    return;
  }
  if (auto made = crypto::make_folder(usual.substr(0, usual.rfind('/')), 0755); !made)
    log::warning("no link to the kubeconfig at the usual place: {}", made.error().message);
  else if (auto linked = symlink_to(kubeconfig_path_, usual); !linked)
    log::warning("no link to the kubeconfig at the usual place: {}", linked.error().message);
}

result<std::pair<std::string, std::string>> credentials::client(const std::string& stem) const {
  KEDGE_TRY(auto certificate, crypto::read_file(base(settings_) + stem + ".crt"));
  KEDGE_TRY(auto key, crypto::read_file(base(settings_) + stem + ".key"));
  return std::pair(std::move(certificate), std::move(key));
}

result<std::string> credentials::legacy_key(const std::string& stem) const {
  return crypto::read_file(base(settings_) + stem + ".key");
}

std::string credentials::password() const {
  std::lock_guard lock(mutex_);
  return password_;
}
std::string credentials::full_token() const {
  std::lock_guard lock(mutex_);
  auto hash = crypto::ca_hash(authorities_->server.bundle_pem(), system_wall_time());
  return crypto::token{hash.value_or(""), "server", password_, ""}.format();
}
std::string credentials::agent_token() const {
  std::lock_guard lock(mutex_);
  auto hash = crypto::ca_hash(authorities_->server.bundle_pem(), system_wall_time());
  return crypto::token{hash.value_or(""), "node", agent_password_, ""}.format();
}
bool credentials::agents_have_own_token() const {
  std::lock_guard lock(mutex_);
  return agent_password_ != password_;
}
std::shared_ptr<const crypto::passwd> credentials::passwd_table() const {
  std::lock_guard lock(mutex_);
  return passwd_shared_;
}
std::vector<std::string> credentials::serving_names() const {
  std::lock_guard lock(mutex_);
  return {serving_.names().begin(), serving_.names().end()};
}
std::pair<std::string, std::string> credentials::serving_identity() const {
  std::lock_guard lock(mutex_);
  return {serving_.chain_pem(), serving_.key_pem()};
}

result<void> credentials::use_token(const std::string& password) {
  std::lock_guard lock(mutex_);
  if (agent_password_ == password_) agent_password_ = password;  // it follows when it was the same
  password_ = password;
  return save_tokens();
}

json::value credentials::serving_secret() const {
  std::lock_guard lock(mutex_);
  return serving_.to_secret();
}
result<serving_certificate::merged> credentials::merge_serving(const std::vector<std::string>& names,
                                                               const json::value& secret, wall_time now) {
  std::lock_guard lock(mutex_);
  KEDGE_CHECK(serving_.grow(names, now, system_random()));
  return serving_.merge(secret, now, system_random());
}

result<void> make_etcd_certificates(const config& c, wall_time now, random_source& random) {
  for (auto folder : {"", "/tls", "/tls/etcd"}) KEDGE_CHECK(crypto::make_folder(c.server_dir() + folder, 0700));
  KEDGE_CHECK(ensure_etcd_leaves(c, now, random));
  return {};
}

}  // namespace kedge::supervisor
