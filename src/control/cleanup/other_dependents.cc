#include "control/cleanup/other_dependents.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "base/log.h"
#include "base/strings.h"
#include "control/cleanup/other_servers.h"
#include "control/cleanup/ownership.h"
#include "control/finalizers.h"
#include "control/owners.h"
#include "json/write.h"
#include "reactor/scope.h"

namespace kedge::control {

namespace {

// A look serves all who ask within this time: deletions come in crowds.
constexpr auto moment_of_a_look = std::chrono::seconds(2);
// What one server may take to say all that it has.
constexpr auto server_time = std::chrono::seconds(10);
// How long one that didn't is left alone.
constexpr auto failed_rest = std::chrono::seconds(60);
constexpr std::size_t page_objects = 500;
// Of one server: with a hundred pages no look is longer than a server that has that many deserves; a dependent takes
// some 500 bytes.
constexpr std::size_t pages_max = 100, dependents_max = 10'000;

constexpr std::string_view list_type =
                               "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json",
                           object_type =
                               "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";

// What the collector needs of an object, whatever form it came in.
json::value outline(const json::value& o, std::string_view version, std::string_view kind) {
  json::object metadata;
  for (auto name :
       {"name", "namespace", "uid", "resourceVersion", "deletionTimestamp", "finalizers", "ownerReferences"})
    if (auto v = o["metadata"].find(name)) metadata.set(name, *v);
  return json::object{{"apiVersion", version}, {"kind", kind}, {"metadata", std::move(metadata)}};
}

api::status failed(const error& e) { return api::unavailable(e.message); }

// The newest state of it; errc::not_found when it is gone, or another.
task<result<json::value>> newest(shell& s, const other_dependent& d) {
  KEDGE_CO_TRY(auto now, co_await ask_other(s, {.path = d.path, .accept = std::string(object_type)}));
  if (uid_of(now) != uid_of(d.about)) co_return fail(errc::not_found, d.path + " is another one");
  co_return now;
}

bool same_owners(const json::value& a, const json::value& b) {
  return a["metadata"]["ownerReferences"] == b["metadata"]["ownerReferences"];
}

}  // namespace

task<result<other_dependents::list>> other_dependents::read(shell& s, std::string path, bool& cut) {
  std::vector<other_dependent> out;
  auto all = [&] { return std::make_shared<const std::vector<other_dependent>>(std::move(out)); };
  KEDGE_CO_TRY(auto kinds, co_await ask_other(s, {.path = path}));
  const auto version = std::string(kinds["groupVersion"].as_string());
  auto& resources = kinds["resources"];
  for (std::size_t i = 0; i < resources.size(); ++i) {
    auto& r = resources[i];
    const auto plural = r["name"].as_string(), kind = r["kind"].as_string();
    if (plural.find('/') != plural.npos || !has_verb(r, "list") || !has_verb(r, "delete")) continue;
    std::string next;
    for (std::size_t page = 0; page == 0 || !next.empty(); ++page) {
      if (page == pages_max) cut = true;
      if (cut) co_return all();
      auto from = next.empty() ? std::string() : "&continue=" + percent_encode(next);
      KEDGE_CO_TRY(auto list,
                   co_await ask_other(s, {.path = fmt::format("{}/{}?limit={}{}", path, plural, page_objects, from),
                                          .accept = std::string(list_type)}));
      auto& items = list["items"];
      for (std::size_t n = 0; n < items.size(); ++n) {
        auto& metadata = items[n]["metadata"];
        if (metadata["ownerReferences"].empty() || metadata["uid"].as_string().empty()) continue;
        if (out.size() == dependents_max) {
          cut = true;
          co_return all();
        }
        const auto ns = metadata["namespace"].as_string();
        out.push_back(
            {.path = ns.empty() ? fmt::format("{}/{}/{}", path, plural, metadata["name"].as_string())
                                : fmt::format("{}/namespaces/{}/{}/{}", path, ns, plural, metadata["name"].as_string()),
             .about = outline(items[n], version, kind)});
      }
      next = list["metadata"]["continue"].as_string();
      co_await reactor::maybe_yield();
    }
  }
  co_return all();
}

task<void> other_dependents::look_at(shell& s, std::string path, kept& into) {
  bool cut = false;
  auto found = co_await reactor::with_deadline(read(s, path, cut), reactor::loop::current().now() + server_time);
  if (!found) {
    log::debug("{}: what has owners there isn't known anew: {}", path, found.error().message);
    into.rest_until = reactor::loop::current().now() + failed_rest;
    co_return;
  }
  if (cut && !into.cut)
    log::warning("{}: the garbage collector looks at {} objects with owners alone; there are more", path,
                 (*found)->size());
  into = {.found = *std::move(found), .cut = cut};
}

task<void> other_dependents::look(shell& s) {
  co_await turn_.acquire();
  struct released {
    reactor::semaphore& of;
    ~released() { of.release(); }
  } at_end{turn_};
  if (looked_ && reactor::loop::current().now() < *looked_ + moment_of_a_look) co_return;
  std::set<std::string> there;
  // One of a group's versions has all its objects: the preferred one, which comes first.
  std::set<std::string> groups;
  reactor::scope asking;
  for (auto& of : other_services(s.store().current())) {
    if (!groups.insert(of.group).second) continue;
    there.insert(of.path());
    auto& kept = servers_[of.path()];
    if (of.available && (!kept.rest_until || reactor::loop::current().now() >= *kept.rest_until))
      asking.spawn(look_at(s, of.path(), kept));
  }
  co_await asking.join();
  std::erase_if(servers_, [&](auto& one) { return !there.contains(one.first); });
  owners_.clear();
  for (auto& [path, server] : servers_)
    for (auto& d : *server.found)
      each_owner(d.about, [&](const json::value& r) { owners_.emplace(r["uid"].as_string()); });
  looked_ = reactor::loop::current().now();
}

std::vector<other_dependents::list> other_dependents::all() const {
  std::vector<list> out;
  for (auto& [path, server] : servers_) out.push_back(server.found);
  return out;
}

std::vector<other_dependent> other_dependents::of(const json::value& owner) const {
  std::vector<other_dependent> out;
  const auto owner_uid = uid_of(owner), home = owner["metadata"]["namespace"].as_string();
  if (!has(owner_uid)) return out;
  for (auto& [path, server] : servers_)
    for (auto& d : *server.found) {
      if (!home.empty() && d.about["metadata"]["namespace"].as_string() != home) continue;
      bool is_owned = false;
      each_owner(d.about, [&](const json::value& r) { is_owned = is_owned || r["uid"].as_string() == owner_uid; });
      if (is_owned) out.push_back(d);
    }
  return out;
}

task<api::api_result<void>> other_dependents::remove(shell& s, other_dependent d, std::string policy) {
  auto now = co_await newest(s, d);
  if (!now && now.error().code == errc::not_found) co_return api::api_result<void>();
  if (!now) co_return api::fail(failed(now.error()));
  if (is_deleting(*now)) co_return api::api_result<void>();
  if (!same_owners(*now, d.about)) co_return api::fail(api::unavailable(d.path + " has other owners by now"));
  const json::value options =
      json::object{{"kind", "DeleteOptions"},
                   {"apiVersion", "v1"},
                   {"propagationPolicy", std::move(policy)},
                   {"preconditions",
                    json::object{{"uid", uid_of(*now)}, {"resourceVersion", (*now)["metadata"]["resourceVersion"]}}}};
  auto done = co_await ask_other(s, {.path = d.path, .method = "DELETE", .body = json::write(options)});
  if (!done && done.error().code != errc::not_found) co_return api::fail(failed(done.error()));
  log::info("deleting {}: its owners are gone", d.path);
  co_return api::api_result<void>();
}

task<api::api_result<void>> other_dependents::forget(shell& s, other_dependent d, std::vector<std::string> owners) {
  auto now = co_await newest(s, d);
  if (!now && now.error().code == errc::not_found) co_return api::api_result<void>();
  if (!now) co_return api::fail(failed(now.error()));
  const auto rest = without_owners(*now, owners);
  if (same_owners(rest, *now)) co_return api::api_result<void>();
  // The version keeps what others write meanwhile.
  json::object metadata{{"uid", uid_of(*now)}, {"resourceVersion", (*now)["metadata"]["resourceVersion"]}};
  auto kept = rest["metadata"].find("ownerReferences");
  metadata.set("ownerReferences", kept ? *kept : json::value());
  const json::value patch = json::object{{"metadata", std::move(metadata)}};
  auto done = co_await ask_other(s, {.path = d.path,
                                     .method = "PATCH",
                                     .body = json::write(patch),
                                     .content_type = "application/merge-patch+json",
                                     .accept = std::string(object_type)});
  if (!done && done.error().code != errc::not_found) co_return api::fail(failed(done.error()));
  co_return api::api_result<void>();
}

}  // namespace kedge::control
