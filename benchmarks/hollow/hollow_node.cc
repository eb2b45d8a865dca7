#include "hollow/hollow_node.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/log.h"
#include "base/strings.h"
#include "crypto/files.h"
#include "json/parse.h"
#include "json/write.h"
#include "net/tls.h"
#include "reactor/offload.h"
#include "reactor/stream.h"

namespace kedge::hollow {

using json::value;
using reactor::loop;

namespace {

constexpr auto answer_deadline = std::chrono::seconds(30);
constexpr auto retry_pause = std::chrono::seconds(1);
constexpr auto watch_time = std::chrono::minutes(10);
constexpr std::size_t list_bytes_max = 64 * 1024 * 1024;
constexpr std::size_t event_bytes_max = 4 * 1024 * 1024;
constexpr std::string_view strategic = "application/strategic-merge-patch+json";

duration some_of(duration d) {
  return d / 2 + duration(static_cast<duration::rep>(
                     loop::current().random().below(static_cast<std::uint64_t>(d.count()) + 1))) /
                     2;
}

}  // namespace

// A pod's run on this node.
struct hollow_node::life {
  value pod;  // as last seen
  script says;
  moment_of_pod at;
  std::string address;
  bool ends = false;
  bool running = false;  // counted as such
  reactor::scope playing;
};

hollow_node::hollow_node(const settings& s, unsigned number, counts& c) : settings_(s), counts_(c) {
  config_.server_url = s.server_url;
  config_.token = s.token;
  config_.node_name = fmt::format("{}-{}", s.prefix, number);
  config_.data_dir = s.folder + "/" + config_.node_name;
  config_.password_folder = config_.data_dir;
  config_.node_ips = {fmt::format("10.254.{}.{}", number / 250 % 256, number % 250 + 1)};
  config_.node_labels = s.labels;
  config_.disable_cloud_controller = true;
  machine_.cpus = s.cpus;
  machine_.memory_bytes = s.memory_bytes;
  machine_.storage_bytes = machine_.storage_available_bytes = s.storage_bytes;
  machine_.machine_id = machine_.system_uuid = machine_.boot_id = fmt::format("{:032x}", number);
  machine_.kernel_version = "hollow";
  machine_.os_image = "hollow";
  machine_.architecture = "amd64";
  machine_.hostname = config_.node_name;
  runtime_.error.clear();
  runtime_.name = "hollow";
  runtime_.version = "1";
  runtime_.runtime.ready = runtime_.network.ready = true;
}

hollow_node::~hollow_node() = default;

void hollow_node::note(const error& e) {
  counts_.failures.fetch_add(1, std::memory_order_relaxed);
  log::debug("{}: {}", config_.node_name, e.message);
}

task<result<void>> hollow_node::run(reactor::semaphore& turn) {
  co_await turn.acquire();
  auto registered = [this]() -> task<result<void>> {
    KEDGE_CO_TRY(auto made, co_await reactor::offload([path = config_.data_dir] { return crypto::make_folder(path); }));
    KEDGE_CO_CHECK(std::move(made));
    KEDGE_CO_TRY(auto loaded, co_await reactor::offload(
                                  [c = config_] { return node::load_identity(c, c.node_name, system_random()); }));
    KEDGE_CO_TRY(auto identity, std::move(loaded));
    KEDGE_CO_TRY(joined_, co_await node::register_node(config_, identity.password, nullptr));
    auto tls = net::tls_client_context::make({.ca_pem = joined_->server_ca,
                                              .chain_pem = joined_->kubelet.chain,
                                              .key_pem = joined_->kubelet.key,
                                              .alpn = {"h2"}});
    if (!tls) co_return fail(std::move(tls).error());
    KEDGE_CO_TRY(auto where, net::http::parse_url(config_.server_url, *std::move(tls)));
    target_ = std::move(where.first);
    http_ = std::make_unique<net::http::client>();
    co_return result<void>();
  };
  auto done = co_await registered();
  turn.release();
  KEDGE_CO_CHECK(std::move(done));
  counts_.registered.fetch_add(1, std::memory_order_relaxed);
  while (true) {
    auto made = co_await make_node();
    if (made) break;
    note(made.error());
    co_await reactor::sleep_for(some_of(retry_pause));
  }
  counts_.ready.fetch_add(1, std::memory_order_relaxed);
  if (settings_.tunnels) {
    links_.emplace(config_, nullptr, nullptr);
    KEDGE_CO_CHECK(co_await links_->start());
    auto file = [this](const char* name) { return config_.agent_folder() + "/client-k3s-controller" + name; };
    KEDGE_CO_TRY(auto read, co_await reactor::offload([file]() -> result<node::client_identity> {
                   node::client_identity c;
                   KEDGE_TRY(c.chain, crypto::read_file(file(".crt")));
                   KEDGE_TRY(c.key, crypto::read_file(file(".key")));
                   return c;
                 }));
    KEDGE_CO_TRY(auto controller, std::move(read));
    KEDGE_CO_CHECK(links_->join(*joined_, controller));
  }
  tasks_.spawn(keep_lease());
  tasks_.spawn(keep_status());
  tasks_.spawn(follow_pods());
  reactor::event never;
  co_await never.wait();
  co_return result<void>();
}

task<result<hollow_node::answer>> hollow_node::ask(std::string method, std::string path, std::string body,
                                                   std::string_view type) {
  net::http::client_request r{.to = target_, .method = std::move(method), .path = std::move(path)};
  r.headers.add("User-Agent", "kubelet/hollow");
  r.headers.add("Accept", "application/json");
  if (!body.empty()) r.headers.add("Content-Type", std::string(type));
  r.body = std::move(body);
  KEDGE_CO_TRY(auto got, co_await reactor::with_deadline(http_->fetch(std::move(r), list_bytes_max),
                                                         loop::current().now() + answer_deadline));
  KEDGE_CO_TRY(auto parsed, json::parse(got.body));
  co_return answer{got.status, std::move(parsed)};
}

task<result<value>> hollow_node::good(std::string method, std::string path, const value& body, std::string_view type) {
  auto what = method + " " + path;
  KEDGE_CO_TRY(auto a, co_await ask(std::move(method), std::move(path),
                                    body.is_null() ? std::string() : json::write(body), type));
  if (a.status < 300) co_return std::move(a.body);
  co_return fail(a.status == 404   ? errc::not_found
                 : a.status == 409 ? errc::conflict
                                   : errc::unavailable,
                 fmt::format("{}: {} {}", what, a.status, a.body["message"].as_string()));
}

task<result<void>> hollow_node::make_node() {
  node::node_facts facts{config_, machine_, runtime_};
  auto wanted = node::describe_node(facts, {}, loop::current().wall_now());
  auto path = "/api/v1/nodes/" + config_.node_name;
  auto made = co_await good("POST", "/api/v1/nodes", wanted);
  if (!made && made.error().code != errc::conflict) co_return fail(std::move(made).error());
  if (made) {
    node_ = *std::move(made);
  } else {
    KEDGE_CO_TRY(node_, co_await good("GET", path, {}));
  }
  if (auto patch = node::status_patch(node_, node::describe_node(facts, node_, loop::current().wall_now()), true);
      !patch.is_null()) {
    KEDGE_CO_TRY(node_, co_await good("PATCH", path + "/status", patch, strategic));
  }
  co_return result<void>();
}

task<void> hollow_node::keep_status() {
  auto reported = loop::current().now();
  for (co_await reactor::sleep_for(some_of(settings_.status_interval));;
       co_await reactor::sleep_for(settings_.status_interval)) {
    const bool due = loop::current().now() - reported >= settings_.report_interval;
    node::node_facts facts{config_, machine_, runtime_};
    auto patch = node::status_patch(node_, node::describe_node(facts, node_, loop::current().wall_now()), due);
    if (patch.is_null()) continue;
    auto done = co_await good("PATCH", "/api/v1/nodes/" + config_.node_name + "/status", patch, strategic);
    if (!done) {
      note(done.error());
      continue;
    }
    node_ = *std::move(done);
    reported = loop::current().now();
    counts_.statuses.fetch_add(1, std::memory_order_relaxed);
  }
}

task<void> hollow_node::keep_lease() {
  const std::string all = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases",
                    own = all + "/" + config_.node_name;
  for (;; co_await reactor::sleep_for(settings_.lease_interval - settings_.lease_interval / 25 +
                                      some_of(settings_.lease_interval / 25))) {
    auto began = loop::current().now();
    auto done = lease_.is_null()
                    ? co_await good("POST", all, node::node_lease(node_, {}, loop::current().wall_now()))
                    : co_await good("PUT", own, node::node_lease(node_, lease_, loop::current().wall_now()));
    if (!done && done.error().code == errc::conflict) done = co_await good("GET", own, {});
    if (!done) {
      note(done.error());
      continue;
    }
    lease_ = *std::move(done);
    counts_.leases.fetch_add(1, std::memory_order_relaxed);
    auto took = static_cast<std::uint64_t>(
        std::chrono::duration_cast<std::chrono::microseconds>(loop::current().now() - began).count());
    for (auto most = counts_.slowest_lease_us.load(std::memory_order_relaxed);
         took > most && !counts_.slowest_lease_us.compare_exchange_weak(most, took);) {}
  }
}

// ---- pods

task<void> hollow_node::follow_pods() {
  for (;;) {
    auto from = co_await list_pods();
    auto ended = from ? co_await watch_pods(*from) : result<void>(fail(from.error()));
    if (!ended) note(ended.error());
    co_await reactor::sleep_for(some_of(retry_pause));
  }
}

task<result<std::string>> hollow_node::list_pods() {
  // The range of its pods' addresses comes soon after the node.
  if (node_["spec"]["podCIDR"].is_null()) {
    KEDGE_CO_TRY(node_, co_await good("GET", "/api/v1/nodes/" + config_.node_name, {}));
    if (node_["spec"]["podCIDR"].is_null()) co_return fail(errc::unavailable, "the node has no pod addresses yet");
  }
  KEDGE_CO_TRY(auto list, co_await good("GET", "/api/v1/pods?fieldSelector=spec.nodeName%3D" + config_.node_name, {}));
  std::map<std::string, bool, std::less<>> there;
  for (std::size_t i = 0; i < list["items"].size(); ++i) {
    there[std::string(list["items"][i]["metadata"]["uid"].as_string())] = true;
    see(list["items"][i], false);
  }
  std::erase_if(pods_, [&](auto& p) { return !there.contains(p.first); });
  co_return std::string(list["metadata"]["resourceVersion"].as_string());
}

task<result<void>> hollow_node::watch_pods(std::string from) {
  net::http::client_request r{.to = target_};
  r.path = fmt::format(
      "/api/v1/"
      "pods?fieldSelector=spec.nodeName%3D{}&watch=1&allowWatchBookmarks=true&timeoutSeconds={}&resourceVersion={}",
      config_.node_name, std::chrono::duration_cast<std::chrono::seconds>(watch_time).count(), from);
  auto soon = loop::current().now() + answer_deadline, until = soon + watch_time;
  KEDGE_CO_TRY(auto x, co_await reactor::with_deadline(http_->open(std::move(r)), soon));
  KEDGE_CO_TRY(auto* head, co_await reactor::with_deadline(x->head(), soon));
  if (head->status != 200)
    co_return fail(errc::unavailable, fmt::format("the watch of pods was answered with status {}", head->status));
  std::string held;
  for (;;) {
    KEDGE_CO_TRY(auto piece, co_await reactor::with_deadline(x->read(), until));
    if (piece.empty()) co_return result<void>();
    held += as_text(piece.view());
    std::size_t begin = 0;
    for (auto end = held.find('\n'); end != held.npos; end = held.find('\n', begin)) {
      KEDGE_CO_TRY(auto event, json::parse(std::string_view(held).substr(begin, end - begin)));
      begin = end + 1;
      auto type = event["type"].as_string();
      if (type == "ERROR")
        co_return fail(errc::expired,
                       "the watch of pods ended: " + std::string(event["object"]["message"].as_string()));
      if (type != "BOOKMARK") see(event["object"], type == "DELETED");
    }
    held.erase(0, begin);
    if (held.size() > event_bytes_max) co_return fail(errc::too_large, "an event of a pod is too large");
  }
}

void hollow_node::see(const value& pod, bool gone) {
  auto uid = pod["metadata"]["uid"].as_string();
  auto found = pods_.find(uid);
  if (gone) {
    if (found == pods_.end()) return;
    if (found->second->running) counts_.pods_running.fetch_sub(1, std::memory_order_relaxed);
    counts_.pods_deleted.fetch_add(1, std::memory_order_relaxed);
    pods_.erase(found);
    return;
  }
  if (found == pods_.end()) {
    auto says = parse_script(pod["metadata"]["annotations"][script_annotation].as_string(), settings_.pods);
    if (!says) note(says.error());
    found = pods_.emplace(std::string(uid), std::make_unique<life>()).first;
    auto& l = *found->second;
    l.says = says ? *says : settings_.pods;
    l.address = pod_address(++pods_made_);
    l.pod = pod;
    l.at.started = loop::current().wall_now();
    counts_.pods_seen.fetch_add(1, std::memory_order_relaxed);
    auto phase = pod["status"]["phase"].as_string();
    if (phase != "Succeeded" && phase != "Failed" && !pod["metadata"]["deletionTimestamp"].is_string())
      l.playing.spawn(play(l));
  }
  auto& l = *found->second;
  l.pod = pod;
  if (pod["metadata"]["deletionTimestamp"].is_string() && !l.ends) {
    l.ends = true;
    l.playing.cancel();
    l.playing.spawn(end(l));
  }
}

std::string hollow_node::pod_address(unsigned number) const {
  auto range = node_["spec"]["podCIDR"].as_string();  // 10.42.7.0/24
  auto dot = range.rfind('.');
  return fmt::format("{}.{}", dot == range.npos ? "10.42.0" : range.substr(0, dot), number % 253 + 2);
}

// Until it stands in the API, or the pod is gone.
task<bool> hollow_node::tell(life& l, const moment_of_pod& m) {
  auto& meta = l.pod["metadata"];
  auto path =
      fmt::format("/api/v1/namespaces/{}/pods/{}/status", meta["namespace"].as_string(), meta["name"].as_string());
  for (;;) {
    json::object patch{{"metadata", json::object{{"uid", meta["uid"]}}},
                       {"status", status_of(l.pod, l.says, m, config_.node_ips.front(), l.address)}};
    auto done = co_await good("PATCH", path, patch, strategic);
    if (done) co_return true;
    note(done.error());
    if (done.error().code == errc::not_found || done.error().code == errc::conflict) co_return false;
    co_await reactor::sleep_for(some_of(retry_pause));
  }
}

task<void> hollow_node::play(life& l) {
  using state = moment_of_pod::state;
  for (;;) {
    co_await reactor::sleep_for(l.says.ready);
    l.at.is = state::running;
    l.at.run_began = loop::current().wall_now();
    if (!co_await tell(l, l.at)) co_return;
    if (!std::exchange(l.running, true)) counts_.pods_running.fetch_add(1, std::memory_order_relaxed);
    if (!l.says.exit) co_return;
    co_await reactor::sleep_for(*l.says.exit);
    l.at.run_ended = loop::current().wall_now();
    if (std::exchange(l.running, false)) counts_.pods_running.fetch_sub(1, std::memory_order_relaxed);
    if (!is_restarted(l.pod, l.says.code)) {
      l.at.is = state::ended;
      counts_.pods_ended.fetch_add(1, std::memory_order_relaxed);
      (void)co_await tell(l, l.at);
      co_return;
    }
    auto pause = restart_pause(l.at.restarts + 1);
    if (pause > duration::zero()) {
      l.at.is = state::waiting;
      if (!co_await tell(l, l.at)) co_return;
      co_await reactor::sleep_for(pause);
    }
    ++l.at.restarts;
  }
}

// Asked to end: its containers end, and then it goes.
task<void> hollow_node::end(life& l) {
  co_await reactor::sleep_for(l.says.stop);
  auto& meta = l.pod["metadata"];
  auto path = fmt::format("/api/v1/namespaces/{}/pods/{}", meta["namespace"].as_string(), meta["name"].as_string());
  value options = json::object{{"kind", "DeleteOptions"},
                               {"apiVersion", "v1"},
                               {"gracePeriodSeconds", 0},
                               {"preconditions", json::object{{"uid", meta["uid"]}}}};
  for (;;) {
    auto done = co_await good("DELETE", path, options);
    if (done || done.error().code == errc::not_found || done.error().code == errc::conflict) co_return;
    note(done.error());
    co_await reactor::sleep_for(some_of(retry_pause));
  }
}

}  // namespace kedge::hollow
