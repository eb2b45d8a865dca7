#include "cluster_world.h"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "base/kubernetes_version.h"
#include "crypto/certificate.h"
#include "crypto/files.h"
#include "json/parse.h"
#include "json/write.h"
#include "node/agent.h"
#include "server/server.h"
#include "support/fake_runtime.h"
#include "watched_log.h"

namespace kedge::sim {

using namespace std::chrono_literals;

namespace {

constexpr std::uint16_t server_port = 6443, balancer_port = 6444;
constexpr auto restart_pause = 5s;  // RestartSec= of both units
constexpr auto tick_time = 100ms;
constexpr auto runtime_socket_path = "/run/containerd.sock";
constexpr auto attempt_lands_within = 5min;  // a machine that stands still included
constexpr std::size_t complaints_max = 5;    // of one checker: the first ones tell most

result<node::system_info> some_machine(const std::string& name) {
  node::system_info m;
  m.cpus = 2;
  m.memory_bytes = 4ULL << 30;
  m.storage_bytes = 64ULL << 30;
  m.storage_available_bytes = 48ULL << 30;
  m.machine_id = m.system_uuid = m.boot_id = "sim-" + name;
  m.kernel_version = "6.1.0";
  m.os_image = "Simulated";
  m.architecture = "amd64";
  m.hostname = name;
  return m;
}

bool is_ready(const json::value& node) {
  auto& all = node["status"]["conditions"];
  for (std::size_t i = 0; i < all.size(); ++i)
    if (all[i]["type"].as_string() == "Ready") return all[i]["status"].as_string() == "True";
  return false;
}

// Holds while a process runs.
struct running {
  bool& flag;
  explicit running(bool& f) : flag(f) {}
  ~running() { flag = false; }
};

}  // namespace

cluster_world::cluster_world(std::uint64_t seed, cluster_options o)
    : db(datastore::memory_database::durability::each_commit, true), w(seed), options_(o) {
  db.faults.delay_before_commit = [this] { return w.between(0ms, 2ms); };
  db.faults.delay_after_commit = [this] { return w.between(0ms, 2ms); };
  auto settle = [this](machine& m, const std::string& name) {
    m.at = &w.add_host(name);
    m.folder = folder_.path() + "/" + name;
    std::filesystem::create_directories(m.folder);
  };
  for (int i = 0; i < o.servers; ++i) {
    auto& m = *servers.emplace_back(std::make_unique<server_machine>());
    settle(m, "s" + std::to_string(i + 1));
    m.at->start([this, &m, i](host&) { return serve(m, i); });
  }
  for (int i = 0; i < o.agents; ++i) {
    auto& m = *agents.emplace_back(std::make_unique<agent_machine>());
    settle(m, "n" + std::to_string(i + 1));
    auto& fixed = *servers[w.random().below(servers.size())];
    m.at->start([this, &m, url = "https://" + reactor::endpoint{fixed.at->address(), server_port}.text()](host&) {
      return run_agent(m, url);
    });
  }
  users_ = &w.add_host("users");
  users_->start([this](host&) { return use(); });
  tick();
}

cluster_world::~cluster_world() {
  ticks_.clear();
  for (auto& m : agents)
    if (m->at->running()) m->at->crash();
  for (auto& m : servers)
    if (m->at->running()) m->at->crash();
  if (users_->running()) users_->crash();
}

node::agent_config cluster_world::agent_config_of(const machine& m, const std::string& server_url) const {
  node::agent_config c;
  c.server_url = server_url;
  c.token = "simulated";
  c.node_name = m.at->name();
  c.node_ips = {m.at->address()};
  c.data_dir = m.folder + "/data";
  c.password_folder = m.folder + "/password";
  c.bind_address = m.at->address();
  c.reachable = true;
  c.balancer_port = balancer_port;
  c.manage_cni = false;  // the kernel has one network
  c.container_runtime_endpoint = std::string("unix://") + runtime_socket_path;
  return c;
}

server::settings cluster_world::settings_of(server_machine& m, int number) {
  server::settings s;
  auto& c = s.cluster;
  c.data_dir = m.folder + "/data";
  c.node_name = m.at->name();
  c.disable_agent = !options_.own_nodes;
  c.node_ips = {m.at->address()};
  c.token = "simulated";
  c.bind_address = c.advertise_address = m.at->address();
  c.https_port = c.advertise_port = server_port;
  c.cluster_cidrs = {"10.42.0.0/16"};
  c.service_cidrs = {"10.43.0.0/16"};
  c.cluster_dns = {"10.43.0.10"};
  c.write_kubeconfig = m.folder + "/kubeconfig.yaml";
  c.leader_election = true;
  s.open_log = [this, &m, number]() -> result<std::unique_ptr<datastore::log>> {
    return watch_log(datastore::make_memory_log(db, &m.link), [this, number](const datastore::operation& op) {
      attempts_.emplace(op.name, attempt{number, w.now(), op});
    });
  };
  s.node = agent_config_of(m, "");
  s.node.balancer_port = 0;
  s.version = kedge_version;
  return s;
}

task<void> cluster_world::serve(server_machine& m, int number) {
  fake_runtime runtime(runtime_socket_path, m.at);
  reactor::scope beside;
  beside.spawn([](fake_runtime& r) -> task<void> { (void)co_await r.run(); }(runtime));
  for (;;) {
    ++m.starts;
    running until_then(m.ready);
    server::server s(settings_of(m, number), {.loops = {&m.at->loop()}, .network = m.at}, [&m] { m.ready = true; });
    auto code = co_await s.run();
    m.said = fmt::format("ended with {}", code);
    w.trace(m.at->name() + ": the server " + m.said);
    m.ready = false;
    co_await reactor::sleep_for(restart_pause);
  }
}

task<void> cluster_world::run_agent(agent_machine& m, std::string server_url) {
  fake_runtime runtime(runtime_socket_path, m.at);
  reactor::scope beside;
  beside.spawn([](fake_runtime& r) -> task<void> { (void)co_await r.run(); }(runtime));
  for (;;) {
    ++m.starts;
    running until_then(m.ready);
    node::agent_control control;
    control.network = m.at;
    control.read_pressure = [](const std::string&, const std::string&) { return node::readings(); };
    control.read_machine = [name = m.at->name()](const node::system_paths&) { return some_machine(name); };
    reactor::scope watching;
    watching.spawn([](node::agent_control& c, agent_machine& mine) -> task<void> {
      co_await c.ready.wait();
      mine.ready = true;
    }(control, m));
    auto ended = co_await node::run_node(agent_config_of(m, server_url), control);
    m.said = ended ? std::string("stopped") : ended.error().message;
    w.trace(m.at->name() + ": the agent ended: " + m.said);
    m.ready = false;
    co_await reactor::sleep_for(restart_pause);
  }
}

// The users' host does what it is given.
task<void> cluster_world::use() {
  http_ = std::make_unique<net::http::client>(users_);
  reactor::event never;
  co_await never.wait();
}

void cluster_world::run_as_user(std::function<task<void>()> f) {
  reactor::loop::current_guard guard(users_->loop());
  if (!admin_) make_client();
  users_->loop().spawn([](std::function<task<void>()> what) -> task<void> { co_await what(); }(std::move(f)));
}

void cluster_world::make_client() {
  auto tls = servers[0]->folder + "/data/server/tls/";
  auto ca = crypto::read_file(tls + "server-ca.crt"), chain = crypto::read_file(tls + "client-admin.crt"),
       key = crypto::read_file(tls + "client-admin.key");
  REQUIRE_MESSAGE((ca && chain && key), "the first server has no certificates yet");
  auto made =
      net::tls_client_context::make({.ca_pem = *ca, .chain_pem = *chain, .key_pem = *key, .alpn = {"http/1.1"}});
  REQUIRE(made.has_value());
  admin_ = *std::move(made);
}

net::http::target cluster_world::target_of(int server) const {
  return {.at = {servers[static_cast<std::size_t>(server)]->at->address(), server_port}, .host = "", .tls = admin_};
}

task<reply> cluster_world::ask(int server, std::string method, std::string path, json::value body, duration patience) {
  net::http::client_request r{.to = target_of(server), .method = std::move(method), .path = std::move(path)};
  if (!body.is_null()) {
    r.headers.add("Content-Type", "application/json");
    r.body = json::write(body);
  }
  auto answer = co_await reactor::with_deadline(http_->fetch(std::move(r)), users_->loop().now() + patience);
  reply out;
  if (!answer) co_return out;
  out.status = answer->status;
  if (auto parsed = json::parse(answer->body)) out.body = *std::move(parsed);
  co_return out;
}

bool cluster_world::serves(const server_machine& s) const {
  return s.at->running() && !s.at->paused() && s.ready && !s.link.cut && !s.disk_away && !general_fault;
}

bool cluster_world::could_serve(const server_machine& s, const agent_machine& a) const {
  // An agent whose clock stands before the authorities' begin can trust nobody.
  const bool can_trust = a.at->clock_offset() > -crypto::authority_backdate;
  return serves(s) && a.at->running() && can_trust && !a.at->paused() && !a.disk_away && !w.cut_off(*s.at, *a.at);
}

std::string cluster_world::amiss() const {
  for (auto& s : servers)
    if (!s->ready) return s->at->name() + " is not ready: " + s->said;
  for (auto& a : agents) {
    if (!a->ready) return a->at->name() + " has not become ready: " + a->said;
    if (!is_ready(get("/registry/minions/" + a->at->name()))) return a->at->name() + " is not Ready";
  }
  if (options_.own_nodes)
    for (auto& s : servers)
      if (!is_ready(get("/registry/minions/" + s->at->name()))) return s->at->name() + "'s own node is not Ready";
  return {};
}

std::string cluster_world::wait_until_all_is_well(duration limit) {
  auto end = w.now() + limit;
  auto why = amiss();
  while (!why.empty() && w.now() < end) {
    w.run_for(200ms);
    why = amiss();
  }
  return why;
}

json::value cluster_world::get(const std::string& key) const {
  auto* e = db.newest_of(key);
  auto v = e ? json::parse(e->value) : result<json::value>(json::value());
  return v ? *std::move(v) : json::value();
}

void cluster_world::each_new_row(datastore::revision& seen,
                                 const std::function<void(const datastore::entry&, const attempt*)>& f) {
  auto& rows = db.rows();
  for (auto it = rows.upper_bound(seen); it != rows.end(); ++it) {
    auto& e = it->second;
    seen = it->first;
    auto [first, last] = attempts_.equal_range(e.name);
    auto by = std::find_if(first, last, [&](const auto& a) {
      auto& op = a.second.what;
      return op.kind == e.kind && op.value == e.value &&
             (e.kind == datastore::change::create || op.expected == e.previous);
    });
    f(e, by == last ? nullptr : &by->second);
    if (by != last) attempts_.erase(by);
  }
  std::erase_if(attempts_, [&](const auto& a) { return a.second.when + attempt_lands_within < w.now(); });
}

void cluster_world::tick() {
  for (auto& f : ticks_) f();
  w.after(tick_time, [this] { tick(); });
}

void cluster_world::complain(std::string_view checker, std::string what) {
  if (complained_[std::string(checker)]++ >= complaints_max) return;
  w.trace("COMPLAINT: " + what);
  complaints_.push_back(format_duration(w.now().time_since_epoch() - 1h) + " " + std::move(what));
}

// Its place is taken by a file, so that each access fails.
void cluster_world::take_disk(machine& m) {
  if (std::exchange(m.disk_away, true)) return;
  w.trace(m.at->name() + ": its disk is away");
  std::filesystem::rename(m.folder, m.folder + ".away");
  std::ofstream(m.folder) << "no disk";
}

void cluster_world::give_disk(machine& m) {
  if (!std::exchange(m.disk_away, false)) return;
  w.trace(m.at->name() + ": its disk is back");
  std::filesystem::remove(m.folder);
  std::filesystem::rename(m.folder + ".away", m.folder);
}

}  // namespace kedge::sim
