#include "api/metrics/request_metrics.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace kedge::api {

namespace {

// Label sets with a resource that one core remembers: some hundred resources by verb, scope and code. Custom resources
// come and go; what comes later counts as "other".
constexpr std::size_t series_max = 4096;

// kube-apiserver's, of what its service level is judged by.
constexpr double served_bounds[] = {0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1,  1.25, 1.5, 2, 3,
                                    4,    5,   6,   8,   10,  15,  20, 30,   45,  60};

// kube-apiserver's, in bytes: of answers, and of events.
constexpr double answer_bounds[] = {1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9};
constexpr double event_bounds[] = {1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072};

// kube-apiserver counts by HTTP's methods, and apart what is more than one object. Of what isn't here there is no end.
constexpr std::pair<std::string_view, std::string_view> verbs[] = {{"get", "GET"},
                                                                   {"head", "GET"},
                                                                   {"list", "LIST"},
                                                                   {"watch", "WATCH"},
                                                                   {"create", "POST"},
                                                                   {"post", "POST"},
                                                                   {"update", "PUT"},
                                                                   {"put", "PUT"},
                                                                   {"patch", "PATCH"},
                                                                   {"delete", "DELETE"},
                                                                   {"deletecollection", "DELETECOLLECTION"}};

std::string_view verb_label(const counted_request& r) {
  auto& sub = r.info.subresource;
  if (r.info.is_resource &&
      (sub == "log" || sub == "exec" || sub == "portforward" || sub == "attach" || sub == "proxy"))
    return "CONNECT";
  if (r.applies) return "APPLY";
  for (auto& [verb, label] : verbs)
    if (r.info.verb == verb) return label;
  return "other";
}

std::string without_dry_run(const request_labels& l) {
  return fmt::format(
      "component=\"apiserver\",group=\"{}\",resource=\"{}\",scope=\"{}\",subresource=\"{}\",verb=\"{}\",version=\"{}\"",
      l.group, l.resource, l.scope, l.subresource, l.verb, l.version);
}

}  // namespace

request_labels labels_of(const counted_request& r) {
  request_labels out{.verb = verb_label(r)};
  if (r.dry_run) out.dry_run = "All";
  if (!r.admitted || !r.info.is_resource) return out;
  auto& i = r.info;
  if (!r.what) {
    out.resource = "other";
    return out;
  }
  out.group = r.what->group;
  out.version = r.what->version;
  out.resource = r.what->resource;
  out.scope = !i.name.empty() || i.verb == "create" ? "resource" : !i.ns.empty() ? "namespace" : "cluster";
  if (i.subresource.empty()) return out;
  auto* sub = r.what->subresource(i.subresource);
  out.subresource = sub ? sub->name : std::string_view("other");
  return out;
}

request_metrics::cells& request_metrics::find(int code, const request_labels& labels) {
  key_.assign(reinterpret_cast<const char*>(&code), sizeof code);
  for (auto part :
       {labels.verb, labels.group, labels.version, labels.resource, labels.subresource, labels.scope, labels.dry_run})
    (key_ += part) += '\0';
  auto it = known_.find(key_);
  if (it != known_.end()) return it->second;
  const bool named = !labels.resource.empty() && labels.resource != "other";
  if (named && known_.size() >= series_max)
    return find(code, {.verb = labels.verb, .resource = "other", .dry_run = labels.dry_run});
  auto without_code = fmt::format(
      "component=\"apiserver\",dry_run=\"{}\",group=\"{}\",resource=\"{}\",scope=\"{}\",subresource=\"{}\",verb=\"{}\","
      "version=\"{}\"",
      labels.dry_run, labels.group, labels.resource, labels.scope, labels.subresource, labels.verb, labels.version);
  auto& total = all_.counter("apiserver_request_total",
                             "Counter of apiserver requests broken out for each verb, dry run value, group, version, "
                             "resource, scope, component, and HTTP response code.",
                             fmt::format("code=\"{}\",{}", code, without_code), core_);
  auto& seconds = all_.durations("apiserver_request_duration_seconds",
                                 "Response latency distribution in seconds for each verb, dry run value, group, "
                                 "version, resource, subresource, scope and component.",
                                 without_code, core_);
  // Watches and connections last as long as they are wanted.
  auto* served_seconds =
      labels.verb == "WATCH" || labels.verb == "CONNECT"
          ? nullptr
          : &all_.observations("apiserver_request_sli_duration_seconds",
                               "Response latency distribution (not counting webhook duration and priority & fairness "
                               "queue wait times) in seconds for each verb, group, version, resource, subresource, "
                               "scope and component.",
                               without_dry_run(labels), served_bounds, core_);
  auto* sizes = labels.verb == "GET" || labels.verb == "LIST"
                    ? &all_.observations("apiserver_response_sizes",
                                         "Response size distribution in bytes for each group, version, verb, resource, "
                                         "subresource, scope and component.",
                                         without_dry_run(labels), answer_bounds, core_)
                    : nullptr;
  return known_.emplace(key_, cells{&total, &seconds, served_seconds, sizes}).first->second;
}

void request_metrics::observe(const counted_request& r, duration took) {
  auto& c = find(r.code >= 100 && r.code <= 599 ? r.code : 0, labels_of(r));
  c.total->count();
  const auto seconds = std::chrono::duration<double>(took).count();
  c.seconds->observe_own(seconds);
  if (c.served_seconds) c.served_seconds->observe_own(std::max(0.0, seconds - r.waited_seconds));
  if (c.sizes) c.sizes->observe_own(static_cast<double>(r.bytes));
}

bool request_metrics::has_room(const request_labels& l) {
  const auto name = fmt::format("{}/{}/{}/{}/{}", l.group, l.version, l.resource, l.subresource, l.verb);
  if (watched_.contains(name)) return true;
  if (watched_.size() >= series_max) return false;
  watched_.insert(name);
  return true;
}

metric_cell& request_metrics::standing(const request_labels& l) {
  const request_labels other{.verb = l.verb, .resource = "other"};
  return all_.gauge("apiserver_longrunning_requests",
                    "Gauge of all active long-running apiserver requests broken out by verb, group, version, resource, "
                    "scope and component. Not all requests are tracked this way.",
                    without_dry_run(has_room(l) ? l : other), core_);
}

watch_counts request_metrics::watch(const request_labels& l) {
  const bool named = has_room(l);
  const auto labels = fmt::format("group=\"{}\",resource=\"{}\",version=\"{}\"", named ? l.group : "",
                                  named ? l.resource : "other", named ? l.version : "");
  return {&all_.counter("apiserver_watch_events_total", "Number of events sent in watch clients", labels, core_),
          &all_.observations("apiserver_watch_events_sizes", "Watch event size distribution in bytes", labels,
                             event_bounds, core_)};
}

void request_metrics::listed(const request_labels& l, duration took) {
  const bool named = has_room(l);
  all_.observations("apiserver_watch_list_duration_seconds",
                    "Response latency distribution in seconds for watch list requests broken by group, version, "
                    "resource and scope.",
                    fmt::format("group=\"{}\",resource=\"{}\",scope=\"{}\",version=\"{}\"", named ? l.group : "",
                                named ? l.resource : "other", l.scope, named ? l.version : ""),
                    served_bounds, core_)
      .observe_own(std::chrono::duration<double>(took).count());
}

}  // namespace kedge::api
