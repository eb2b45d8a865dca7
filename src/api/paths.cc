// paths.cc: what is no resource: health, version, metrics, discovery. (OpenAPI: openapi_paths.cc.)
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "api/handler.h"
#include "api/publish/component_pages.h"
#include "base/strings.h"
#include "json/write.h"
#include "reactor/loop.h"

namespace kedge::api {
namespace {

std::string page_not_found() { return "404 page not found\n"; }

json::value version_value(const version_info& v) {
  return json::object{{"major", kubernetes_major},
                      {"minor", kubernetes_minor},
                      {"emulationMajor", kubernetes_major},
                      {"emulationMinor", kubernetes_minor},
                      {"minCompatibilityMajor", kubernetes_major},
                      {"minCompatibilityMinor", oldest_minor},
                      {"gitVersion", v.git_version},
                      {"gitCommit", v.git_commit},
                      {"gitTreeState", "clean"},
                      {"buildDate", v.build_date},
                      {"goVersion", ""},
                      {"compiler", "clang"},
                      {"platform", v.platform}};
}

void append_build(std::string& out, const version_info& v) {
  out += fmt::format(
      "# HELP kubernetes_build_info A metric with a constant '1' value labeled by major, minor, git version, git "
      "commit, "
      "git tree state, build date, Go version, and compiler from which Kubernetes was built, and platform on which it "
      "is "
      "running.\n# TYPE kubernetes_build_info gauge\nkubernetes_build_info{{build_date=\"{}\",compiler=\"clang\","
      "git_commit=\"{}\",git_tree_state=\"clean\",git_version=\"{}\",go_version=\"\",major=\"{}\",minor=\"{}\","
      "platform=\"{}\"}} 1\n",
      v.build_date, v.git_commit, v.git_version, kubernetes_major, kubernetes_minor, v.platform);
}

// apiserver_storage_objects: how many objects each resource has, counted in the snapshot at the scrape.
void append_object_counts(std::string& out, const registry& all, const store::snapshot& cluster) {
  out +=
      "# HELP apiserver_storage_objects Number of stored objects at the time of last check split by kind.\n# TYPE "
      "apiserver_storage_objects gauge\n";
  for (auto& s : all.all())
    if (s->native() && !s->is_virtual && !s->is_measured)
      out += fmt::format("apiserver_storage_objects{{resource=\"{}\"}} {}\n",
                         s->group.empty() ? s->resource : fmt::format("{}.{}", s->resource, s->group),
                         cluster.count(s->key_prefix));
}

// The aggregated form's content type when the client prefers it; empty: the plain form.
std::string wants_aggregated(std::string_view accept) {
  for (auto& c : parse_accept(accept)) {
    if (c.type != "application/json" && c.type != "*/*" && c.type != "application/*") continue;
    auto as = c.parameter("as");
    if (as.empty()) return {};
    if (as == "APIGroupDiscoveryList" && c.parameter("g") == "apidiscovery.k8s.io" && c.parameter("v") == "v2")
      return "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
  }
  return {};
}

bool has_etag(std::string_view header, std::string_view etag) {
  return !header.empty() && (header == "*" || header.find(etag) != std::string_view::npos);
}

}  // namespace

task<void> api_handler::send_plain(api_request& r, int code, std::string body, std::string type) {
  r.answer.code = code;
  auto head = head_of(r.answer, code, type);
  head.headers.add("X-Content-Type-Options", "nosniff");
  (void)co_await r.http.respond(head, body);
}

std::vector<std::string> api_handler::all_paths(const discovery& d) const {
  std::vector<std::string> out = {"/api",         "/apis",    "/apis/",   "/metrics", "/openapi/v2",  "/openapi/v3",
                                  "/openapi/v3/", "/version", "/statusz", "/flagz",   "/metrics/slis"};
  for (auto& g : d.groups()) {
    if (!g.name.empty()) out.push_back("/apis/" + g.name);
    for (auto& v : g.versions) out.push_back(g.name.empty() ? "/api/" + v : fmt::format("/apis/{}/{}", g.name, v));
  }
  for (auto& p : parts_.checks.paths()) out.push_back(p);
  for (auto& document : parts_.documents) out.push_back(document.path);
  std::sort(out.begin(), out.end());
  return out;
}

void api_handler::replace_document(std::string_view path, std::string body) {
  for (auto& document : parts_.documents)
    if (document.path == path) document.body = std::move(body);
}

task<void> api_handler::serve_path(api_request& r, const permission& may) {
  const std::string_view path = may.asked().path;
  const auto& method = r.http.request().method;
  if (r.info.malformed) {
    co_await send_plain(r, 404, page_not_found());
    co_return;
  }
  const bool reading = method == "GET" || method == "HEAD";
  for (auto group : {health_group::healthz, health_group::livez, health_group::readyz}) {
    std::string_view name = group == health_group::healthz ? "/healthz"
                            : group == health_group::livez ? "/livez"
                                                           : "/readyz";
    if (path != name && !(path.starts_with(name) && path.size() > name.size() && path[name.size()] == '/')) continue;
    auto sub = path.size() > name.size() ? path.substr(name.size() + 1) : std::string_view();
    auto a = parts_.checks.ask(group, sub, r.query.has("verbose"), r.query.all("exclude"));
    co_await send_plain(r, a.status, std::move(a.body));
    co_return;
  }
  if (path == "/statusz" || path == "/flagz") co_return co_await serve_component_page(r, path == "/flagz");
  constexpr std::string_view fairness_paths = "/debug/api_priority_and_fairness/";
  if (path.starts_with(fairness_paths)) co_return co_await serve_fairness(r, path.substr(fairness_paths.size()));
  const bool is_ours = path == "/" || path == "/version" || path == "/metrics" || path == "/metrics/slis" ||
                       path == "/api" || path == "/apis" || path.starts_with("/api/") || path.starts_with("/apis/") ||
                       path.starts_with("/openapi/");
  if (is_ours && !reading) {
    co_await refuse(r, method_not_allowed());
    co_return;
  }
  for (auto& document : parts_.documents) {
    if (path != document.path) continue;
    if (!reading) co_return co_await refuse(r, method_not_allowed());
    auto head = head_of(r.answer, 200, document.type);
    head.headers.set("Cache-Control", "public, max-age=3600");
    r.answer.code = 200;
    const auto body = document.body;  // another may take its place while it is sent
    (void)co_await r.http.respond(head, body);
    co_return;
  }
  if (path == "/version") {
    auto accept = r.http.request().headers.get("Accept");
    if (auto m = negotiate(accept, {.protobuf = false, .shapes = false}); !m) {
      co_await refuse(r, m.error());
      co_return;
    }
    r.answer.as.as.format = wire::json;
    auto text = json::write_indented(version_value(parts_.version), 2);
    co_await send_text(r.http, r.answer, 200, std::move(text), "application/json");
  } else if (path == "/metrics") {
    auto text = parts_.measures.text();
    append_build(text, parts_.version);
    append_object_counts(text, *r.tables, parts_.objects.current());
    co_await send_text(r.http, r.answer, 200, std::move(text), "text/plain; version=0.0.4; charset=utf-8");
  } else if (path == "/metrics/slis") {
    co_await send_text(r.http, r.answer, 200, parts_.checks.metrics(), "text/plain; version=0.0.4; charset=utf-8");
  } else if (path == "/") {
    json::array list;
    auto d = co_await discover(r);
    for (auto& p : all_paths(*d)) list.emplace_back(p);
    co_await send_text(r.http, r.answer, 200, json::write_indented(json::object{{"paths", std::move(list)}}, 2),
                       "application/json");
  } else if (path.starts_with("/openapi/")) {
    co_await serve_openapi(r, path);
  } else if (path == "/api" || path == "/apis" || path.starts_with("/api/") || path.starts_with("/apis/")) {
    co_await serve_discovery(r, path);
  } else {
    co_await send_plain(r, 404, page_not_found());
  }
}

task<void> api_handler::serve_component_page(api_request& r, bool flags) {
  static const flag_values none;
  const auto accept = r.http.request().headers.get("Accept");
  auto page = flags ? flagz_page(accept, parts_.flags ? *parts_.flags : none)
                    : statusz_page(accept, started_, reactor::loop::current().wall_now());
  if (!page)
    co_return co_await refuse(
        r, {.code = 406,
            .reason = "NotAcceptable",
            .message = fmt::format("only the following media types are accepted: {}", component_page_types)});
  co_await send_text(r.http, r.answer, 200, std::move(page->body), std::move(page->type));
}

task<void> api_handler::serve_aggregated(api_request& r, bool core, std::string content_type) {
  const auto d = co_await discover(r);
  auto head = head_of(r.answer, 200, content_type);
  head.headers.set("Cache-Control", "public");
  head.headers.add("Etag", d->etag(core));
  head.headers.add("Vary", "Accept");
  if (has_etag(r.http.request().headers.get("If-None-Match"), d->etag(core))) {
    head.status = r.answer.code = 304;
    head.headers.remove("Content-Type");
    (void)co_await r.http.respond(head, std::string_view());
    co_return;
  }
  r.answer.code = 200;
  auto body = json::write(d->aggregated(core)) + "\n";
  (void)co_await r.http.respond(head, body);
}

task<void> api_handler::serve_discovery(api_request& r, std::string_view path) {
  const auto accept = r.http.request().headers.get("Accept");
  const bool top = path == "/api" || path == "/apis";
  if (top)
    if (auto type = wants_aggregated(accept); !type.empty()) {
      co_await serve_aggregated(r, path == "/api", std::move(type));
      co_return;
    }
  auto m = negotiate(accept, {.shapes = false});
  if (!m) {
    co_await refuse(r, m.error());
    co_return;
  }
  r.answer.as.as.format = m->format;
  const auto d = co_await discover(r);
  std::optional<json::value> out;
  if (path == "/api") {
    out = d->api_versions(parts_.server_address);
  } else if (path == "/apis") {
    out = d->group_list();
  } else {
    auto parts = split(path.substr(1), '/');
    if (parts[0] == "api" && parts.size() == 2) out = d->resources("", parts[1]);
    if (parts[0] == "apis" && parts.size() == 2) out = d->group(parts[1]);
    if (parts[0] == "apis" && parts.size() == 3) out = d->resources(parts[1], parts[2]);
  }
  if (!out) {
    co_await send_plain(r, 404, page_not_found());
    co_return;
  }
  if (top) r.answer.gzip = false;
  co_await send_value(r.http, r.answer, 200, *out);
}

}  // namespace kedge::api
