#include "server/etcd/managed_etcd.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "base/log.h"
#include "base/strings.h"
#include "crypto/files.h"
#include "datastore/etcd/etcd_log.h"
#include "datastore/etcd/limits.h"
#include "json/parse.h"
#include "json/write.h"
#include "node/join/supervisor_client.h"
#include "reactor/cores.h"
#include "server/etcd/adopt.h"
#include "server/etcd/version_guard.h"
#include "supervisor/bootstrap_data.h"
#include "supervisor/credentials.h"

namespace kedge::server {

namespace {

constexpr const char* own_client = "https://127.0.0.1:2379";
constexpr auto ask_time = std::chrono::seconds(5);
constexpr auto join_pause = std::chrono::seconds(1);
// Another one may be learning: servers that are started together join one after the other.
constexpr auto join_patience = std::chrono::minutes(5);
// A member that was removed stops by itself after a second.
constexpr auto stop_patience = std::chrono::seconds(10);
constexpr auto stop_look = std::chrono::milliseconds(200);
constexpr std::size_t old_lives_kept = 5;                 // K3s's
constexpr auto remember_each = std::chrono::seconds(30);  // K3s's

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

// The host of https://10.0.0.1:2380.
std::string host_of(const std::string& url) {
  auto s = datastore::etcd::parse_endpoint(url);
  return s ? s->members.front().host : std::string();
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

datastore::etcd::settings managed_etcd::client_of_own() const {
  return client_of(known_.empty() ? std::vector<std::string>{own_client} : known_);
}

task<result<void>> managed_etcd::start() {
  auto& own = shared_.settings.etcd;
  if (!own.managed) co_return result<void>();
  if (!own.member) co_return co_await start_without_member();
  KEDGE_CO_CHECK(leave_old_life());
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
  if (!first) KEDGE_CO_CHECK(co_await check_version(binary, server_dir() + "/db/etcd"));
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
  serve(urls);
  co_return result<void>();
}

// Before anybody can ask.
void managed_etcd::serve(const std::vector<std::string>& urls) {
  shared_.etcd_members = [this, &home = shared_.home()]() -> task<result<std::string>> {
    return reactor::call_on(home, [this] { return told(); });
  };
  shared_.settings.open_log = [to = client_of(urls)]() -> result<std::unique_ptr<datastore::log>> {
    return datastore::make_etcd_log({.cluster = to, .learn_members = true});
  };
}

// Control plane alone. The first time the server that is joined has to be there; later any member will do.
task<result<void>> managed_etcd::start_without_member() {
  if (etcd_has_data(server_dir()))
    co_return fail(errc::invalid, fmt::format("--disable-etcd: this server has been a member of the cluster's etcd. "
                                              "Delete its Node, which takes the member out, then move {}/db/etcd away",
                                              server_dir()));
  known_ = read_known();
  if (known_.empty()) {
    KEDGE_CO_CHECK(co_await fetch_identity());
    KEDGE_CO_TRY(known_, members_told());
  }
  auto& loop = reactor::loop::current();
  KEDGE_CO_CHECK(supervisor::make_etcd_certificates(shared_.settings.cluster, loop.wall_now(), loop.random()));
  serve(known_);
  running_.spawn(remember_members());
  co_return result<void>();
}

std::vector<std::string> managed_etcd::read_known() const {
  std::vector<std::string> out;
  auto text = crypto::read_file(known_file());
  auto read = text ? json::parse(*text) : result<json::value>(fail(text.error()));
  if (!read) return out;
  const auto& list = (*read)["ServerAddresses"];
  for (std::size_t i = 0; i < list.size() && i < datastore::etcd::members_max; ++i)
    if (auto url = "https://" + std::string(list[i].as_string()); datastore::etcd::parse_endpoint(url))
      out.push_back(std::move(url));
  return out;
}

task<void> managed_etcd::remember_members() {
  auto& loop = reactor::loop::current();
  for (std::string written;; co_await reactor::sleep_for(remember_each)) {
    auto c = co_await datastore::etcd::any_member(client_of_own(), loop.now() + ask_time);
    auto members = c ? co_await datastore::etcd::list_members(**c)
                     : result<std::vector<datastore::etcd::cluster_member>>(fail(std::move(c).error()));
    if (!members) continue;
    std::vector<std::string> urls;
    json::array addresses;
    for (auto& m : *members)
      for (auto& url : m.client_urls)
        if (auto s = datastore::etcd::parse_endpoint(url);
            s && !m.learner && urls.size() < datastore::etcd::members_max) {
          urls.push_back(url);
          addresses.push_back(url.substr(url.find("://") + 3));
        }
    if (urls.empty()) continue;
    known_ = std::move(urls);
    auto text =
        json::write(json::object{{"ServerURL", shared_.settings.etcd.join}, {"ServerAddresses", std::move(addresses)}});
    if (text == written) continue;
    auto folder = crypto::make_folder(server_dir() + "/etc");
    if (folder && crypto::write_file(known_file(), text)) written = std::move(text);
  }
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
  auto& why = member_->why();
  if (why.code != errc::expired) {
    log::error("{}", why.message);
    co_return shared_.fail();
  }
  log::warning(
      "{}: this server ends. Started again with --server it joins as a new member; to keep it away, stop it before its "
      "Node is deleted",
      why.message);
  if (auto marked = crypto::write_file(tombstone(), ""); !marked) {
    log::error("{}", marked.error().message);
    co_return shared_.fail();
  }
  shared_.stop.set();
}

// A member that was removed never is one again: its data moves aside.
result<void> managed_etcd::leave_old_life() const {
  namespace fs = std::filesystem;
  std::error_code failed;
  // What it has lost to others is known to be lost, until a start has come so far that this is noted (forget_reset).
  if (fs::exists(etcd_reset_flag(server_dir()), failed)) shared_.settings.accept_data_loss = true;
  if (!fs::exists(tombstone(), failed)) return {};
  if (shared_.settings.etcd.join.empty())
    return fail(errc::invalid,
                fmt::format("this server was removed from its cluster's etcd: start it with --server and the URL of "
                            "another server to join again, with --cluster-reset to make a cluster of what it has, or "
                            "remove {}/db/etcd for a new one",
                            server_dir()));
  auto old = server_dir() + "/db/etcd", prefix = std::string("etcd-backup-");
  std::vector<std::string> kept;
  for (auto& e : fs::directory_iterator(server_dir() + "/db", failed))
    if (auto name = e.path().filename().string(); name.starts_with(prefix)) kept.push_back(name);
  std::ranges::sort(kept);
  for (std::size_t i = 0; i + old_lives_kept <= kept.size(); ++i)
    fs::remove_all(server_dir() + "/db/" + kept[i], failed);
  auto seconds = std::chrono::floor<std::chrono::seconds>(reactor::loop::current().wall_now().time_since_epoch());
  auto aside = server_dir() + "/db/" + prefix + std::to_string(seconds.count());
  fs::rename(old, aside, failed);
  if (failed) return fail(errc::io, fmt::format("renaming {}: {}", old, failed.message()));
  log::info("etcd: this server was removed from the cluster, and joins again; what it had is in {}", aside);
  return {};
}

result<void> managed_etcd::forget_reset() const {
  std::error_code failed;
  std::filesystem::remove(etcd_reset_flag(server_dir()), failed);
  if (failed) return fail(errc::io, fmt::format("removing {}: {}", etcd_reset_flag(server_dir()), failed.message()));
  return {};
}

task<result<void>> managed_etcd::remove_member(std::string name, std::string address) const {
  auto& loop = reactor::loop::current();
  KEDGE_CO_TRY(auto c, co_await datastore::etcd::any_member(client_of_own(), loop.now() + ask_time));
  KEDGE_CO_TRY(auto members, co_await datastore::etcd::list_members(*c));
  auto is_it = [&](const datastore::etcd::cluster_member& m) {
    return m.name == name && std::ranges::any_of(m.peer_urls, [&](auto& u) { return host_of(u) == address; });
  };
  auto it = std::ranges::find_if(members, is_it);
  if (it == members.end()) co_return result<void>();
  if (members.size() == 1) co_return fail(errc::unsupported, "it is the only member of the cluster's etcd");
  log::info("etcd: removing member {} at {}", name, address);
  KEDGE_CO_CHECK(co_await datastore::etcd::remove_member(*c, it->id));
  if (name == name_ || it->client_urls.empty()) co_return result<void>();
  // Whoever waits for its end can count on that it is none of the cluster's.
  auto where = client_of(it->client_urls);
  auto tls = co_await datastore::etcd::make_tls(where);
  if (!tls) co_return result<void>();
  for (auto until = loop.now() + stop_patience; loop.now() < until; co_await reactor::sleep_for(stop_look)) {
    auto answers = co_await reactor::with_deadline(datastore::etcd::connection::status_of(where, 0, *tls), until);
    if (!answers) break;
  }
  co_return result<void>();
}

// Two machines of one name would be one Node, and the removal of that would take either.
result<void> managed_etcd::check_namesake(const std::vector<datastore::etcd::cluster_member>& members) const {
  auto& own = shared_.settings.cluster.node_name;
  for (auto& m : members)
    if (m.name != name_ && node_of(m.name) == own) {
      std::error_code ignored;
      std::filesystem::remove(server_dir() + "/db/etcd/name", ignored);  // a name is made when the node has its own
      return fail(errc::already_exists,
                  fmt::format("the cluster's etcd has a member {} of a node {} already: give this server another "
                              "--node-name, or delete that Node, which takes the member with it",
                              m.name, own));
    }
  return {};
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

// Where the members of the cluster that is joined answer.
result<std::vector<std::string>> managed_etcd::members_told() const {
  KEDGE_TRY(const auto told, json::parse(members_told_));
  std::vector<std::string> urls;
  auto& list = told["members"];
  for (std::size_t i = 0; i < list.size(); ++i) {
    if (list[i]["isLearner"].as_bool()) continue;
    auto& own = list[i]["clientURLs"];
    for (std::size_t u = 0; u < own.size(); ++u) urls.emplace_back(own[u].as_string());
  }
  if (urls.empty()) return fail(errc::protocol, "the server that is joined tells of no member of etcd");
  return urls;
}

// Adds this member, or finds that it was added by an attempt before.
task<result<std::vector<datastore::etcd::cluster_member>>> managed_etcd::join() {
  KEDGE_CO_TRY(auto urls, members_told());
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
      if (mine != members->end() && !mine->learner)
        co_return fail(errc::already_exists,
                       fmt::format("etcd has a member {} at {} already, which this server's data isn't of: delete its "
                                   "Node, {}, which takes the member with it",
                                   mine->name, peer_url(), node_of(mine->name)));
      if (mine != members->end()) {  // an attempt to join whose data is lost
        log::info("etcd: removing learner {}, which was at {} before", mine->name, peer_url());
        auto gone = co_await datastore::etcd::remove_member(**c, mine->id);
        if (!gone) co_return fail(std::move(gone).error());
        std::erase_if(*members, [id = mine->id](auto& m) { return m.id == id; });
      }
      KEDGE_CO_CHECK(check_namesake(*members));
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
