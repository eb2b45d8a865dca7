#include "control/cleanup/other_content.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "api/aggregation/services.h"
#include "json/parse.h"

namespace kedge::control {

namespace {

using api::aggregation::api_service;

// The preferred version of a group first.
std::vector<api_service> others(const store::snapshot& cluster) {
  std::vector<api_service> out;
  cluster.scan(api::aggregation::api_services_prefix(), {}, [&](const store::object_ref& o) {
    if (o->bytes().find("\"service\"") != std::string_view::npos)
      if (auto v = value_of(o))
        if (auto s = api::aggregation::parse_api_service(*v)) out.push_back(*std::move(s));
    return true;
  });
  std::ranges::sort(out, [](auto& a, auto& b) {
    return std::tuple(std::string_view(a.group), -a.version_priority, std::string_view(a.version)) <
           std::tuple(std::string_view(b.group), -b.version_priority, std::string_view(b.version));
  });
  return out;
}

bool has_verb(const json::value& resource, std::string_view verb) {
  for (std::size_t i = 0; i < resource["verbs"].size(); ++i)
    if (resource["verbs"][i].as_string() == verb) return true;
  return false;
}

// The answer as a value; an error tells why there is none.
task<result<json::value>> ask(shell& s, std::string path, std::string method) {
  KEDGE_CO_TRY(auto answer, co_await s.client().ask(path, method));
  auto value = json::parse(answer.body);
  if (answer.code >= 200 && answer.code < 300) {
    if (!value) co_return fail(errc::protocol, path + ": " + value.error().message);
    co_return *std::move(value);
  }
  auto message = value ? std::string((*value)["message"].as_string()) : std::string();
  if (message.empty()) message = fmt::format("{} {}: {}", method, path, answer.code);
  co_return fail(answer.code == 404 || answer.code == 405 ? errc::not_found : errc::unavailable, std::move(message));
}

// Removes what is there of one resource and notes what is left.
task<void> empty(shell& s, const api_service& of, std::string plural, const json::value& resource, std::string ns,
                 other_content& out) {
  const auto path = fmt::format("{}/namespaces/{}/{}", of.path(), ns, plural);
  const bool lists = has_verb(resource, "list");
  constexpr auto in_background = "?propagationPolicy=Background";
  if (has_verb(resource, "deletecollection")) {
    auto done = co_await ask(s, path + in_background, "DELETE");
    if (!done && done.error().code != errc::not_found) {
      out.errors.push_back(done.error().message);
      co_return;
    }
  } else if (lists) {
    auto list = co_await ask(s, path, "GET");
    for (std::size_t i = 0; list && i < (*list)["items"].size(); ++i) {
      auto name = std::string((*list)["items"][i]["metadata"]["name"].as_string());
      auto done = co_await ask(s, path + "/" + name + in_background, "DELETE");
      if (!done && done.error().code != errc::not_found) out.errors.push_back(done.error().message);
    }
  }
  if (!lists) co_return;
  auto left = co_await ask(s, path, "GET");
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
  const auto all = others(s.store().current());
  for (auto& of : all) {
    auto list = co_await ask(s, of.path(), "GET");
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
