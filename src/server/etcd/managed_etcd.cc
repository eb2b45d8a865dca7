#include "server/etcd/managed_etcd.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "base/log.h"
#include "base/strings.h"
#include "crypto/files.h"
#include "datastore/etcd/etcd_log.h"
#include "json/parse.h"
#include "json/write.h"
#include "node/join/supervisor_client.h"
#include "reactor/cores.h"
#include "server/etcd/adopt.h"
#include "supervisor/bootstrap_data.h"
#include "supervisor/credentials.h"

namespace kedge::server {

namespace {

constexpr const char* own_client = "https://127.0.0.1:2379";
constexpr auto ask_time = std::chrono::seconds(5);
constexpr auto join_pause = std::chrono::seconds(1);
// Another one may be learning: servers that are started together join one after the other.
constexpr auto join_patience = std::chrono::minutes(5);

// As Go writes etcdserverpb.Member: numbers that are no doubles, and nothing that has its default.
std::string info_of(const std::vector<datastore::etcd::cluster_member>& members) {
  auto list = [](const std::vector<std::string>& urls) {
    json::array out;
    for (auto& u : urls) out.push_back(u);
    return json::write(json::value(std::move(out)));
  };
  std::string out = "{\"members\":[";
  for (auto& m : members) {
    if (&m != &members.front()) out += ',';
    out +=
        fmt::format(R"({{"ID":{},"name":{},"peerURLs":{},"clientURLs":{}{}}})", m.id, json::write(json::value(m.name)),
                    list(m.peer_urls), list(m.client_urls), m.learner ? R"(,"isLearner":true)" : "");
  }
  return out + "]}\n";
}

std::string initial_cluster(const std::vector<datastore::etcd::cluster_member>& members, const std::string& own_name,
                            const std::string& own_url) {
  std::string out;
  for (auto& m : members)
    for (auto& url : m.peer_urls)
      out += fmt::format("{}{}={}", out.empty() ? "" : ",", url == own_url ? own_name : m.name, url);
  return out;
}

}  // namespace

std::string managed_etcd::peer_url() const {
  return datastore::etcd::member{shared_.settings.etcd.address, 2380, true}.url();
}

datastore::etcd::settings managed_etcd::client_of(const std::vector<std::string>& urls) const {
  auto s = datastore::etcd::parse_endpoint(kedge::join(urls, ","));
  auto out = s ? *std::move(s) : datastore::etcd::settings();
  auto tls = server_dir() + "/tls/etcd/";
  out.ca_file = tls + "server-ca.crt";
  out.certificate_file = tls + "client.crt";
  out.key_file = tls + "client.key";
  return out;
}

datastore::etcd::settings managed_etcd::client_of_own() const { return client_of({own_client}); }

task<result<void>> managed_etcd::start() {
  auto& own = shared_.settings.etcd;
  if (!own.managed) co_return result<void>();
  KEDGE_CO_CHECK(undo_move());
  const bool first = !etcd_has_data(server_dir());
  if (first && !own.join.empty()) KEDGE_CO_CHECK(co_await fetch_identity());
  auto& loop = reactor::loop::current();
  KEDGE_CO_CHECK(supervisor::make_etcd_certificates(shared_.settings.cluster, loop.wall_now(), loop.random()));
  KEDGE_CO_TRY(name_, take_name());
  std::vector<datastore::etcd::cluster_member> members{{.name = name_, .peer_urls = {peer_url()}}};
  if (first && !own.join.empty()) { KEDGE_CO_TRY(members, co_await join()); }
  std::vector<std::string> urls{own_client};
  for (auto& m : members) urls.insert(urls.end(), m.client_urls.begin(), m.client_urls.end());
  std::error_code ignored;
  const bool moves = first && own.join.empty() && std::filesystem::exists(sqlite_file(), ignored);
  if (moves) KEDGE_CO_CHECK(crypto::write_file(move_mark(), ""));
  KEDGE_CO_TRY(auto binary, find_etcd(own.binary));
  member_.emplace(member_options{.binary = std::move(binary),
                                 .name = name_,
                                 .address = own.address,
                                 .data = server_dir() + "/db/etcd",
                                 .certificates = server_dir() + "/tls/etcd",
                                 .log_file = server_dir() + "/db/etcd.log",
                                 .cluster = initial_cluster(members, name_, peer_url()),
                                 .joins = !own.join.empty(),
                                 .expose_metrics = own.expose_metrics});
  log::info("etcd: member {} at {}", name_, peer_url());
  KEDGE_CO_CHECK(member_->start());
  running_.spawn(end_with_member());
  if (moves) KEDGE_CO_CHECK(co_await adopt_sqlite());
  // Before anybody can ask.
  shared_.etcd_members = [this, &home = shared_.home()]() -> task<result<std::string>> {
    return reactor::call_on(home, [this] { return told(); });
  };
  shared_.settings.open_log = [to = client_of(urls)]() -> result<std::unique_ptr<datastore::log>> {
    return datastore::make_etcd_log({.cluster = to, .learn_members = true});
  };
  co_return result<void>();
}

task<result<std::string>> managed_etcd::told() const {
  auto until = reactor::loop::current().now() + ask_time;
  KEDGE_CO_TRY(auto c, co_await datastore::etcd::any_member(client_of_own(), until));
  KEDGE_CO_TRY(auto members, co_await datastore::etcd::list_members(*c));
  co_return info_of(members);
}

task<void> managed_etcd::stop() {
  running_.cancel();
  if (member_) co_await member_->stop();
}

task<void> managed_etcd::end_with_member() {
  co_await member_->gave_up().wait();
  log::error("{}", member_->why().message);
  shared_.fail();
}

// As K3s names members: the node, and eight digits that tell a life of it from the next.
result<std::string> managed_etcd::take_name() {
  auto folder = server_dir() + "/db/etcd";
  KEDGE_CHECK(crypto::make_folder(server_dir() + "/db"));
  KEDGE_CHECK(crypto::make_folder(folder));
  if (auto known = crypto::read_file(folder + "/name")) return std::string(trim(*known));
  auto name = shared_.settings.cluster.node_name + "-" + reactor::loop::current().random().uuid().substr(0, 8);
  KEDGE_CHECK(crypto::write_file(folder + "/name", name));
  return name;
}

// The cluster's CAs, keys and members from a server of it.
task<result<void>> managed_etcd::fetch_identity() {
  auto& cluster = shared_.settings.cluster;
  KEDGE_CO_TRY(auto token, crypto::parse_token(cluster.token, "server"));
  KEDGE_CO_TRY(auto server,
               node::supervisor_client::make(shared_.settings.etcd.join, std::move(token), {}, shared_.where.network));
  for (bool told = false;;) {
    auto trusted = co_await server.trust_server();
    auto record = trusted ? co_await server.get("/v1-k3s/server-bootstrap")
                          : result<std::string>(fail(std::move(trusted).error()));
    auto members = record ? co_await server.get("/db/info") : result<std::string>(fail(record.error()));
    if (members) {
      KEDGE_CO_TRY(auto files, crypto::parse_bootstrap_files(*record));
      KEDGE_CO_CHECK(supervisor::write_bootstrap_files(server_dir(), files, false));
      members_told_ = *std::move(members);
      co_return result<void>();
    }
    auto& why = members.error();
    bool passes = why.code == errc::unavailable || why.code == errc::refused || why.code == errc::closed ||
                  why.code == errc::timeout || why.code == errc::io;
    if (!passes || server.wrong_cluster())
      co_return fail(error(members.error()).with("joining " + shared_.settings.etcd.join + ": "));
    if (!std::exchange(told, true))
      log::warning("joining {}: {}; trying again", shared_.settings.etcd.join, why.message);
    co_await reactor::sleep_for(join_pause);
  }
}

// Adds this member, or finds that it was added by an attempt before.
task<result<std::vector<datastore::etcd::cluster_member>>> managed_etcd::join() {
  KEDGE_CO_TRY(auto told, json::parse(members_told_));
  std::vector<std::string> urls;
  auto& list = told["members"];
  for (std::size_t i = 0; i < list.size(); ++i) {
    if (list[i]["isLearner"].as_bool()) continue;
    auto& own = list[i]["clientURLs"];
    for (std::size_t u = 0; u < own.size(); ++u) urls.emplace_back(own[u].as_string());
  }
  if (urls.empty()) co_return fail(errc::protocol, "the server that is joined tells of no member of etcd");
  auto& loop = reactor::loop::current();
  auto until = loop.now() + join_patience;
  for (bool waiting = false;; co_await reactor::sleep_for(join_pause)) {
    auto c = co_await datastore::etcd::any_member(client_of(urls), loop.now() + join_pause * 5);
    auto members = c ? co_await datastore::etcd::list_members(**c)
                     : result<std::vector<datastore::etcd::cluster_member>>(fail(std::move(c).error()));
    if (members) {
      auto mine = std::ranges::find_if(
          *members, [&](auto& m) { return std::ranges::find(m.peer_urls, peer_url()) != m.peer_urls.end(); });
      if (mine != members->end() && (mine->name.empty() || mine->name == name_)) co_return members;
      if (mine != members->end())
        co_return fail(
            errc::already_exists,
            fmt::format("etcd has a member {} at {} already, which this server's data isn't of: remove that member "
                        "first (etcdctl member remove)",
                        mine->name, peer_url()));
      log::info("etcd: adding member {} at {}", name_, peer_url());
      members = co_await datastore::etcd::add_learner(**c, peer_url());
      if (members) co_return members;
    }
    if (loop.now() >= until) co_return fail(std::move(members).error().with("joining etcd: "));
    if (!std::exchange(waiting, true)) log::info("joining etcd: {}; trying again", members.error().message);
  }
}

// What an etcd holds into which a part of SQLite has moved, or nothing, isn't anybody's yet.
result<void> managed_etcd::undo_move() const {
  std::error_code ignored, failed;
  if (!std::filesystem::exists(move_mark(), ignored)) return {};
  if (std::filesystem::exists(sqlite_file(), ignored)) {
    log::warning("etcd: moving in what stands in {} was cut short; it begins anew", sqlite_file());
    auto half = server_dir() + "/db/etcd/member";
    std::filesystem::remove_all(half, failed);
    if (failed) return fail(errc::io, fmt::format("removing {}: {}", half, failed.message()));
  }
  std::filesystem::remove(move_mark(), failed);
  if (failed) return fail(errc::io, fmt::format("removing {}: {}", move_mark(), failed.message()));
  return {};
}

task<result<void>> managed_etcd::adopt_sqlite() {
  auto file = sqlite_file();
  log::info("etcd: moving in what stands in {}", file);
  KEDGE_CO_TRY(auto moved, co_await adopt_database({.path = file}, client_of_own()));
  // What was seen there is of another count.
  std::error_code ignored, failed;
  std::filesystem::remove(server_dir() + "/db/seen.json", ignored);
  std::filesystem::rename(file, file + ".migrated", failed);
  if (failed) co_return fail(errc::io, fmt::format("renaming {}: {}", file, failed.message()));
  std::filesystem::remove(move_mark(), ignored);
  log::info("etcd: {} objects moved in; the old database is {}.migrated", moved, file);
  co_return result<void>();
}

}  // namespace kedge::server
