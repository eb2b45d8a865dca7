// run_server.cc: `kedge server`: puts the layers together, in the order of start and end.
//
//   datastore, store ─▶ credentials (the cluster's, or a new cluster's) ─▶ listener (503 "starting") ─▶ a front on every core
//        ─▶ a new cluster's objects ─▶ one of the servers ─▶ /readyz ─▶ controllers, where this server leads ─▶ its own node
//        … signal ─▶ no longer one of the servers, nor leader ─▶ node ─▶ drain ─▶ controllers, store, loops
//
// A front is what one core needs to answer: supervisor routes before the API handler, each with its own caches.
#include <unistd.h>

#include <algorithm>
#include <set>

#include "api/access/admission/chain.h"
#include "api/access/audit_log.h"
#include "api/access/authn.h"
#include "api/access/rbac.h"
#include "api/access/review.h"
#include "api/answer.h"
#include "api/bootstrap.h"
#include "api/custom/tables.h"
#include "api/custom/upgrade.h"
#include "api/handler.h"
#include "api/imported.h"
#include "api/indexes.h"
#include "api/local_objects.h"
#include "api/loop_metrics.h"
#include "base/log.h"
#include "base/strings.h"
#include "cli/daemon.h"
#include "cli/heap.h"
#include "cli/memory_limit.h"
#include "cli/run.h"
#include "cli/version.h"
#include "control/controller.h"
#include "control/fence.h"
#include "control/housekeeping.h"
#include "control/leader_election.h"
#include "control/manager.h"
#include "control/scheduler/profile.h"
#include "control/server_endpoints.h"
#include "crypto/files.h"
#include "datastore/endpoint.h"
#include "json/parse.h"
#include "json/write.h"
#include "net/http/server.h"
#include "node/agent.h"
#include "node/system_info.h"
#include "schema/protobuf.h"
#include "schema/resources.h"
#include "store/open.h"
#include "supervisor/bootstrap_data.h"
#include "supervisor/config_document.h"
#include "supervisor/credentials.h"
#include "supervisor/encryption.h"
#include "supervisor/node_proxy.h"
#include "supervisor/roles.h"
#include "supervisor/routes.h"
#include "supervisor/serving_keeper.h"
#include "supervisor/token_rotation.h"

namespace kedge::cli {

namespace {

constexpr auto drain_time = std::chrono::seconds(5);           // for requests that run when the signal comes
constexpr auto tunnel_grace = std::chrono::seconds(2);         // of these, for requests that go through nodes' tunnels
constexpr auto node_stop_time = std::chrono::seconds(5);
constexpr auto leave_time = std::chrono::seconds(2);           // to tell the other servers
constexpr auto move_time = std::chrono::seconds(1);            // for clients to go to another server
constexpr auto pause_time = std::chrono::milliseconds(100);    // for clients to be told to go, when there is no other
constexpr auto controllers_term = "kube-controller-manager";     // whose lead the controllers' writes depend on
constexpr std::size_t known_names_max = 1024;                  // that one core remembers to have told; a scan has more
constexpr auto settling_time = std::chrono::seconds(1);        // after the start: then its memory is given back
constexpr std::size_t history_share = 20;                      // of the memory: recent events and what they replaced
constexpr std::size_t history_bytes_min = 8 * 1024 * 1024;

// Where K3s has the administrator's kubeconfig.
std::string usual_kubeconfig() {
  // Several servers on one machine (tests, demonstrations) need a place each.
  if (const char* other = std::getenv("KEDGE_KUBECONFIG_LINK"); other && *other) return other;
  if (::geteuid() == 0) return "/etc/rancher/k3s/k3s.yaml";
  const char* home = std::getenv("HOME");
  return std::string(home ? home : "/tmp") + "/.kube/k3s.yaml";
}

// Shared by all cores, constant while requests run.
struct shared_parts {
  std::shared_ptr<const crypto::trust> client_ca, request_header_ca;
  std::vector<crypto::public_key> token_keys;
  std::optional<crypto::private_key> signing_key;
  api::health checks;
  api::metrics measures;
  api::service_ranges ranges;
  std::shared_ptr<api::audit_log> audit;
  std::atomic<bool> controllers_running = false;
  std::shared_ptr<net::tls_client_context> to_kubelets, to_servers;  // who this server is to them
  std::unique_ptr<tunnel::server> tunnels;
  std::function<task<result<bool>>()> token_stands;
  std::function<task<result<std::vector<std::string>>>(std::string)> rotate_token;
  std::function<task<json::value>()> encryption_status;
  std::function<task<result<void>>(json::value)> change_encryption;
};

// Everything between a connection and the store, for one core.
class front {
 public:
  static result<std::unique_ptr<front>> make(const server_options& o, const supervisor::config& settings, supervisor::credentials& identity,
                                             shared_parts& shared, store::store& objects, std::size_t cores) {
    std::unique_ptr<front> f(new front);
    auto issuer = "https://kubernetes.default.svc." + settings.cluster_domain;
    api::token_settings tokens{.issuers = {issuer}, .api_audiences = {issuer, "k3s"}, .keys = shared.token_keys};
    KEDGE_TRY(auto authenticator, api::token_authenticator::create(std::move(tokens)));
    f->tokens_ = std::make_unique<api::token_authenticator>(std::move(authenticator));
    KEDGE_TRY(auto issuing, api::token_issuer::create(*shared.signing_key, issuer, {issuer, "k3s"}));
    f->issuer_ = std::make_unique<api::token_issuer>(std::move(issuing));
    api::authn_settings authn{.anonymous = o.api.anonymous_auth, .client_ca = shared.client_ca, .request_header_ca = shared.request_header_ca};
    authn.passwd = [&identity] { return identity.passwd_table(); };
    auto of_api = authn;
    of_api.passwd = nullptr;
    f->who_ = std::make_unique<api::union_authenticator>(std::move(authn), f->tokens_.get(), objects);
    f->api_who_ = std::make_unique<api::union_authenticator>(std::move(of_api), f->tokens_.get(), objects);
    auto server_address = reactor::endpoint{settings.advertise_address, static_cast<std::uint16_t>(settings.advertise_port)}.text();
    KEDGE_TRY(auto keys_of_tokens, api::oidc_keys(f->tokens_->settings()));
    api::rule_source* rules = nullptr;
    f->may_ = api::make_authorizer(&rules);
    api::admission_settings plugins{.disable = o.api.disable_admission_plugins};
    plugins.enable.insert(plugins.enable.end(), o.api.enable_admission_plugins.begin(), o.api.enable_admission_plugins.end());
    KEDGE_TRY(f->admission_, api::admission_chain::create(plugins, *f->may_, *rules, &objects));
    f->reviews_ = std::make_unique<api::reviews>(*f->may_, *rules, *f->tokens_, f->issuer_.get());

    api::virtual_resource virtuals{.handles = &api::reviews::handles,
                                   .create = [r = f->reviews_.get()](const api::authorized& to, const json::value& body,
                                                                     const store::snapshot& s) { return r->create(to.asked(), body, s); }};
    f->tables_ = std::make_unique<api::custom::tables>(objects);
    f->tables_->follow();
    f->ranges_ = shared.ranges;
    f->local_ = api::make_objects(objects, *f->admission_, f->ranges_, f->tables_.get());
    f->dialer_ = std::make_unique<supervisor::node_dialer>(supervisor::node_dialer::parts{
        .settings = settings, .tunnels = *shared.tunnels, .objects = *f->local_, .peers = shared.to_servers});
    f->proxy_ = std::make_unique<supervisor::node_proxy>(*f->dialer_, *f->local_, shared.to_kubelets);
    virtuals.connect = [p = f->proxy_.get()](net::http::exchange& e, const api::authorized& to, std::string rest) {
      return p->serve(e, to, std::move(rest));
    };
    f->api_ = std::make_unique<api::api_handler>(api::api_parts{.objects = objects,
                                                                .who = *f->api_who_,
                                                                .may = *f->may_,
                                                                .rules = *f->admission_,
                                                                .checks = shared.checks,
                                                                .measures = shared.measures,
                                                                .audit = shared.audit.get(),
                                                                .ranges = f->ranges_,
                                                                .virtuals = std::move(virtuals),
                                                                .version = {.git_version = version, .git_commit = commit},
                                                                .server_address = server_address,
                                                                .cores = cores,
                                                                .custom = f->tables_.get(),
                                                                .documents = {{"/.well-known/openid-configuration", "application/json",
                                                                               api::oidc_configuration(f->tokens_->settings(), "https://" + server_address)},
                                                                              {"/openid/v1/jwks", "application/jwk-set+json", std::move(keys_of_tokens)}}});
    f->passwords_ = std::make_unique<supervisor::node_passwords>(*f->local_);
    f->routes_ = supervisor::make_routes({.settings = settings,
                                          .identity = identity,
                                          .who = *f->who_,
                                          .objects = *f->local_,
                                          .passwords = *f->passwords_,
                                          .controllers_running = [&shared] { return shared.controllers_running.load(std::memory_order_relaxed); },
                                          .serves = [&shared] { return shared.checks.ask(api::health_group::readyz, {}, false, {}).status == 200; },
                                          .next = *f->api_,
                                          .who_without_password = *f->api_who_,
                                          .token_stands = shared.token_stands,
                                          .rotate_token = shared.rotate_token,
                                          .encryption_status = shared.encryption_status,
                                          .change_encryption = shared.change_encryption,
                                          .tunnels = *shared.tunnels,
                                          .dialer = *f->dialer_});
    return f;
  }

  task<void> serve(net::http::exchange& e) { return routes_->serve(e); }
  api::objects& local() noexcept { return *local_; }
  supervisor::node_passwords& passwords() noexcept { return *passwords_; }

 private:
  front() = default;
  std::unique_ptr<api::token_authenticator> tokens_;
  std::unique_ptr<api::token_issuer> issuer_;
  std::unique_ptr<api::union_authenticator> who_;      // of the supervisor's paths
  std::unique_ptr<api::union_authenticator> api_who_;  // of the API's, to which tokens of nodes and servers are nobody's
  std::unique_ptr<api::authorizer> may_;
  std::unique_ptr<api::admission_chain> admission_;
  std::unique_ptr<api::reviews> reviews_;
  api::service_ranges ranges_;
  std::unique_ptr<api::custom::tables> tables_;
  std::unique_ptr<api::objects> local_;
  std::unique_ptr<supervisor::node_dialer> dialer_;
  std::unique_ptr<supervisor::node_proxy> proxy_;
  std::unique_ptr<api::api_handler> api_;
  std::unique_ptr<supervisor::node_passwords> passwords_;
  std::unique_ptr<net::http::handler> routes_;
};

// What controllers need, on the loop that is theirs: clients of the API that act as their accounts, with caches of this loop's own.
class control_front {
 public:
  static result<std::unique_ptr<control_front>> make(const server_options& o, const shared_parts& shared, store::store& objects) {
    std::unique_ptr<control_front> f(new control_front(objects, shared.ranges));
    api::rule_source* rules = nullptr;
    f->may_ = api::make_authorizer(&rules);
    api::admission_settings plugins{.disable = o.api.disable_admission_plugins};
    plugins.enable.insert(plugins.enable.end(), o.api.enable_admission_plugins.begin(), o.api.enable_admission_plugins.end());
    KEDGE_TRY(f->admission_, api::admission_chain::create(plugins, *f->may_, *rules, &f->objects_));
    f->tables_ = std::make_unique<api::custom::tables>(f->objects_);
    f->tables_->follow();
    return f;
  }

  // Either may be null. `term`: what the writes depend on (control/fence.h); 0: nothing.
  void run(const control::settings* controllers, const control::scheduler::configuration* scheduling, store::revision term) {
    objects_.set_term(control::term_key(controllers_term), term);
    auto make_client = [this](api::user_info user, std::string manager) {
      return api::make_objects(objects_, *admission_, ranges_, tables_.get(), std::move(user), std::move(manager));
    };
    if (controllers) running_.spawn(control::run_controllers(*controllers, objects_, make_client));
    if (scheduling) running_.spawn(control::run_scheduling(*scheduling, make_client));
  }
  void stop() { running_.cancel(); }

 private:
  control_front(store::store& objects, api::service_ranges ranges) : objects_(objects), ranges_(std::move(ranges)) {}
  control::fenced_store objects_;
  api::service_ranges ranges_;
  std::unique_ptr<api::authorizer> may_;
  std::unique_ptr<api::admission_chain> admission_;
  std::unique_ptr<api::custom::tables> tables_;
  reactor::scope running_;  // last: it ends first
};

// Gives a request to its core's front; before there is one, the answer of a server that starts.
class gateway final : public net::http::handler {
 public:
  explicit gateway(reactor::cores& cores) : cores_(cores), fronts_(cores.size()), known_names_(cores.size()) {}

  task<void> serve(net::http::exchange& e) override {
    auto* f = here();
    if (!f) return starting(e);
    if (auto tell = tell_.load(std::memory_order_acquire)) notice(e, *tell);
    return f->serve(e);
  }
  // Tells each name under which a client reaches this server, once a core; from the core that it came to. Once.
  void tell_names(std::function<void(std::vector<std::string>)> tell) {
    told_to_ = std::move(tell);
    tell_.store(&told_to_, std::memory_order_release);
  }
  // On the core itself.
  void open(std::unique_ptr<front> f) { fronts_[index()] = std::move(f); }
  void close() { fronts_[index()].reset(); }
  front* here() { return fronts_[index()].get(); }

 private:
  std::size_t index() const {
    auto* l = &reactor::loop::current();
    for (std::size_t i = 0; i < cores_.size(); ++i)
      if (&cores_[i] == l) return i;
    kedge_assert(false);
    return 0;
  }
  static task<void> starting(net::http::exchange& e) {
    auto s = api::unavailable("starting");
    s.retry_after_seconds = 1;
    net::http::response r;
    r.status = 503;
    r.headers.add("Content-Type", "application/json");
    r.headers.add("Retry-After", "1");
    r.headers.add("Cache-Control", "no-cache, private");  // kubectl's cache on disk would repeat it for hours
    (void)co_await e.respond(r, json::write(s.to_json()) + "\n");
  }
  void notice(net::http::exchange& e, const std::function<void(std::vector<std::string>)>& tell) {
    auto& known = known_names_[index()];
    auto names = supervisor::names_used(e.request(), e.connection());
    std::erase_if(names, [&](const std::string& n) { return known.size() >= known_names_max || !known.insert(n).second; });
    if (!names.empty()) tell(std::move(names));
  }

  reactor::cores& cores_;
  std::vector<std::unique_ptr<front>> fronts_;  // each touched by its own core only
  std::vector<std::set<std::string>> known_names_;  // as well
  std::function<void(std::vector<std::string>)> told_to_;
  std::atomic<const std::function<void(std::vector<std::string>)>*> tell_ = nullptr;  // told_to_ once that is complete
};

// A K3s database holds protobuf; the store wants canonical JSON.
result<std::string> json_of_stored(std::string_view key, std::string_view raw) {
  KEDGE_TRY(auto v, schema::decode_object(raw));
  return api::imported_text(key, std::move(v));
}

// A cluster is known by the namespace that every one has.
std::string cluster_of(const store::snapshot& now) {
  auto o = now.find("/registry/namespaces/kube-system");
  auto v = o ? json::parse(o->bytes()) : result<json::value>(fail(errc::not_found, ""));
  return v ? std::string((*v)["metadata"]["uid"].as_string()) : std::string();
}

class server_process {
 public:
  server_process(reactor::cores& cores, server_options o) : cores_(cores), options_(std::move(o)), gateway_(cores) {}

  task<int> run() {
    // A signal ends the start too, wherever it waits: a database may take its time.
    auto r = co_await start_until_stopped();
    if (!r) {
      if (r.error().code != errc::cancelled) log::error("{}", r.error().message);
      stop_.set();
    } else {
      co_await stop_.wait();
    }
    co_await end();
    co_return (r || r.error().code == errc::cancelled) && !failed_ ? 0 : 1;
  }

 private:
  task<result<void>> start_until_stopped() {
    KEDGE_CO_TRY(auto signals, end_signals());
    signals_.emplace(std::move(signals));
    tasks_.spawn(stop_on_signal(*signals_, stop_));
    co_return co_await reactor::with_stop(start(), stop_);
  }

  task<result<void>> start() {
    auto began = reactor::loop::current().now();
    KEDGE_CO_TRY(settings_, make_settings());
    for (auto& name : api::plugins_without_effect(options_.api.enable_admission_plugins))
      log::warning("--kube-apiserver-arg=enable-admission-plugins={} has no effect: Kedge doesn't have this plugin yet", name);
    auto& loop = reactor::loop::current();
    KEDGE_CO_CHECK(co_await take_identity(loop.random()));
    KEDGE_CO_TRY(identity_, supervisor::credentials::open(settings_, loop.wall_now(), loop.random()));
    // Another server that starts waits for it; alone, nobody does.
    if (shared_datastore()) KEDGE_CO_CHECK(co_await bootstrap_->save(identity_->password()));
    name_process(loop.random());
    serve_encryption();
    serve_token();
    KEDGE_CO_CHECK(read_keys());
    shared_.ranges.cluster_cidr = settings_.service_cidrs.front();
    shared_.ranges.first_port = settings_.node_port_first;
    shared_.ranges.last_port = settings_.node_port_last;
    KEDGE_CO_CHECK(co_await listen());
    KEDGE_CO_CHECK(co_await wait_for_clock());

    KEDGE_CO_CHECK(co_await open_fronts());
    auto& mine = *gateway_.here();
    KEDGE_CO_CHECK(co_await api::bootstrap_cluster(mine.local(), bootstrap_options()));
    name_flow(mine.local());
    endpoints_ = std::make_unique<control::server_endpoints>(mine.local(), endpoint_options());
    KEDGE_CO_CHECK(co_await endpoints_->join());
    if (!shared_datastore()) KEDGE_CO_CHECK(co_await bootstrap_->save(identity_->password()));
    KEDGE_CO_CHECK(co_await supervisor::make_roles(mine.local()));
    bootstrapped_.store(true, std::memory_order_relaxed);
    auto synced = co_await reactor::offload([id = identity_] { return id->sync(); });
    if (!synced) co_return fail(synced.error());
    KEDGE_CO_CHECK(std::move(*synced));
    log::info("kedge {} serves on {} after {}: {}", version, options_.https_listen_port,
              format_duration(std::chrono::floor<std::chrono::milliseconds>(monotonic_clock::now() - began)), identity_->admin_kubeconfig_path());

    KEDGE_CO_CHECK(co_await open_controllers());
    housekeeping_ = std::make_unique<control::context>(control::context{.objects = mine.local()});
    tasks_.spawn(control::run_housekeeping(*housekeeping_, [this, &mine] { return api::ensure_system_objects(mine.local(), bootstrap_options()); }));
    tasks_.spawn(mine.passwords().keep());
    auto lead = [this]() -> task<void> {
      co_await lead_controllers();
    };
    if (shared_datastore() && !options_.disable_controller_manager) {
      election_ = std::make_unique<control::election>(mine.local(), control::election_options{.name = "kube-controller-manager", .identity = process_identity_,
                                                                                                             .leave_it = [this] { return endpoints_->k3s_lives(); },
                                                                                                             .ended = [this] { return controllers_stopped(); }});
      tasks_.spawn(election_->run(lead));
    } else if (!shared_datastore()) {
      tasks_.spawn(lead());
    }
    tasks_.spawn(endpoints_->keep([this] { return leads(); }));
    tasks_.spawn(follow_record());
    tasks_.spawn(rotation_->keep());
    shared_.measures.collect([e = endpoints_.get()](std::string& out) { e->clocks().append_metrics(out); });
    keeper_ = std::make_unique<supervisor::serving_keeper>(*identity_, mine.local(), [this] { show_certificate(); });
    tasks_.spawn(keeper_->run());
    if (!settings_.tls_san_security) gateway_.tell_names([this](std::vector<std::string> names) {
      cores_[0].post([this, names = std::move(names)]() mutable { keeper_->asked(std::move(names)); });
    });
    shared_.controllers_running.store(true, std::memory_order_relaxed);
    if (!options_.disable_agent) start_node();
    if (options_.disable_agent) notify_ready();
    tasks_.spawn(give_back_memory());
    co_return result<void>();
  }

  reactor::loop& control_loop() { return cores_.background(0); }

  control::settings controller_settings() const {
    auto s = options_.controllers;
    s.cluster_cidr = settings_.cluster_cidrs.front();
    s.root_ca_pem = identity_->server_ca().bundle_pem();
    s.cloud_controller = !options_.disable_cloud_controller;
    return s;
  }

  task<result<void>> open_controllers() {
    controller_settings_ = controller_settings();
    co_return co_await reactor::call_on(control_loop(), [this]() -> task<result<void>> {
      KEDGE_CO_TRY(controllers_, control_front::make(options_, shared_, *objects_));
      co_return result<void>();
    });
  }

  // Runs the controllers on their loop until dropped. What is posted is done in order: a stop comes after its start.
  task<void> lead_controllers() {
    store::revision term = 0;
    if (shared_datastore()) term = co_await control::begin_term(*objects_, controllers_term, process_identity_);
    struct leading {
      server_process& p;
      leading(server_process& owner, store::revision term) : p(owner) {
        p.control_loop().post([&s = p, term] {
          s.controllers_->run(s.options_.disable_controller_manager ? nullptr : &s.controller_settings_, s.options_.disable_scheduler ? nullptr : &s.scheduling_, term);
        });
      }
      ~leading() {
        p.control_loop().post([&s = p] { s.controllers_->stop(); });
      }
    } here(*this, term);
    reactor::event never;
    co_await never.wait();
  }
  task<void> controllers_stopped() {
    co_await reactor::call_on(control_loop(), []() -> task<bool> { co_return true; });
  }

  // What the start needed beyond what it keeps: pages of the log, bodies of many objects.
  task<void> give_back_memory() {
    co_await reactor::sleep_for(settling_time);
    (void)co_await reactor::offload([] {
      release_free_heap();
      return true;
    });
  }

  result<supervisor::config> make_settings() {
    auto& o = options_;
    supervisor::config c;
    c.data_dir = o.agent.data_dir;
    c.node_name = o.agent.node_name;
    c.disable_agent = o.disable_agent;
    c.node_ips = o.agent.node_ips;
    if (c.node_ips.empty())
      if (auto found = node::default_addresses()) c.node_ips = *found;
    c.node_external_ips = o.agent.node_external_ips;
    c.token = o.agent.token;
    c.agent_token = o.agent_token;
    c.bind_address = o.agent.bind_address;
    c.advertise_address = !o.advertise_address.empty()   ? o.advertise_address
                          : !c.node_external_ips.empty() ? c.node_external_ips.front()
                          : !c.node_ips.empty()          ? c.node_ips.front()
                                                         : "127.0.0.1";
    c.https_port = o.https_listen_port;
    c.advertise_port = o.advertise_port ? o.advertise_port : o.https_listen_port;
    c.tls_sans = o.tls_san;
    c.tls_san_security = o.tls_san_security;
    c.cluster_cidrs = o.cluster_cidr;
    c.service_cidrs = o.service_cidr;
    c.cluster_dns = o.cluster_dns;
    if (c.cluster_dns.empty())
      for (auto& cidr : c.service_cidrs) c.cluster_dns.push_back(supervisor::first_address(cidr, 10));
    c.cluster_domain = o.cluster_domain;
    c.node_port_first = o.service_node_ports.first;
    c.node_port_last = o.service_node_ports.last;
    c.egress_selector_mode = o.egress_selector_mode;
    c.flannel_backend = o.flannel_backend;
    c.write_kubeconfig = o.write_kubeconfig;
    c.usual_kubeconfig = usual_kubeconfig();
    c.write_kubeconfig_mode = o.write_kubeconfig_mode.bits;
    c.write_kubeconfig_group = o.write_kubeconfig_group;
    c.write_kubeconfig_name = o.write_kubeconfig_name;
    c.disables = o.disable_components;
    c.disable_scheduler = o.disable_scheduler;
    c.disable_controller_manager = o.disable_controller_manager;
    c.disable_cloud_controller = o.disable_cloud_controller;
    c.disable_kube_proxy = o.disable_kube_proxy;
    c.supervisor_metrics = o.supervisor_metrics;
    c.secrets_encryption = o.secrets_encryption;
    c.secrets_encryption_provider = o.secrets_encryption_provider;
    c.system_default_registry = o.system_default_registry;
    c.default_local_storage_path = o.default_local_storage_path.empty() ? o.agent.data_dir + "/storage" : o.default_local_storage_path;
    c.api_server_args = o.api_server_args;
    c.controller_manager_args = o.controller_manager_args;
    c.scheduler_args = o.scheduler_args;
    // An endpoint that can't be used is refused before anything is made.
    KEDGE_CHECK(datastore::make_log(datastore_options(o, c.server_dir())));
    c.leader_election = datastore::is_shared_endpoint(o.datastore_endpoint);
    if (!o.agent.server_url.empty() && c.leader_election)
      log::info("--server is not needed: with --datastore-endpoint, servers find each other through the datastore");
    else if (!o.agent.server_url.empty())
      return fail(errc::unsupported, "--server joins a cluster of servers with embedded etcd, which kedge doesn't have: give each server the same "
                                     "--datastore-endpoint and --token instead, or use `kedge agent` for a worker");
    return c;
  }

  result<void> read_keys() {
    KEDGE_TRY(auto client_ca, crypto::trust::from_bundle(identity_->client_ca().bundle()));
    shared_.client_ca = std::make_shared<const crypto::trust>(std::move(client_ca));
    KEDGE_TRY(auto front_ca, crypto::trust::from_bundle(identity_->request_header_ca().bundle()));
    shared_.request_header_ca = std::make_shared<const crypto::trust>(std::move(front_ca));
    KEDGE_TRY(auto signing, crypto::private_key::from_pem(identity_->service_keys_pem()));
    shared_.signing_key.emplace(std::move(signing));
    auto tls_as = [this](const std::string& stem) -> result<std::shared_ptr<net::tls_client_context>> {
      KEDGE_TRY(auto pair, identity_->client(stem));
      return net::tls_client_context::make({.ca_pem = identity_->server_ca().bundle_pem(), .chain_pem = std::move(pair.first),
                                            .key_pem = std::move(pair.second), .alpn = {"http/1.1"}});
    };
    KEDGE_TRY(shared_.to_kubelets, tls_as("client-kube-apiserver"));
    KEDGE_TRY(shared_.to_servers, tls_as("client-supervisor"));
    shared_.tunnels = std::make_unique<tunnel::server>(store::loops_of(cores_));
    KEDGE_TRY(shared_.token_keys, crypto::parse_public_keys(identity_->service_keys_pem()));
    if (!options_.api.audit_log_path.empty()) {
      KEDGE_TRY(shared_.audit, api::audit_log::open({.path = options_.api.audit_log_path,
                                                     .max_bytes = std::uint64_t(options_.api.audit_log_max_size_mib) << 20,
                                                     .max_backups = options_.api.audit_log_max_backups,
                                                     .max_age_days = options_.api.audit_log_max_age_days}));
    }
    return {};
  }

  task<result<void>> listen() {
    auto [chain, key] = identity_->serving_identity();
    net::tls_server_options tls;
    tls.client_ca_pem = identity_->client_ca().bundle_pem();
    tls.minimum_version = options_.api.tls_min_version == "VersionTLS13" ? "1.3" : "1.2";
    KEDGE_CO_TRY(tls_, net::tls_server_context::make(tls, chain, key));
    net::http::server_options o;
    o.tls = tls_;
    if (settings_.bind_address.empty()) {
      // One dual-stack socket; where IPv6 is off, IPv4 alone.
      bool v6 = ::access("/proc/net/if_inet6", F_OK) == 0;
      o.listen = {{v6 ? "::" : "0.0.0.0", settings_.https_port}};
    } else {
      o.listen = {{settings_.bind_address, settings_.https_port}};
      if (settings_.bind_address != "127.0.0.1" && settings_.bind_address != "0.0.0.0" && settings_.bind_address != "::")
        o.listen.push_back({"127.0.0.1", settings_.https_port});  // the server's own node and kubeconfig
    }
    http_ = std::make_unique<net::http::server>(gateway_, std::move(o), cores_.size());
    for (std::size_t i = 0; i < cores_.size(); ++i) {
      auto listening = co_await reactor::call_on(cores_[i], [this, i]() -> task<result<void>> {
        auto failed = std::make_shared<result<void>>();
        cores_[i].spawn([](server_process& p, std::size_t core, std::shared_ptr<result<void>> out) -> task<void> {
          *out = co_await p.http_->run(core);
          p.http_->ready(core).set();
        }(*this, i, failed));
        co_await http_->ready(i).wait();
        co_return *failed;
      });
      KEDGE_CO_CHECK(std::move(listening));
    }
    co_return result<void>();
  }

  // A machine that has no clock of its own starts somewhere in the past, until it has heard the time. Before the authorities' begin
  // nobody could be told from a stranger: such a server would be listed, and refuse all who come.
  task<result<void>> wait_for_clock() {
    auto& loop = reactor::loop::current();
    constexpr auto told_each = std::chrono::minutes(1);
    for (auto told = loop.now() - told_each; loop.wall_now() < identity_->client_ca().signer().not_before();) {
      if (loop.now() - told >= told_each) {
        log::error("{}; waiting for the clock", identity_->clock_problem(loop.wall_now()).value_or(""));
        told = loop.now();
      }
      if (co_await stop_.wait_until(loop.now() + std::chrono::seconds(1))) co_return fail(errc::cancelled, "stopped while it waited for the clock");
    }
    co_return result<void>();
  }

  static datastore::endpoint_options datastore_options(const server_options& o, const std::string& server_dir) {
    datastore::endpoint_options d{.endpoint = o.datastore_endpoint,
                                  .ca_file = o.datastore_ca_file,
                                  .certificate_file = o.datastore_cert_file,
                                  .key_file = o.datastore_key_file,
                                  .sqlite = {}};
    d.sqlite.path = server_dir + "/db/state.db";
    d.sqlite.durability = o.sqlite_synchronous == "full" ? datastore::sqlite_durability::full : datastore::sqlite_durability::normal;
    return d;
  }

  // The cluster's files from the datastore. Reading what is encrypted there needs keys that may be among them: then the store, which
  // couldn't read some values, is opened once more.
  task<result<void>> take_identity(random_source& random) {
    encryption_.emplace(settings_);
    KEDGE_CO_CHECK(encryption_->read());
    KEDGE_CO_CHECK(co_await open_store());
    bootstrap_.emplace(settings_, *objects_, shared_datastore());
    KEDGE_CO_CHECK(co_await bootstrap_->load());
    if (bootstrap_->token_outdated()) settings_.token.clear();  // what it wrote to this server's files counts
    KEDGE_CO_TRY(auto others_keys, encryption_->read());
    if (others_keys) {
      co_await objects_->close();
      objects_.reset();
      KEDGE_CO_CHECK(co_await open_store());
      bootstrap_.emplace(settings_, *objects_, shared_datastore());
    }
    co_return encryption_->make(random);
  }

  void serve_encryption() {
    encryption_->serve({.objects = *objects_,
                        .record = *bootstrap_,
                        .lock = *lock_,
                        .password = [this] { return identity_->password(); },
                        .others = [this] { return endpoints_ ? endpoints_->encryption_hashes() : std::vector<std::pair<std::string, std::string>>(); }});
    auto& home = reactor::loop::current();
    shared_.encryption_status = [this, &home]() -> task<json::value> {
      co_return co_await reactor::call_on(home, [this]() -> task<json::value> { co_return encryption_->status(); });
    };
    shared_.change_encryption = [this, &home](json::value request) -> task<result<void>> {
      co_return co_await reactor::call_on(home, [this, request = std::move(request)]() mutable { return encryption_->change(std::move(request)); });
    };
  }

  // Host and process, as elections and rows name them.
  void name_process(random_source& random) {
    char host[256] = {};
    if (::gethostname(host, sizeof host - 1) != 0) host[0] = 0;
    process_identity_ = std::string(host) + "_" + random.uuid();
    lock_.emplace(supervisor::cluster_lock::parts{.objects = *objects_,
                                                  .row = "/kedge/secrets-encrypt",
                                                  .address = own_address(),
                                                  .identity = process_identity_,
                                                  .lives = [this](std::string_view identity) {
                                                    return std::ranges::any_of(others(), [&](const control::peer& p) { return p.identity == identity; });
                                                  }});
  }

  std::string own_address() const { return reactor::endpoint{settings_.advertise_address, settings_.advertise_port}.text(); }
  std::vector<control::peer> others() const { return endpoints_ ? endpoints_->living() : std::vector<control::peer>(); }

  void serve_token() {
    rotation_.emplace(supervisor::token_rotation::parts{.objects = *objects_,
                                                        .record = *bootstrap_,
                                                        .identity = *identity_,
                                                        .lock = *lock_,
                                                        .address = own_address(),
                                                        .others = [this] { return others(); },
                                                        .changed = [this] { if (endpoints_) endpoints_->tell(); }});
    auto& home = reactor::loop::current();
    shared_.token_stands = [this, &home]() { return reactor::call_on(home, [this] { return rotation_->stands(); }); };
    shared_.rotate_token = [this, &home](std::string wanted) {
      return reactor::call_on(home, [this, wanted = std::move(wanted)]() mutable { return rotation_->rotate(std::move(wanted)); });
    };
  }

  task<result<void>> open_store() {
    KEDGE_CO_CHECK(crypto::make_folder(settings_.server_dir() + "/db"));
    KEDGE_CO_TRY(auto log, datastore::make_log(datastore_options(options_, settings_.server_dir())));
    auto loops = store::loops_of(cores_);
    loops.push_back(&control_loop());
    store::store_options s{.log = std::move(log), .loops = std::move(loops), .decode = &json_of_stored, .upgrade = &api::custom::upgrade_stored};
    s.indexes = api::builtin_indexes();
    s.resource_size = &api::resource_size;
    if (auto memory = memory_limit()) s.history_bytes = std::max(memory / history_share, history_bytes_min);
    s.leads = [this] { return leads(); };
    s.transform = encryption_->transform([this] { return identity_ ? identity_->password() : supervisor::known_password(settings_).value_or(std::nullopt).value_or(""); });
    s.seen_file = settings_.server_dir() + "/db/seen.json";
    s.accept_data_loss = std::exchange(options_.accept_data_loss, false);  // once: the store may be opened again
    s.cluster_of = &cluster_of;
    s.on_lost_history = [this](const error&) {
      // What clients hold can't be gone on with, so neither can this process: a new one reads the database as it is now.
      failed_ = true;
      stop_.set();
    };
    KEDGE_CO_TRY(objects_, co_await store::open_store(std::move(s)));
    co_return result<void>();
  }

  // Every answer names a flow schema and its priority level; requests are not told apart here.
  static void name_flow(api::objects& client) {
    auto uid = [&](std::string_view plural, std::string_view name) {
      auto o = client.get({"flowcontrol.apiserver.k8s.io", "v1", std::string(plural)}, "", name);
      return o ? std::string((*o)["metadata"]["uid"].as_string()) : std::string();
    };
    api::set_flow_uids(uid("flowschemas", "global-default"), uid("prioritylevelconfigurations", "global-default"));
  }

  task<result<void>> open_fronts() {
    shared_.checks.add("ping", api::health_group::all, [] { return result<void>(); });
    shared_.checks.add("log", api::health_group::all, [] { return result<void>(); });
    shared_.checks.add("etcd", api::health_group::all, [this] { return objects_->healthy(); });
    shared_.checks.add("etcd-readiness", api::health_group::readyz, [this] { return objects_->healthy(); });
    shared_.checks.add("secrets-encryption", api::health_group::readyz, [this] { return objects_->complete(); });
    // The tables of custom resources are read before a front is there.
    shared_.checks.add("poststarthook/crd-informer-synced", api::health_group::all, [] { return result<void>(); });
    auto boot = [this]() -> result<void> {
      if (bootstrapped_.load(std::memory_order_relaxed)) return {};
      return fail(errc::unavailable, "not finished");
    };
    shared_.checks.add("poststarthook/rbac/bootstrap-roles", api::health_group::all, boot);
    shared_.checks.add("poststarthook/start-system-namespaces-controller", api::health_group::all, boot);
    shared_.checks.add("shutdown", api::health_group::readyz, [this]() -> result<void> {
      if (!stop_seen_.load(std::memory_order_relaxed)) return {};
      return fail(errc::unavailable, "process is shutting down");
    });
    shared_.measures.collect([this](std::string& out) { api::append_loop_metrics(out, cores_); });
    for (std::size_t i = 0; i < cores_.size(); ++i) {
      auto opened = co_await reactor::call_on(cores_[i], [this]() -> task<result<void>> {
        KEDGE_CO_TRY(auto f, front::make(options_, settings_, *identity_, shared_, *objects_, cores_.size()));
        gateway_.open(std::move(f));
        co_return result<void>();
      });
      KEDGE_CO_CHECK(std::move(opened));
    }
    co_return result<void>();
  }

  api::bootstrap_options bootstrap_options() {
    return {.service_ip = supervisor::first_address(settings_.service_cidrs.front(), 1),
            .service_cidr = settings_.service_cidrs.front(),
            .endpoint_addresses = {},  // server_endpoints' work
            .endpoint_port = settings_.advertise_port,
            .root_ca = identity_->server_ca().bundle_pem(),
            .client_ca = identity_->client_ca().bundle_pem(),
            .request_header_ca = identity_->request_header_ca().bundle_pem()};
  }

  bool shared_datastore() const { return settings_.leader_election; }

  // Whether this server does what is to be done once in a cluster. On the first core.
  bool leads() const { return !shared_datastore() || options_.disable_controller_manager || (election_ && election_->leads()); }

  control::server_options endpoint_options() {
    return {.address = settings_.advertise_address,
            .port = settings_.advertise_port,
            .node_name = settings_.disable_agent ? "" : settings_.node_name,
            .identity = process_identity_,
            .settings = supervisor::critical_settings(settings_),
            .encryption_hash = [this] { return encryption_->hash(); },
            .token_id = [this] { return supervisor::token_id(identity_->password()); },
            .alone = !shared_datastore()};
  }

  // What another server changes in the record, encryption keys above all, is taken over.
  task<void> follow_record() {
    reactor::event changed;
    reactor::scope watching;
    watching.spawn(control::follow(*objects_, std::string(crypto::bootstrap_prefix), [&](const store::event& e) {
      if (e.type != store::event_type::deleted && e.object->key() == crypto::bootstrap_key(identity_->password())) changed.set();
    }));
    for (;;) {
      co_await changed.wait();
      changed.reset();
      if (encryption_->changing()) continue;  // by this server
      auto files = co_await bootstrap_->refresh(identity_->password());
      if (!files) {
        log::error("the cluster's files in the datastore were changed, and can't be taken over: {}", files.error().message);
        continue;
      }
      if (files->empty()) continue;
      log::info("taken from the datastore: {}", join(*files, ", "));
      if (auto keys = co_await encryption_->reload(); !keys)
        log::error("the encryption keys from the datastore can't be used: {}", keys.error().message);
      endpoints_->tell();
    }
  }

  void start_node() {
    auto c = node_config(options_.agent);
    c.server_url = "https://" + reactor::endpoint{settings_.bind_address.empty() || settings_.bind_address == "0.0.0.0" || settings_.bind_address == "::" ? "127.0.0.1" : settings_.bind_address, settings_.https_port}.text();
    c.token = identity_->agent_token();
    c.disable_cloud_controller = options_.disable_cloud_controller;
    c.admin_certificate = settings_.server_dir() + "/tls/client-admin.crt";
    c.admin_key = settings_.server_dir() + "/tls/client-admin.key";
    node_ = std::make_unique<node::agent_control>();
    node_tasks_.spawn([](server_process& p, node::agent_config config) -> task<void> {
      auto r = co_await node::run_node(std::move(config), *p.node_);
      if (!r) {
        log::error("this server's own node: {}", r.error().message);
        p.failed_ = true;
        p.stop_.set();
      }
      p.node_ended_.set();
    }(*this, std::move(c)));
    node_tasks_.spawn([](server_process& p) -> task<void> {
      co_await p.node_->ready.wait();
      log::info("node {} is Ready", p.node_->node_name);
      notify_ready();
    }(*this));
  }

  // New connections see the new certificate.
  void show_certificate() {
    auto [chain, key] = identity_->serving_identity();
    if (auto r = tls_->replace(chain, key); !r) log::error("the new serving certificate: {}", r.error().message);
  }

  // Tunnels never end by themselves: they do when nothing else is left that may go through them.
  task<void> close_tunnels() {
    auto until = reactor::loop::current().now() + tunnel_grace;
    while (http_->count().exchanges > shared_.tunnels->sessions().size() && reactor::loop::current().now() < until)
      co_await reactor::sleep_for(std::chrono::milliseconds(20));
    shared_.tunnels->close();
  }

  // On all cores at once.
  template <typename F>
  task<void> on_every_core(F f) {
    reactor::scope running;
    for (std::size_t i = 0; i < cores_.size(); ++i)
      running.spawn([](reactor::loop& core, std::size_t number, F work) -> task<void> {
        co_await reactor::call_on(core, [number, work] { return work(number); });
      }(cores_[i], i, f));
    co_await running.join();
  }

  // Everything in the opposite order; each step bounded in time.
  task<void> end() {
    stop_seen_.store(true, std::memory_order_relaxed);
    auto& loop = reactor::loop::current();
    // First of all the others take over, while this server still answers.
    auto told_by = loop.now() + leave_time;
    if (endpoints_) co_await endpoints_->leave(told_by);
    if (election_) co_await election_->release(told_by);
    if (node_) {
      node_->stop.set();
      co_await node_ended_.wait_until(loop.now() + node_stop_time);
      node_tasks_.cancel();
    }
    if (http_) {
      co_await on_every_core([this](std::size_t core) -> task<bool> {
        http_->leave(core);
        co_return true;
      });
      co_await reactor::sleep_for(shared_datastore() ? duration(move_time) : duration(pause_time));
      if (objects_) objects_->end_watches();
      reactor::scope closing;
      closing.spawn(close_tunnels());
      auto until = loop.now() + drain_time;
      co_await on_every_core([this, until](std::size_t core) { return http_->drain(core, until); });
    }
    shared_.controllers_running.store(false, std::memory_order_relaxed);
    tasks_.cancel();
    if (encryption_) encryption_->stop();
    co_await reactor::call_on(control_loop(), [this]() -> task<bool> {
      controllers_.reset();
      co_return true;
    });
    if (lock_) lock_->stop();
    co_await on_every_core([this](std::size_t) -> task<bool> {
      gateway_.close();
      co_return true;
    });
    if (shared_.audit) co_await reactor::offload([a = shared_.audit] {
      a->flush();
      return true;
    });
    if (objects_) co_await objects_->close();
    log::info("shut down");
  }

  reactor::cores& cores_;
  server_options options_;
  supervisor::config settings_;
  shared_parts shared_;
  std::shared_ptr<supervisor::credentials> identity_;
  std::shared_ptr<net::tls_server_context> tls_;
  gateway gateway_;
  std::unique_ptr<net::http::server> http_;
  std::unique_ptr<store::store> objects_;
  std::optional<supervisor::encryption> encryption_;
  std::optional<supervisor::bootstrap_data> bootstrap_;
  std::optional<supervisor::cluster_lock> lock_;
  std::optional<supervisor::token_rotation> rotation_;
  std::string process_identity_;
  control::scheduler::configuration scheduling_ = control::scheduler::default_configuration();
  std::unique_ptr<control::context> housekeeping_;
  control::settings controller_settings_;
  std::unique_ptr<control_front> controllers_;  // the control loop's
  std::unique_ptr<control::server_endpoints> endpoints_;
  std::unique_ptr<control::election> election_;
  std::unique_ptr<supervisor::serving_keeper> keeper_;
  std::unique_ptr<node::agent_control> node_;
  std::optional<reactor::signal_waiter> signals_;
  std::atomic<bool> bootstrapped_ = false, stop_seen_ = false;
  bool failed_ = false;
  reactor::event stop_, node_ended_;
  reactor::scope node_tasks_;
  reactor::scope tasks_;
};

}  // namespace

int run_server(server_options options) {
  auto count = options.agent.reactors ? options.agent.reactors : std::max(1l, ::sysconf(_SC_NPROCESSORS_ONLN));
  auto cores = reactor::cores::make(static_cast<std::size_t>(count), io_backend_of(options.agent.io_backend), 1);
  if (!cores) {
    log::error("{}", cores.error().message);
    return 1;
  }
  std::unique_ptr<server_process> process;
  int code = run_on(**cores, [&]() -> task<int> {
    process = std::make_unique<server_process>(**cores, std::move(options));
    return process->run();
  });
  return code;
}

}  // namespace kedge::cli
