#include "api/publish/health.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/log.h"
#include "base/strings.h"

namespace kedge::api {
namespace {
std::string_view name_of(health_group g) {
  return g == health_group::livez ? "livez" : g == health_group::readyz ? "readyz" : "healthz";
}
std::size_t counter_of(health_group g, bool good) {
  return (g == health_group::healthz ? 0 : g == health_group::livez ? 2 : 4) + (good ? 0 : 1);
}
}  // namespace

void health::add(std::string name, health_group in, std::function<result<void>()> check) {
  checks_.push_back({std::move(name), static_cast<unsigned>(in), std::move(check)});
}

health_answer health::ask(health_group group, std::string_view sub, bool verbose,
                          const std::vector<std::string>& excluded) const {
  const auto bit = static_cast<unsigned>(group);
  if (!sub.empty()) {
    for (auto& c : checks_)
      if (c.name == sub && (c.in & bit)) {
        auto ok = c.run();
        if (ok) return {200, "ok"};
        return {500, fmt::format("internal server error: {}\n", ok.error().message)};
      }
    return {404, "404 page not found\n"};
  }
  std::string lines, failed;
  auto unknown = excluded;
  for (auto& c : checks_) {
    if (!(c.in & bit)) continue;
    if (std::find(excluded.begin(), excluded.end(), c.name) != excluded.end()) {
      std::erase(unknown, c.name);
      lines += fmt::format("[+]{} excluded: ok\n", c.name);
      continue;
    }
    auto ok = c.run();
    (*c.asked)[counter_of(group, ok.has_value())].fetch_add(1, std::memory_order_relaxed);
    if (ok) {
      lines += fmt::format("[+]{} ok\n", c.name);
    } else {
      // The reason goes to the log only: anonymous callers may ask.
      lines += fmt::format("[-]{} failed: reason withheld\n", c.name);
      failed += (failed.empty() ? "" : ",") + c.name;
      log::debug("{} check {} failed: {}", name_of(group), c.name, ok.error().message);
    }
  }
  if (!unknown.empty()) {
    for (auto& u : unknown) u = quote(u);
    lines += fmt::format("warn: some health checks cannot be excluded: no matches for {}\n", join(unknown, ","));
  }
  if (!failed.empty()) return {500, fmt::format("{}{} check failed\n", lines, name_of(group))};
  if (verbose) return {200, fmt::format("{}{} check passed\n", lines, name_of(group))};
  return {200, "ok"};
}

std::string health::metrics() const {
  std::string out =
      "# HELP kubernetes_healthcheck This metric records the result of a single healthcheck.\n"
      "# TYPE kubernetes_healthcheck gauge\n";
  for (auto& c : checks_) {
    const bool fine = c.run().has_value();
    for (auto g : {health_group::healthz, health_group::livez, health_group::readyz})
      if (c.in & static_cast<unsigned>(g))
        out += fmt::format("kubernetes_healthcheck{{name=\"{}\",type=\"{}\"}} {}\n", c.name, name_of(g), fine ? 1 : 0);
  }
  out +=
      "# HELP kubernetes_healthchecks_total This metric records the results of all healthcheck.\n"
      "# TYPE kubernetes_healthchecks_total counter\n";
  for (auto& c : checks_)
    for (auto g : {health_group::healthz, health_group::livez, health_group::readyz})
      for (bool good : {true, false})
        if (auto n = (*c.asked)[counter_of(g, good)].load(std::memory_order_relaxed); n > 0)
          out += fmt::format("kubernetes_healthchecks_total{{name=\"{}\",status=\"{}\",type=\"{}\"}} {}\n", c.name,
                             good ? "success" : "error", name_of(g), n);
  return out;
}

std::vector<std::string> health::paths() const {
  std::vector<std::string> out;
  for (auto g : {health_group::healthz, health_group::livez, health_group::readyz}) {
    out.push_back(fmt::format("/{}", name_of(g)));
    for (auto& c : checks_)
      if (c.in & static_cast<unsigned>(g)) out.push_back(fmt::format("/{}/{}", name_of(g), c.name));
  }
  return out;
}

}  // namespace kedge::api
