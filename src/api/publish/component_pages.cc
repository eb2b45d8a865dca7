#include "api/publish/component_pages.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include "api/request/negotiate.h"
#include "base/kubernetes_version.h"
#include "json/write.h"

namespace kedge::api {
namespace {

constexpr std::string_view component = "apiserver";
constexpr std::string_view group = "config.k8s.io";

struct form {
  wire as = wire::json;
  bool text = false;
  std::string version;  // of the object
};

// What is asked for first and can be had.
std::optional<form> choose(std::string_view accept, std::string_view kind) {
  auto clauses = parse_accept(accept);
  if (clauses.empty()) return form{.text = true, .version = {}};
  for (auto& c : clauses) {
    if (c.type == "*/*" || c.type == "text/*" || c.type == "text/plain") return form{.text = true, .version = {}};
    if (c.type != "application/json" && c.type != "application/yaml") continue;
    auto version = c.parameter("v");
    if (c.parameter("g") == group && c.parameter("as") == kind && (version == "v1beta1" || version == "v1alpha1"))
      return form{
          .as = c.type == "application/json" ? wire::json : wire::yaml, .text = false, .version = std::string(version)};
  }
  return std::nullopt;
}

component_page as_text(std::string_view page, std::string_view lines) {
  return {fmt::format("\n{} {}\nWarning: This endpoint is not meant to be machine parseable, has no formatting "
                      "compatibility guarantees and is for debugging purposes only.\n{}",
                      component, page, lines),
          "text/plain; charset=utf-8"};
}

component_page as_object(const form& f, std::string_view kind, json::object members) {
  json::object o{{"kind", kind},
                 {"apiVersion", fmt::format("{}/{}", group, f.version)},
                 {"metadata", json::object{{"name", component}}}};
  for (auto& m : members) o.set(m.name, std::move(m.value));
  const bool plain = f.as == wire::json;
  json::value v = std::move(o);
  return {plain ? json::write(v) + "\n" : json::write_yaml(v),
          fmt::format("application/{};g={};v={};as={}", plain ? "json" : "yaml", group, f.version, kind)};
}

}  // namespace

std::optional<component_page> statusz_page(std::string_view accept, wall_time started, wall_time now) {
  auto f = choose(accept, "Statusz");
  if (!f) return std::nullopt;
  static constexpr std::string_view paths[] = {"/flagz",  "/healthz", "/livez",  "/metrics",
                                               "/readyz", "/statusz", "/version"};
  const auto up = std::chrono::duration_cast<std::chrono::seconds>(now - started).count();
  const auto version = fmt::format("{}.{}", kubernetes_major, kubernetes_minor);
  if (f->text) {
    const auto since = std::chrono::floor<std::chrono::seconds>(started);
    return as_text("statusz",
                   fmt::format("\nStarted: {:%a %b %e %H:%M:%S UTC %Y}\nUp: {} hr {:02} min {:02} sec\nGo version: "
                               "\nBinary version: {}\nEmulation version: {}\nPaths: {}\n",
                               since, up / 3600, up / 60 % 60, up % 60, version, version, fmt::join(paths, " ")));
  }
  json::array list;
  for (auto p : paths) list.emplace_back(p);
  return as_object(*f, "Statusz",
                   {{"startTime", format_rfc3339(started)},
                    {"uptimeSeconds", up},
                    {"goVersion", ""},
                    {"binaryVersion", version},
                    {"emulationVersion", version},
                    {"paths", std::move(list)}});
}

std::optional<component_page> flagz_page(std::string_view accept, const flag_values& flags) {
  auto f = choose(accept, "Flagz");
  if (!f) return std::nullopt;
  if (f->text) {
    std::string lines;
    for (auto& [name, value] : flags) lines += fmt::format("{}:{}\n", name, value);
    return as_text("flagz", lines);
  }
  json::object all;
  for (auto& [name, value] : flags) all.set(name, value);
  return as_object(*f, "Flagz", {{"flags", std::move(all)}});
}

}  // namespace kedge::api
