// autoscaler.cc: HorizontalPodAutoscalers (horizontal-pod-autoscaler-controller).
//
//   target's scale ─▶ out of bounds: into them │ each metric's proposal, the largest counts ─▶ stabilised, limited ─▶
//   the target gets it
//
// What its metrics say is asked of the APIs that measure (metrics.h) before the look; what none tells is said in a
// condition. The target is read and written as its Scale is.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "api/custom/codec.h"
#include "base/strings.h"
#include "control/conditions.h"
#include "control/controllers.h"
#include "control/go_text.h"
#include "control/owners.h"
#include "control/pods.h"
#include "control/resources.h"
#include "control/settings.h"
#include "control/workloads/history.h"
#include "control/workloads/metrics.h"
#include "control/workloads/scaling.h"
#include "schema/quantity.h"

namespace kedge::control {
namespace {

const api::resource_id autoscalers{"autoscaling", "v2", "horizontalpodautoscalers"};

// As whoever measures writes it.
std::string amount_text(std::string_view resource, std::int64_t milli) {
  using format = schema::quantity::format;
  return schema::quantity::of_milli(milli, resource == "memory" ? format::binary_si : format::decimal_si).text();
}

// What is scaled.
struct scale {
  const json::value* object = nullptr;
  const api::served* served = nullptr;
  std::int64_t wanted = 0, running = 0;  // spec.replicas, status.replicas
  api::label_selector selector;
  std::string error;
};

scale scale_of(const view& cluster, const json::value& hpa) {
  scale out;
  auto& r = hpa["spec"]["scaleTargetRef"];
  auto version = r["apiVersion"].as_string(), kind = r["kind"].as_string(), name = r["name"].as_string();
  auto group = version.find('/') == version.npos ? std::string_view() : version.substr(0, version.find('/'));
  out.served = cluster.served().find_kind(version, kind);
  if (!out.served) {
    out.error = fmt::format("no matches for kind {} in group {}", quote(kind), quote(group));
    return out;
  }
  const bool scales = out.served->subresource("scale") != nullptr;
  out.object = scales ? cluster.get(*out.served, hpa["metadata"]["namespace"].as_string(), name) : nullptr;
  if (!out.object) {
    out.error =
        scales ? fmt::format("{}{}{} {} not found", out.served->resource, group.empty() ? "" : ".", group, quote(name))
               : "the server could not find the requested resource";
    return out;
  }
  if (out.served->custom) {
    auto as_scale = api::custom::scale_of(*out.served, *out.object);
    out.wanted = as_scale["spec"]["replicas"].as_integer();
    out.running = as_scale["status"]["replicas"].as_integer();
    if (auto selector = api::label_selector::parse(as_scale["status"]["selector"].as_string()))
      out.selector = *std::move(selector);
    return out;
  }
  out.wanted = (*out.object)["spec"]["replicas"].as_integer(1);
  out.running = (*out.object)["status"]["replicas"].as_integer();
  auto& selector = (*out.object)["spec"]["selector"];
  out.selector = selector.find("matchLabels") || selector.find("matchExpressions")
                     ? api::label_selector::from_object(selector)
                     : api::label_selector::from_map(selector);
  return out;
}

// Whose pods are whose, as the last looks found it: by an autoscaler's "namespace/name".
using known_selectors = std::map<std::string, api::label_selector, std::less<>>;

// What was measured for an autoscaler.
struct measurements {
  pod_metrics usage = not_measured();
  std::map<std::size_t, metric_values> others;  // what isn't its pods' cpu or memory, by the place in spec.metrics
};

class autoscaler_look {
 public:
  autoscaler_look(const view& cluster, const json::value& hpa, const measurements& measured, scale_history& h,
                  known_selectors& selectors, const settings& s, const moment& now)
      : cluster_(cluster),
        hpa_(hpa),
        next_(hpa),
        measured_(measured),
        history_(h),
        selectors_(selectors),
        settings_(s),
        now_(now),
        about_(reference_to(hpa)),
        scaled_to_zero_(condition_status(hpa, "ScaledToZero") == "True"),
        measured_elsewhere_(has_metric_of_elsewhere(hpa)) {}

  plan make() {
    plan_.look_after(settings_.hpa_sync_period);
    auto target = scale_of(cluster_, hpa_);
    if (!target.error.empty()) {
      plan_.tell(about_, "FailedGetScale", target.error, true);
      set("AbleToScale", false, "FailedGetScale",
          "the HPA controller was unable to get the target's current scale: " + target.error);
      return finish();
    }
    set("AbleToScale", true, "SucceededGetScale", "the HPA controller was able to get the target's current scale");
    if (history_.recommendations.empty()) history_.recommendations.push_back({target.wanted, now_.now});
    decide(target);
    return finish();
  }

 private:
  void decide(const scale& target) {
    auto& spec = hpa_["spec"];
    const auto least = spec["minReplicas"].as_integer(1), most = spec["maxReplicas"].as_integer(),
               current = target.wanted;
    std::string reason;
    auto wanted = current;
    json::array statuses;
    // Who was scaled to none by hand stays so.
    if (current == 0 && !(scaled_to_zero_ && (least != 0 || measured_elsewhere_))) {
      set("ScalingActive", false, "ScalingDisabled",
          "scaling is disabled since the replica count of the target is zero");
      tell_status(current, current, std::move(statuses), false);
      return;
    }
    if (current != 0 && current > most) {
      wanted = most;
      reason = "Current number of replicas above Spec.MaxReplicas";
    } else if (current != 0 && current < least) {
      wanted = least;
      reason = "Current number of replicas below Spec.MinReplicas";
    } else {
      auto best = by_metrics(target, statuses);
      if (!best) return tell_status(current, counted(hpa_["status"]["desiredReplicas"]), std::move(statuses), false);
      if (best->first > current) reason = best->second + " above target";
      if (best->first < current) reason = "All metrics below target";
      auto a = allow(history_, spec["behavior"], {least, most, settings_.hpa_downscale_stabilization}, current,
                     best->first, now_.now);
      set("AbleToScale", true, a.able_reason, a.able_message);
      set("ScalingLimited", a.limited, a.limit_reason, a.limit_message);
      wanted = a.replicas;
      if (current == 0 && wanted < least) {
        wanted = least;
        if (reason.empty()) reason = "Current number of replicas below Spec.MinReplicas";
      }
    }
    if (wanted != current) rescale(target, wanted, reason);
    tell_status(current, wanted, std::move(statuses), wanted != current);
  }

  // A metric that pods needn't run for.
  static bool has_metric_of_elsewhere(const json::value& hpa) {
    auto& metrics = hpa["spec"]["metrics"];
    for (std::size_t i = 0; i < metrics.size(); ++i)
      if (auto type = metrics[i]["type"].as_string(); type == "Object" || type == "External") return true;
    return false;
  }

  static std::int64_t counted(const json::value& v) { return v.as_integer(); }

  void rescale(const scale& target, std::int64_t wanted, const std::string& reason) {
    auto& meta = (*target.object)["metadata"];
    auto c = update_of({target.served->group, target.served->version, target.served->resource},
                       json::object{{"apiVersion", "autoscaling/v1"},
                                    {"kind", "Scale"},
                                    {"metadata", json::object{{"name", meta["name"]},
                                                              {"namespace", meta["namespace"]},
                                                              {"uid", meta["uid"]},
                                                              {"resourceVersion", meta["resourceVersion"]}}},
                                    {"spec", json::object{{"replicas", wanted}}}},
                       "scale");
    c.on_done = notice{about_, false, "SuccessfulRescale", fmt::format("New size: {}; reason: {}", wanted, reason)};
    c.on_refused =
        notice{about_, true, "FailedRescale", fmt::format("New size: {}; reason: {}; error: ", wanted, reason)};
    plan_.write(std::move(c));
    set("AbleToScale", true, "SucceededRescale",
        fmt::format("the HPA controller was able to update the target scale to {}", wanted));
    const bool to_zero = target.wanted > 0 && wanted == 0 && measured_elsewhere_;
    set("ScaledToZero", to_zero, to_zero ? "ScaledToZero" : "NotScaledToZero",
        to_zero ? "the HPA controller scaled the workload to zero"
                : "the HPA controller did not scale the workload to zero");
    history_.scaled(target.wanted, wanted, hpa_["spec"]["behavior"], now_.now);
  }

  // The largest proposal, and what it is from.
  std::optional<std::pair<std::int64_t, std::string>> by_metrics(const scale& target, json::array& statuses) {
    if (target.selector.nothing() || target.selector.everything()) {
      plan_.tell(about_, "SelectorRequired", "selector is required", true);
      plan_.tell(about_, "FailedComputeMetricsReplicas", "selector is required", true);
      set("ScalingActive", false, "InvalidSelector", "the HPA target's scale is missing a selector");
      return std::nullopt;
    }
    auto selected = pods_of(target.selector);
    if (auto other = another_of_them(target.selector); !other.empty()) {
      auto why = fmt::format("pods by selector {} are controlled by more than one HPA (e.g. [{{{} {}}} {{{} {}}}])",
                             target.selector.text(), about_.name, about_.ns, other, about_.ns);
      plan_.tell(about_, "AmbiguousSelector", why, true);
      plan_.tell(about_, "FailedComputeMetricsReplicas", why, true);
      set("ScalingActive", false, "AmbiguousSelector", std::move(why));
      return std::nullopt;
    }
    auto& metrics = hpa_["spec"]["metrics"];
    std::optional<std::pair<std::int64_t, std::string>> best;
    std::string first_error, first_reason, first_message;
    std::size_t invalid = 0;
    for (std::size_t i = 0; i < metrics.size(); ++i) {
      json::value status = json::object{{"type", ""}};
      auto a = answer_of(metrics[i], i, selected, target, status);
      statuses.push_back(std::move(status));
      if (!a.error.empty()) {
        plan_.tell(about_, a.reason, a.error, true);
        if (invalid++ == 0)
          first_error = a.context + a.error, first_reason = a.reason,
          first_message = "the HPA was unable to compute the replica count: " + a.error;
      } else if (!best || a.replicas > best->first) {
        best = std::pair(a.replicas, a.name);
      }
    }
    if (invalid >= metrics.size() || (invalid > 0 && best->first < target.wanted)) {
      set("ScalingActive", false, first_reason, first_message);
      plan_.tell(about_, "FailedComputeMetricsReplicas",
                 fmt::format("invalid metrics ({} invalid out of {}), first error is: {}", invalid, metrics.size(),
                             first_error),
                 true);
      return std::nullopt;
    }
    set("ScalingActive", true, "ValidMetricFound",
        "the HPA was able to successfully calculate a replica count from " + best->second);
    return best;
  }

  struct answer {
    std::int64_t replicas = 0;
    std::string name, error, reason, context;
  };

  answer answer_of(const json::value& metric, std::size_t place, const std::vector<const json::value*>& selected,
                   const scale& target, json::value& status) {
    auto type = metric["type"].as_string();
    if (type == "Resource")
      return of_resource(metric["resource"], {}, "Resource", "resource", selected, target, status);
    if (type == "ContainerResource")
      return of_resource(metric["containerResource"], std::string(metric["containerResource"]["container"].as_string()),
                         "ContainerResource", "containerResource", selected, target, status);
    auto found = measured_.others.find(place);
    static const metric_values not_asked = std::unexpected("its target is not known");
    auto& values = found == measured_.others.end() ? not_asked : found->second;
    return type == "Pods"     ? of_pods(metric["pods"], values, selected, target, status)
           : type == "Object" ? of_object(metric["object"], values, selected, target, status)
                              : of_external(metric["external"], values, selected, target, status);
  }

  static std::int64_t milli_of(const json::value& amount) {
    return schema::quantity::parse(amount.as_string()).value_or(schema::quantity()).milli_value();
  }

  // As spec.metrics names it, with what it is now.
  static json::value metric_status(std::string_view type, std::string_view member, const json::value& source,
                                   std::string_view what, std::int64_t milli) {
    json::object metric{{"name", source["metric"]["name"]}};
    if (auto& selector = source["metric"]["selector"]; !selector.is_null()) metric.set("selector", selector);
    json::object described{{"metric", std::move(metric)},
                           {"current", json::object{{std::string(what), amount_text({}, milli)}}}};
    if (auto& about = source["describedObject"]; !about.is_null()) described.set("describedObject", about);
    return json::object{{"type", type}, {std::string(member), std::move(described)}};
  }

  answer of_pods(const json::value& source, const metric_values& values,
                 const std::vector<const json::value*>& selected, const scale& target, json::value& status) const {
    auto name = source["metric"]["name"].as_string();
    answer out{.name = fmt::format("pods metric {}", name),
               .reason = "FailedGetPodsMetric",
               .context = "failed to get pods metric value: "};
    if (!values) return out.error = fmt::format("unable to get metric {}: {}", name, values.error()), out;
    auto p = propose(selected, usages_of(*values), {.average_milli = milli_of(source["target"]["averageValue"])},
                     target.wanted, tolerance(), delays(), now_.wall);
    if (!p.error.empty()) return out.error = p.error, out;
    out.replicas = p.replicas;
    status = metric_status("Pods", "pods", source, "averageValue", p.average_milli);
    return out;
  }

  answer of_object(const json::value& source, const metric_values& values,
                   const std::vector<const json::value*>& selected, const scale& target, json::value& status) const {
    auto name = source["metric"]["name"].as_string();
    auto& about = source["describedObject"];
    answer out{.reason = "FailedGetObjectMetric", .context = "failed to get object metric value: "};
    const auto t = whole_target(source["target"]);
    if (!t)
      return out.error = "invalid object metric source: neither a value target nor an average value target was set",
             out;
    out.name = t->by_pod ? external_name(source) : fmt::format("{} metric {}", about["kind"].as_string(), name);
    if (t->by_pod) out.context += fmt::format("failed to get {} object metric: ", name);
    if (!values)
      return out.error = fmt::format("unable to get metric {} on {} {}/{}: {}", name, about["kind"].as_string(),
                                     about_.ns, about["name"].as_string(), values.error()),
             out;
    return of_whole(std::move(out), *t, "Object", "object", source, *values, selected, target, status);
  }

  answer of_external(const json::value& source, const metric_values& values,
                     const std::vector<const json::value*>& selected, const scale& target, json::value& status) const {
    auto name = source["metric"]["name"].as_string();
    answer out{.name = external_name(source),
               .reason = "FailedGetExternalMetric",
               .context = fmt::format("failed to get {} external metric value: ", name)};
    const auto t = whole_target(source["target"]);
    if (!t)
      return out.error = "invalid external metric source: neither a value target nor an average value target was set",
             out;
    out.context += t->by_pod ? fmt::format("failed to get {} external metric: ", name)
                             : fmt::format("failed to get external metric {}: ", name);
    if (!values)
      return out.error = fmt::format("unable to get external metric {}/{}/{}: {}", about_.ns, name,
                                     as_go_prints(source["metric"]["selector"]), values.error()),
             out;
    return of_whole(std::move(out), *t, "External", "external", source, *values, selected, target, status);
  }

  static std::string external_name(const json::value& source) {
    return fmt::format("external metric {}({})", source["metric"]["name"].as_string(),
                       as_go_prints(source["metric"]["selector"]));
  }

  static std::optional<whole_usage> whole_target(const json::value& target) {
    for (auto [member, by_pod] : {std::pair{"averageValue", true}, {"value", false}})
      if (target[member].is_string()) return whole_usage{.target_milli = milli_of(target[member]), .by_pod = by_pod};
    return std::nullopt;
  }

  answer of_whole(answer out, whole_usage used, std::string_view type, std::string_view member,
                  const json::value& source, const json::value& values, const std::vector<const json::value*>& selected,
                  const scale& target, json::value& status) const {
    used.milli = sum_of(values);
    auto p = propose(selected, used, {target.wanted, target.running}, tolerance());
    if (!p.error.empty()) return out.error = p.error, out;
    out.replicas = p.replicas;
    status = metric_status(type, member, source, used.by_pod ? "averageValue" : "value", p.average_milli);
    return out;
  }

  answer of_resource(const json::value& source, std::string container, std::string_view type, std::string_view member,
                     const std::vector<const json::value*>& selected, const scale& target, json::value& status) {
    std::string resource(source["name"].as_string());
    answer out{.reason = fmt::format("FailedGet{}Metric", type),
               .context = container.empty() ? fmt::format("failed to get {} resource metric value: ", resource)
                                            : fmt::format("failed to get {} container metric value: ", container)};
    usage_target t{.resource = resource, .container = container};
    auto& wanted = source["target"];
    const bool by_value = wanted["averageValue"].is_string();
    if (by_value)
      t.average_milli =
          schema::quantity::parse(wanted["averageValue"].as_string()).value_or(schema::quantity()).milli_value();
    else if (wanted["averageUtilization"].is_integer())
      t.utilization = wanted["averageUtilization"].as_integer();
    else
      return out.error =
                 "invalid resource metric source: neither an average utilization target nor an average value (usage) "
                 "target was set",
             out;
    const auto what = fmt::format("failed to get {} {}: ", resource, by_value ? "usage" : "utilization");
    auto& usage = measured_.usage;
    if (!usage)
      return out.error = fmt::format("{}unable to get metrics for resource {}: {}", what, resource, usage.error()), out;
    auto p =
        propose(selected, usages_in(*usage, resource, container), t, target.wanted, tolerance(), delays(), now_.wall);
    if (!p.error.empty()) return out.error = what + p.error, out;
    out.replicas = p.replicas;
    out.name = by_value ? fmt::format("{} resource", resource)
                        : fmt::format("{} {}resource utilization (percentage of request)", resource,
                                      container.empty() ? "" : "container ");
    json::object current{{"averageValue", amount_text(resource, p.average_milli)}};
    if (p.utilization) current.set("averageUtilization", *p.utilization);
    json::object described{{"name", resource}, {"current", std::move(current)}};
    if (!container.empty()) described.set("container", container);
    status = json::object{{"type", type}, {std::string(member), std::move(described)}};
    return out;
  }

  // An autoscaler of the namespace that goes by some of the same pods; empty: there is none.
  std::string another_of_them(const api::label_selector& selector) {
    auto mine = fmt::format("{}/{}", about_.ns, about_.name), prefix = about_.ns + "/";
    selectors_.insert_or_assign(mine, selector);
    for (auto it = selectors_.lower_bound(prefix); it != selectors_.end() && it->first.starts_with(prefix); ++it)
      if (it->first != mine &&
          std::ranges::any_of(labels_, [&](auto& labels) { return it->second.matches_text(labels); }))
        return it->first.substr(prefix.size());
    return {};
  }

  std::vector<const json::value*> pods_of(const api::label_selector& selector) {
    std::vector<const json::value*> out;
    cluster_.cluster().scan(cluster_.prefix(pods, hpa_["metadata"]["namespace"].as_string()), {},
                            [&](const store::object_ref& o) {
                              if (!selector.matches_text(o->labels_text())) return true;
                              labels_.emplace(o->labels_text());
                              if (auto v = cluster_.value(o)) out.push_back(v);
                              return true;
                            });
    return out;
  }

  readiness_delays delays() const {
    return {settings_.hpa_cpu_initialization_period, settings_.hpa_initial_readiness_delay};
  }

  tolerances tolerance() const {
    tolerances t{settings_.hpa_tolerance, settings_.hpa_tolerance};
    auto read = [](const json::value& v, double& into) {
      if (auto q = schema::quantity::parse(v.as_string()); v.is_string() && q)
        into = static_cast<double>(q->milli_value()) / 1000;
    };
    read(hpa_["spec"]["behavior"]["scaleDown"]["tolerance"], t.down);
    read(hpa_["spec"]["behavior"]["scaleUp"]["tolerance"], t.up);
    return t;
  }

  void set(std::string type, bool status, std::string reason, std::string message) {
    set_condition(next_, {std::move(type), status ? "True" : "False", std::move(reason), std::move(message)},
                  now_.wall);
  }

  void tell_status(std::int64_t current, std::int64_t desired, json::array statuses, bool scaled) {
    auto& s = next_.member("status");
    current ? s.set("currentReplicas", current) : void(s.erase("currentReplicas"));
    s.set("desiredReplicas", desired);
    statuses.empty() ? void(s.erase("currentMetrics")) : s.set("currentMetrics", std::move(statuses));
    s.set("observedGeneration", hpa_["metadata"]["generation"]);
    if (scaled) s.set("lastScaleTime", format_rfc3339(now_.wall));
  }

  plan finish() {
    if (!(next_["status"] == hpa_["status"])) plan_.write(update_of(autoscalers, std::move(next_), "status"));
    return std::move(plan_);
  }

  const view& cluster_;
  const json::value& hpa_;
  json::value next_;
  const measurements& measured_;
  scale_history& history_;
  known_selectors& selectors_;
  const settings& settings_;
  const moment& now_;
  const reference about_;
  const bool scaled_to_zero_;      // by an autoscaler, not by hand
  const bool measured_elsewhere_;  // so that it can come back from none
  std::set<std::string> labels_;   // of its pods: those of one ReplicaSet have the same
  plan plan_;
};

class autoscaler final : public controller {
 public:
  explicit autoscaler(const settings& s) : settings_(s) {}

  std::vector<source> sources() override {
    // Each is looked at once in a period, and when its wishes change.
    return {{autoscalers, [this](const seen& s, keys& k) {
               std::string key(s.name());
               if (s.deleted()) {
                 histories_.erase(key);
                 selectors_.erase(key);
               } else if (!s.previous() ||
                          s.value()["metadata"]["generation"] != s.value_before()["metadata"]["generation"]) {
                 k.add(std::move(key));
               }
             }}};
  }

  task<api::api_result<void>> work(shell& s, std::string key) override {
    measured_.insert_or_assign(key, co_await measure(s, key));
    auto done = co_await s.look_and_write(key);
    measured_.erase(key);
    co_return done;
  }

  plan look(const view& cluster, const std::string& key, const moment& now) override {
    auto hpa = cluster.get(autoscalers, key);
    if (!hpa) return {};
    if (now.refused) {
      plan p;
      auto next = *hpa;
      set_condition(next,
                    {"AbleToScale", "False", "FailedUpdateScale",
                     "the HPA controller was unable to update the target scale: " + now.refused->message},
                    now.wall);
      p.look_after(settings_.hpa_sync_period);
      return p.write(update_of(autoscalers, std::move(next), "status")), p;
    }
    auto found = measured_.find(key);
    static const measurements nothing;
    return autoscaler_look(cluster, *hpa, found == measured_.end() ? nothing : found->second, histories_[key],
                           selectors_, settings_, now)
        .make();
  }

 private:
  // One after the other, as kube-controller-manager asks.
  static task<measurements> measure(shell& s, std::string key) {
    measurements out;
    json::value metrics;
    std::string selector;
    {
      auto cluster = s.now();
      auto hpa = cluster.get(autoscalers, key);
      auto target = hpa ? scale_of(cluster, *hpa) : scale();
      if (!target.object || target.selector.nothing() || target.selector.everything()) co_return out;
      metrics = (*hpa)["spec"]["metrics"];
      selector = target.selector.text();
    }
    const std::string ns(split_name(key).ns);
    bool usage_asked = false;
    for (std::size_t i = 0; i < metrics.size(); ++i) {
      if (metrics[i]["resource"].is_object() || metrics[i]["containerResource"].is_object()) {
        if (!std::exchange(usage_asked, true)) out.usage = co_await ask_pod_metrics(s.client(), ns, selector);
      } else {
        out.others.insert_or_assign(i, co_await ask_metric(s.client(), metrics[i], ns, selector));
      }
    }
    co_return out;
  }

  const settings settings_;
  std::map<std::string, scale_history, std::less<>> histories_;
  known_selectors selectors_;
  std::map<std::string, measurements, std::less<>> measured_;  // while a key is worked on
};

}  // namespace

std::unique_ptr<controller> make_autoscaler(const settings& s) { return std::make_unique<autoscaler>(s); }

}  // namespace kedge::control
