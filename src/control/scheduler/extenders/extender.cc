#include "control/scheduler/extenders/extender.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <optional>

#include "base/strings.h"
#include "base/time.h"
#include "control/scheduler/extenders/limits.h"
#include "control/scheduler/resources.h"
#include "crypto/files.h"

namespace kedge::control::scheduler {
namespace {

using type = field::type;
constexpr field resource_fields[] = {{"name", type::text}, {"ignoredByScheduler", type::truth}};
constexpr field tls_fields[] = {{"insecure", type::truth}, {"serverName", type::text}, {"certFile", type::text},
                                {"keyFile", type::text},   {"caFile", type::text},     {"certData", type::text},
                                {"keyData", type::text},   {"caData", type::text}};
constexpr field fields[] = {{"urlPrefix", type::text},
                            {"filterVerb", type::text},
                            {"preemptVerb", type::text},
                            {"prioritizeVerb", type::text},
                            {"weight", type::number},
                            {"bindVerb", type::text},
                            {"enableHTTPS", type::truth},
                            {"tlsConfig", type::object, tls_fields},
                            {"httpTimeout", type::text},
                            {"nodeCacheCapable", type::truth},
                            {"managedResources", type::objects, resource_fields},
                            {"ignorable", type::truth}};

// What is said in base64, or stands in a file; empty: neither.
result<std::string> pem_of(const json::value& tls, const char* data, const char* file, const std::string& where) {
  if (auto text = tls[data].as_string(); !text.empty()) {
    auto pem = unbase64(text);
    if (!pem) return fail(errc::invalid, fmt::format("{}.{}: it is no base64 text", where, data));
    return pem;
  }
  auto path = std::string(tls[file].as_string());
  if (path.empty()) return std::string();
  auto pem = crypto::read_file(path, tls_file_max_bytes);
  if (!pem) return fail(errc::invalid, fmt::format("{}.{}: {}", where, file, pem.error().message));
  return pem;
}

result<std::shared_ptr<net::tls_client_context>> tls_of(const json::value& given, const std::string& where) {
  auto& tls = given["tlsConfig"];
  net::tls_client_options options{.ca_pem = std::nullopt, .chain_pem = {}, .key_pem = {}, .alpn = {"http/1.1"}};
  KEDGE_TRY(auto ca, pem_of(tls, "caData", "caFile", where));
  KEDGE_TRY(options.chain_pem, pem_of(tls, "certData", "certFile", where));
  KEDGE_TRY(options.key_pem, pem_of(tls, "keyData", "keyFile", where));
  if (!ca.empty()) options.ca_pem = ca;
  // As kube-scheduler has it: without an authority of its own anybody is believed.
  options.insecure = tls["insecure"].as_bool() || (given["enableHTTPS"].as_bool() && ca.empty());
  if (tls["insecure"].as_bool() && !ca.empty())
    return fail(errc::invalid, where + ": specifying a root certificates file with the insecure flag is not allowed");
  auto made = net::tls_client_context::make(options);
  if (!made) return fail(errc::invalid, fmt::format("{}: {}", where, made.error().message));
  return made;
}

bool names(std::span<const extender> list, std::string_view resource) {
  return std::ranges::any_of(list, [&](auto& e) { return e.resources.contains(resource); });
}

result<void> read_resources(extender& into, std::span<const extender> before, const json::value& list,
                            const std::string& where) {
  for (std::size_t i = 0; i < list.size(); ++i) {
    auto name = list[i]["name"].as_string();
    auto refuse = [&](std::string_view why) {
      return fail(errc::invalid,
                  fmt::format("{}.managedResources[{}].name: Invalid value: {}: {}", where, i, quote(name), why));
    };
    if (!is_extended(name)) return refuse("is an invalid extended resource name");
    if (names(before, name) || !into.resources.emplace(name).second)
      return refuse("duplicate extender managed resource name");
  }
  return {};
}

result<extender> parse_one(const json::value& given, std::span<const extender> before, const std::string& where) {
  extender out{.url = std::string(given["urlPrefix"].as_string()),
               .filter = std::string(given["filterVerb"].as_string()),
               .prioritize = std::string(given["prioritizeVerb"].as_string()),
               .preempt = std::string(given["preemptVerb"].as_string()),
               .bind = std::string(given["bindVerb"].as_string()),
               .weight = given["weight"].as_integer(),
               .knows_nodes = given["nodeCacheCapable"].as_bool(),
               .ignorable = given["ignorable"].as_bool(),
               .timeout = default_timeout,
               .resources = {},
               .to = {},
               .path = {}};
  while (out.url.ends_with('/')) out.url.pop_back();
  if (!out.prioritize.empty() && out.weight <= 0)
    return fail(errc::invalid, fmt::format("{}.weight: Invalid value: {}: must have a positive weight applied to it",
                                           where, out.weight));
  if (auto text = given["httpTimeout"].as_string(); !text.empty()) {
    auto time = parse_duration(text);
    if (!time || *time < duration::zero())
      return fail(errc::invalid, fmt::format("{}.httpTimeout: {} is not a duration such as 5s", where, quote(text)));
    if (*time > duration::zero()) out.timeout = std::min<std::chrono::nanoseconds>(*time, timeout_most);
  }
  KEDGE_CHECK(read_resources(out, before, given["managedResources"], where));
  std::shared_ptr<net::tls_client_context> tls;
  if (out.url.starts_with("https:")) { KEDGE_TRY(tls, tls_of(given, where + ".tlsConfig")); }
  auto parsed = net::http::parse_url(out.url, std::move(tls));
  if (!parsed) return fail(errc::invalid, fmt::format("{}.urlPrefix: {}", where, parsed.error().message));
  out.to = std::move(parsed->first);
  out.path = parsed->second == "/" ? std::string() : std::move(parsed->second);
  if (auto name = given["tlsConfig"]["serverName"].as_string(); !name.empty() && out.to.tls) {
    if (out.to.at.address.empty()) out.to.at.address = out.to.host;
    out.to.host = name;
  }
  return out;
}

}  // namespace

bool extender::is_asked_about(const json::value& pod) const {
  if (resources.empty()) return true;
  for (auto list : {"containers", "initContainers"})
    for (std::size_t i = 0; i < pod["spec"][list].size(); ++i)
      for (auto part : {"requests", "limits"})
        if (auto amounts = pod["spec"][list][i]["resources"][part].object())
          for (auto& m : *amounts)
            if (resources.contains(m.name)) return true;
  return false;
}

std::span<const field> extender_fields() noexcept { return fields; }

result<std::vector<extender>> parse_extenders(const json::value& list) {
  if (list.size() > extenders_max)
    return fail(errc::invalid, fmt::format("extenders: there are more than {}", extenders_max));
  std::vector<extender> out;
  for (std::size_t i = 0; i < list.size(); ++i) {
    KEDGE_TRY(auto one, parse_one(list[i], out, fmt::format("extenders[{}]", i)));
    out.push_back(std::move(one));
  }
  const auto binders = std::ranges::count_if(out, [](auto& e) { return !e.bind.empty(); });
  if (binders > 1)
    return fail(errc::invalid, fmt::format("extenders: Invalid value: \"found {} extenders implementing bind\": only "
                                           "one extender can implement bind",
                                           binders));
  const auto is_ignorable = [](const extender& e) { return e.ignorable; };
  std::vector<extender> last;
  std::ranges::copy_if(out, std::back_inserter(last), is_ignorable);
  std::erase_if(out, is_ignorable);
  std::ranges::move(last, std::back_inserter(out));
  return out;
}

json::array resources_ignored_for(const json::value& list) {
  json::array out;
  for (std::size_t i = 0; i < list.size(); ++i)
    for (std::size_t j = 0; j < list[i]["managedResources"].size(); ++j)
      if (auto& r = list[i]["managedResources"][j]; r["ignoredByScheduler"].as_bool()) out.push_back(r["name"]);
  return out;
}

}  // namespace kedge::control::scheduler
