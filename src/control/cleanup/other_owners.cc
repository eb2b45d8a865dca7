#include "control/cleanup/other_owners.h"

#include <fmt/format.h>

#include <algorithm>

#include "control/cleanup/other_servers.h"
#include "control/finalizers.h"
#include "control/limits.h"
#include "control/owners.h"
#include "json/parse.h"
#include "reactor/loop.h"

namespace kedge::control {

namespace {

// Discovery of another server, of which there are few and whose kinds are the same for long.
constexpr auto kinds_time = std::chrono::seconds(30);
constexpr auto look_again = std::chrono::seconds(10);
constexpr auto between_looks = std::chrono::milliseconds(10);

struct released {
  reactor::semaphore& turns;
  ~released() { turns.release(); }
};

// What could lead elsewhere names nothing.
bool is_plain_name(std::string_view name) {
  return !name.empty() && name != "." && name != ".." && std::ranges::all_of(name, [](unsigned char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
           c == '_' || c == ':';
  });
}

// Of the object itself: an API server that doesn't know the path any more, this one among them while its core hasn't
// heard of the other, says NotFound too, but names nothing.
bool says_there_is_none(const api::raw_answer& a, std::string_view name) {
  if (a.code != 404) return false;
  auto said = json::parse(a.body);
  return said && (*said)["kind"].as_string() == "Status" && (*said)["reason"].as_string() == "NotFound" &&
         (*said)["details"]["name"].as_string() == name;
}

}  // namespace

task<result<other_owners::kind>> other_owners::kind_of(shell& s, std::string path, std::string name) {
  const auto key = path + ' ' + name;
  const auto now = s.when().now;
  if (auto known = kinds_.find(key); known != kinds_.end() && now < known->second.known_until) co_return known->second;
  KEDGE_CO_TRY(auto list, co_await ask_other(s, path));
  auto& resources = list["resources"];
  for (std::size_t i = 0; i < resources.size(); ++i) {
    auto plural = resources[i]["name"].as_string();
    if (resources[i]["kind"].as_string() != name || plural.find('/') != plural.npos || !has_verb(resources[i], "get"))
      continue;
    kind found{std::string(plural), resources[i]["namespaced"].as_bool(), now + kinds_time};
    if (kinds_.size() >= told_max) kinds_.clear();
    kinds_[key] = found;
    co_return found;
  }
  co_return fail(errc::not_found, fmt::format("{} has no {}", path, name));
}

time_point other_owners::next_look(time_point now) {
  return next_look_ = std::max<time_point>(next_look_ + between_looks, now + look_again);
}

task<owner_worth> other_owners::worth_of(shell& s, std::string ns, json::value reference) {
  using enum owner_worth;
  const auto version = reference["apiVersion"].as_string(), name = reference["name"].as_string();
  const auto all = other_services(s.store().current());
  const auto of = std::ranges::find_if(all, [&](auto& one) { return version == one.group + "/" + one.version; });
  if (of == all.end() || !is_plain_name(name)) co_return unknown;
  if (!turns_.try_acquire()) co_return unknown;
  released at_end{turns_};
  auto found = co_await kind_of(s, of->path(), std::string(reference["kind"].as_string()));
  if (!found) co_return unknown;
  if (found->namespaced && ns.empty()) co_return misplaced;
  auto path = found->namespaced ? fmt::format("{}/namespaces/{}/{}/{}", of->path(), ns, found->plural, name)
                                : fmt::format("{}/{}/{}", of->path(), found->plural, name);
  auto answer = co_await s.client().ask({.path = std::move(path)});
  if (!answer) co_return unknown;
  if (says_there_is_none(*answer, name)) co_return absent;
  auto owner = answer->code == 200 ? json::parse(answer->body) : fail(errc::unavailable, "");
  if (!owner || uid_of(*owner).empty()) co_return unknown;
  if (uid_of(*owner) != reference["uid"].as_string()) co_return absent;
  co_return waits_for_dependents(*owner) ? waiting : solid;
}

}  // namespace kedge::control
