// usage_verbs.cc: GET and LIST of metrics.k8s.io: the Nodes and Pods that are stored, with what nodes told of them.
#include <fmt/format.h>

#include "api/handler.h"
#include "api/read/list_answer.h"
#include "api/usage/usage.h"
#include "reactor/loop.h"

namespace kedge::api {

namespace {

// What stands behind "namespace/name" or "name" of an object's key.
std::pair<std::string_view, std::string_view> place_of(const served& core, const store::object& o) {
  auto rest = o.key().substr(core.key_prefix.size());
  auto slash = rest.find('/');
  if (slash == std::string_view::npos) return {{}, rest};
  return {rest.substr(0, slash), rest.substr(slash + 1)};
}

// nullopt: nobody tells of it.
std::optional<json::value> metrics_of(const served& core, const store::object& o, const usage_by_node& all,
                                      wall_time now) {
  auto [ns, name] = place_of(core, o);
  if (core.namespaced()) {
    auto* containers = usage_of_pod(all, o, ns, name);
    if (!containers) return std::nullopt;
    return pod_metrics(ns, name, o.labels_text(), *containers, now);
  }
  auto node = all.find(name);
  if (node == all.end() || !node->second->node) return std::nullopt;
  return node_metrics(name, o.labels_text(), *node->second->node, now);
}

}  // namespace

task<void> api_handler::serve_usage(api_request& r, const authorized& to) {
  auto* core = builtin_registry().find("", "v1", to.what().resource);
  auto all = co_await parts_.usage();
  const auto now = reactor::loop::current().wall_now();
  if (to.verb() == "get") {
    auto cluster = co_await parts_.objects.latest();
    if (!cluster) co_return co_await refuse(r, from_error(cluster.error()));
    auto found = cluster->find(core->key(to.ns(), to.name()));
    if (!found) co_return co_await refuse(r, not_found("", core->resource, to.name()));
    auto made = metrics_of(*core, *found, *all, now);
    if (!made)
      co_return co_await refuse(r, not_found(usage_group, core->resource,
                                             to.ns().empty() ? to.name() : fmt::format("{}/{}", to.ns(), to.name())));
    co_return co_await send_stored_form(r.http, r.answer, to.what(), 200, *std::move(made));
  }
  auto options = parse_list_options(r.query, false);
  if (!options) co_return co_await refuse(r, options.error());
  // Its own fields, of which there are none but name and namespace, are those that may be asked for.
  if (auto own = make_selection(to, options->label_selector, options->field_selector); !own)
    co_return co_await refuse(r, own.error());
  auto target = authorization::own(r.info.user, "list", *core, to.ns(), to.name());
  auto which = make_selection(target, options->label_selector, options->field_selector);
  if (!which) co_return co_await refuse(r, which.error());
  auto p = co_await read_page(parts_.objects, target, {}, *std::move(which));
  if (!p) co_return co_await refuse(r, p.error());
  page out;
  out.is_made = true;
  for (auto* o : p->objects) {
    if (auto made = metrics_of(*core, *o, *all, now)) out.made.push_back(*std::move(made));
    co_await reactor::maybe_yield();
  }
  co_await send_page(r.http, r.answer, to.what(), std::move(out));
}

}  // namespace kedge::api
