#include "control/cleanup/other_servers.h"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>

#include "json/parse.h"

namespace kedge::control {

using api::aggregation::api_service;

std::vector<api_service> other_services(const store::snapshot& cluster) {
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

task<result<json::value>> ask_other(shell& s, api::raw_request q) {
  const auto path = q.path, method = q.method;
  KEDGE_CO_TRY(auto answer, co_await s.client().ask(std::move(q)));
  auto value = json::parse(answer.body);
  if (answer.code >= 200 && answer.code < 300) {
    if (!value) co_return fail(errc::protocol, path + ": " + value.error().message);
    co_return *std::move(value);
  }
  auto message = value ? std::string((*value)["message"].as_string()) : std::string();
  if (message.empty()) message = fmt::format("{} {}: {}", method, path, answer.code);
  co_return fail(answer.code == 404 || answer.code == 405 ? errc::not_found : errc::unavailable, std::move(message));
}

}  // namespace kedge::control
