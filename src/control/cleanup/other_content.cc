#include "control/cleanup/other_content.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "control/cleanup/other_servers.h"

namespace kedge::control {

namespace {

using api::aggregation::api_service;

// Removes what is there of one resource and notes what is left.
task<void> empty(shell& s, const api_service& of, std::string plural, const json::value& resource, std::string ns,
                 other_content& out) {
  const auto path = fmt::format("{}/namespaces/{}/{}", of.path(), ns, plural);
  const bool lists = has_verb(resource, "list");
  constexpr auto in_background = "?propagationPolicy=Background";
  if (has_verb(resource, "deletecollection")) {
    auto done = co_await ask_other(s, path + in_background, "DELETE");
    if (!done && done.error().code != errc::not_found) {
      out.errors.push_back(done.error().message);
      co_return;
    }
  } else if (lists) {
    auto list = co_await ask_other(s, path);
    for (std::size_t i = 0; list && i < (*list)["items"].size(); ++i) {
      auto name = std::string((*list)["items"][i]["metadata"]["name"].as_string());
      auto done = co_await ask_other(s, path + "/" + name + in_background, "DELETE");
      if (!done && done.error().code != errc::not_found) out.errors.push_back(done.error().message);
    }
  }
  if (!lists) co_return;
  auto left = co_await ask_other(s, path);
  if (!left) {
    if (left.error().code != errc::not_found) out.errors.push_back(left.error().message);
    co_return;
  }
  auto& items = (*left)["items"];
  if (items.empty()) co_return;
  out.by_resource[plural + "." + of.group] = items.size();
  for (std::size_t i = 0; i < items.size(); ++i) {
    auto& finalizers = items[i]["metadata"]["finalizers"];
    for (std::size_t f = 0; f < finalizers.size(); ++f) ++out.by_finalizer[std::string(finalizers[f].as_string())];
  }
}

}  // namespace

task<other_content> empty_others(shell& s, std::string ns) {
  other_content out;
  std::set<std::pair<std::string, std::string>> told;
  const auto all = other_services(s.store().current());
  for (auto& of : all) {
    auto list = co_await ask_other(s, of.path());
    if (!list) {
      out.unread.push_back(of.group + "/" + of.version);
      continue;
    }
    auto& resources = (*list)["resources"];
    for (std::size_t i = 0; i < resources.size(); ++i) {
      auto& r = resources[i];
      std::string plural(r["name"].as_string());
      if (!r["namespaced"].as_bool() || plural.find('/') != plural.npos || !has_verb(r, "delete")) continue;
      if (told.emplace(of.group, plural).second) co_await empty(s, of, plural, r, ns, out);
    }
  }
  std::ranges::sort(out.unread);
  co_return out;
}

}  // namespace kedge::control
