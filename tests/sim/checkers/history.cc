#include "checkers/history.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/strings.h"
#include "json/parse.h"

namespace kedge::sim {

using namespace std::chrono_literals;

namespace {

constexpr int writers = 2, registers_each = 3, readers = 2, watchers = 2;
constexpr std::string_view collection = "/api/v1/namespaces/default/configmaps";
constexpr std::string_view of_users = "?labelSelector=history%3Dyes";

std::string path_of(const std::string& name) { return std::string(collection) + "/" + name; }

json::value map_of(const std::string& name, std::int64_t count, const std::string& version) {
  json::value meta =
      json::object{{"name", name}, {"namespace", "default"}, {"labels", json::object{{"history", "yes"}}}};
  if (!version.empty()) meta.set("resourceVersion", version);
  return json::object{{"apiVersion", "v1"},
                      {"kind", "ConfigMap"},
                      {"metadata", std::move(meta)},
                      {"data", json::object{{"count", std::to_string(count)}}}};
}

std::string name_of(const json::value& o) { return std::string(o["metadata"]["name"].as_string()); }
std::string version_of(const json::value& o) { return std::string(o["metadata"]["resourceVersion"].as_string()); }
std::int64_t number(std::string_view text) { return static_cast<std::int64_t>(parse_uint(text).value_or(0)); }
std::int64_t count_of(const json::value& o) { return number(o["data"]["count"].as_string()); }

struct here {
  int& n;
  explicit here(int& users) : n(users) { ++n; }
  ~here() { --n; }
};

}  // namespace

history_checker::history_checker(cluster_world& c) : cluster_(c) {}

void history_checker::begin() {
  for (int i = 0; i < writers; ++i) {
    cluster_.run_as_user([this, i] { return write_registers(i); });
    cluster_.run_as_user([this, i] { return write_once(i); });
  }
  cluster_.run_as_user([this] { return make_namespaces(); });
  for (int i = 0; i < readers; ++i) cluster_.run_as_user([this] { return read_all(); });
  for (int i = 0; i < watchers; ++i) {
    views_.push_back(std::make_unique<view>());
    cluster_.run_as_user([this, i] { return watch(i); });
  }
}

void history_checker::learn_version(const json::value& object) {
  version_ = std::max(version_, number(version_of(object)));
}

void history_checker::saw(const json::value& object) {
  if (auto r = registers_.find(name_of(object)); r != registers_.end())
    r->second.known = std::max(r->second.known, count_of(object));
}

task<void> history_checker::write_registers(int number) {
  here one(users_);
  std::vector<std::string> mine;
  for (int i = 0; i < registers_each; ++i) mine.push_back(fmt::format("register-{}-{}", number, i));
  for (std::size_t turn = 0; !done_; ++turn) {
    auto& name = mine[turn % mine.size()];
    auto& r = registers_[name];
    auto next = ++r.attempted;
    auto answer = r.exists
                      ? co_await cluster_.ask(some_server(), "PUT", path_of(name), map_of(name, next, r.version))
                      : co_await cluster_.ask(some_server(), "POST", std::string(collection), map_of(name, next, ""));
    if (answer.status == 200 || answer.status == 201) {
      r.exists = true;
      r.version = version_of(answer.body);
      r.known = std::max(r.known, next);
      learn_version(answer.body);
      ++acknowledged_;
      co_await reactor::sleep_for(pause());
      continue;
    }
    // Whether it was done is to be seen.
    for (;;) {
      co_await reactor::sleep_for(pause());
      if (done_) co_return;
      auto known = r.known;
      auto found = co_await cluster_.ask(some_server(), "GET", path_of(name));
      if (found.status == 404) {
        if (r.known > 0)
          cluster_.complain("history", fmt::format("{} is gone, which {} was acknowledged of", name, r.known));
        r.exists = false;
        break;
      }
      if (found.status != 200) continue;
      if (count_of(found.body) < known)
        cluster_.complain("history", fmt::format("{} is {} again, after {}", name, count_of(found.body), known));
      saw(found.body);
      r.exists = true;
      r.version = version_of(found.body);
      break;
    }
  }
}

task<void> history_checker::write_once(int number) {
  here one(users_);
  for (int i = 0; !done_; ++i) {
    auto name = fmt::format("once-{}-{}", number, i);
    once_[name] = once::creating;
    auto made = co_await cluster_.ask(some_server(), "POST", std::string(collection), map_of(name, 0, ""));
    co_await reactor::sleep_for(pause());
    if (made.status != 201) continue;  // it may be there, or come later: nobody knows
    once_[name] = once::there;
    learn_version(made.body);
    ++acknowledged_;
    if (cluster_.w.chance(0.5)) continue;
    once_[name] = once::deleting;
    auto gone = co_await cluster_.ask(some_server(), "DELETE", path_of(name));
    if (gone.status == 200) {
      once_[name] = once::gone;
      ++acknowledged_;
    }
    co_await reactor::sleep_for(pause());
  }
}

task<void> history_checker::make_namespaces() {
  here one(users_);
  for (int i = 0; !done_; ++i) {
    auto name = fmt::format("ns-{}", i);
    auto made = co_await cluster_.ask(
        some_server(), "POST", "/api/v1/namespaces",
        json::object{{"apiVersion", "v1"}, {"kind", "Namespace"}, {"metadata", json::object{{"name", name}}}});
    if (made.status == 201) namespaces_.push_back(name);
    co_await reactor::sleep_for(cluster_.w.between(1s, 20s));
  }
}

history_checker::bounds history_checker::now() const {
  bounds b;
  for (auto& [name, r] : registers_) b.registers[name] = r.known;
  for (auto& [name, state] : once_) {
    if (state == once::there) b.there.push_back(name);
    if (state == once::gone) b.gone.push_back(name);
  }
  b.version = version_;
  return b;
}

// A list that was asked for when `before` was known.
void history_checker::check(const json::value& list, const bounds& before, std::string_view who) {
  std::map<std::string, const json::value*> found;
  for (std::size_t i = 0; i < list["items"].size(); ++i) found[name_of(list["items"][i])] = &list["items"][i];
  if (number(version_of(list)) < before.version)
    cluster_.complain("history", fmt::format("{} gave the list of {}, after {} had been seen", who, version_of(list),
                                             before.version));
  for (auto& [name, least] : before.registers) {
    auto o = found.find(name);
    if (least > 0 && o == found.end()) cluster_.complain("history", fmt::format("{} misses {}", who, name));
    if (o == found.end()) continue;
    auto is = count_of(*o->second);
    if (is < least || is > registers_[name].attempted)
      cluster_.complain("history", fmt::format("{} has {} as {}, which is at least {} and at most {}", who, name, is,
                                               least, registers_[name].attempted));
  }
  for (auto& name : before.there)
    if (!found.contains(name) && once_[name] == once::there)
      cluster_.complain("history", fmt::format("{} misses {}", who, name));
  for (auto& name : before.gone)
    if (found.contains(name)) cluster_.complain("history", fmt::format("{} still has {}", who, name));
  for (auto& [name, o] : found) saw(*o);
  version_ = std::max(version_, number(version_of(list)));
}

task<void> history_checker::read_all() {
  here one(users_);
  while (!done_) {
    co_await reactor::sleep_for(pause());
    auto before = now();
    auto server = some_server();
    auto answer = co_await cluster_.ask(server, "GET", std::string(collection) + std::string(of_users));
    if (answer.status != 200) continue;
    ++read_;
    check(answer.body, before, "s" + std::to_string(server + 1));
  }
}

task<void> history_checker::watch(int number) {
  here one(users_);
  auto& v = *views_[static_cast<std::size_t>(number)];
  while (!done_) {
    auto server = some_server();
    if (v.version.empty() || v.lost) {
      auto before = now();
      auto list = co_await cluster_.ask(server, "GET", std::string(collection) + std::string(of_users));
      if (list.status != 200) {
        co_await reactor::sleep_for(pause());
        continue;
      }
      check(list.body, before, fmt::format("s{} for a watcher", server + 1));
      v.objects.clear();
      for (std::size_t i = 0; i < list.body["items"].size(); ++i)
        v.objects[name_of(list.body["items"][i])] = version_of(list.body["items"][i]);
      v.version = version_of(list.body);
      v.lost = false;
    }
    (void)co_await reactor::with_deadline(follow(v, server),
                                          cluster_.users().loop().now() + cluster_.w.between(5s, 60s));
    co_await reactor::sleep_for(100ms);
  }
}

task<result<void>> history_checker::follow(view& v, int server) {
  net::http::client_request r{
      .to = cluster_.target_of(server),
      .path = fmt::format("{}{}&watch=1&allowWatchBookmarks=true&resourceVersion={}", collection, of_users, v.version)};
  auto soon = cluster_.users().loop().now() + 10s;
  KEDGE_CO_TRY(auto x, co_await reactor::with_deadline(cluster_.http().open(std::move(r)), soon));
  KEDGE_CO_TRY(auto* head, co_await reactor::with_deadline(x->head(), soon));
  if (head->status != 200) {
    v.lost = head->status == 410;
    co_return fail(errc::unavailable, "no watch");
  }
  std::string held;
  for (;;) {
    KEDGE_CO_TRY(auto piece, co_await x->read());
    if (piece.empty()) co_return result<void>();
    held += as_text(piece.view());
    for (auto end = held.find('\n'); end != held.npos; end = held.find('\n')) {
      auto event = json::parse(std::string_view(held).substr(0, end));
      held.erase(0, end + 1);
      if (!event) co_return fail(errc::protocol, "an event that is no JSON");
      auto type = (*event)["type"].as_string();
      auto& o = (*event)["object"];
      if (type == "ERROR") {
        v.lost = true;
        co_return fail(errc::expired, std::string(o["message"].as_string()));
      }
      auto at = version_of(o);
      if (sim::number(at) < sim::number(v.version) || (type != "BOOKMARK" && at == v.version))
        cluster_.complain("history",
                          fmt::format("s{} told of {} ({}, {}) after {}", server + 1, name_of(o), type, at, v.version));
      v.version = at;
      if (type == "BOOKMARK") continue;
      ++watched_;
      bool had = v.objects.contains(name_of(o));
      if (had == (type == "ADDED"))
        cluster_.complain("history", fmt::format("s{} told of {} as {}", server + 1, name_of(o), type));
      if (type == "DELETED")
        v.objects.erase(name_of(o));
      else
        v.objects[name_of(o)] = at;
    }
  }
}

void history_checker::compare() {
  compared_ = false;
  cluster_.run_as_user([this] { return compare_all(); });
}

task<void> history_checker::compare_all() {
  auto before = now();
  std::map<std::string, std::string> stored;
  std::string_view prefix = "/registry/configmaps/default/";
  std::map<std::string, const datastore::entry*> newest;
  for (auto& [at, e] : cluster_.db.rows())
    if (e.name.starts_with(prefix)) newest[e.name.substr(prefix.size())] = &e;
  for (auto& [name, e] : newest)
    if (e->kind != datastore::change::remove && (registers_.contains(name) || once_.contains(name)))
      stored[name] = std::to_string(e->at);
  for (int i = 0; i < static_cast<int>(cluster_.servers.size()); ++i) {
    auto who = "in the end s" + std::to_string(i + 1);
    auto list = co_await cluster_.ask(i, "GET", std::string(collection) + std::string(of_users));
    if (list.status != 200) {
      cluster_.complain("history", fmt::format("{} answers with {}", who, list.status));
      continue;
    }
    check(list.body, before, who);
    std::map<std::string, std::string> found;
    for (std::size_t n = 0; n < list.body["items"].size(); ++n)
      found[name_of(list.body["items"][n])] = version_of(list.body["items"][n]);
    if (found != stored)
      cluster_.complain("history", fmt::format("{} has {} objects, other than the {} of the database", who,
                                               found.size(), stored.size()));
  }
  for (auto& name : namespaces_)
    for (auto& key :
         {"/registry/serviceaccounts/" + name + "/default", "/registry/configmaps/" + name + "/kube-root-ca.crt"})
      if (cluster_.get(key).is_null()) cluster_.complain("history", "nobody made " + key);
  // A watcher that ended within its past goes on from there once more.
  for (std::size_t i = 0; i < views_.size(); ++i) {
    auto& v = *views_[i];
    if (v.version.empty() || v.lost) continue;
    (void)co_await reactor::with_deadline(follow(v, some_server()), cluster_.users().loop().now() + 5s);
    if (!v.lost && v.objects != stored)
      cluster_.complain("history", fmt::format("a watcher knows {} objects, other than the {} of the database",
                                               v.objects.size(), stored.size()));
  }
  compared_ = true;
}

}  // namespace kedge::sim
