#include "api/kinds/core/workload.h"

#include <fmt/format.h>

#include "api/kinds/core/pod_spec.h"
#include "api/kinds/core/pod_warnings.h"
#include "base/strings.h"
#include "meta/selector.h"

namespace kedge::api {
namespace {

bool selects_all(const json::value& selector) {
  return selector["matchLabels"].empty() && selector["matchExpressions"].empty();
}

}  // namespace

bool is_good_selector(const json::value& selector) {
  causes wrong;
  check_label_selector(wrong, selector, "");
  return wrong.empty();
}

bool check_workload_selector(causes& out, const json::value& selector, const place& at, std::string_view owner) {
  if (!selector.is_object()) {
    out.push_back(required(at));
    return true;
  }
  const auto before = out.size();
  check_label_selector(out, selector, at);
  const bool good = out.size() == before;
  if (selects_all(selector))
    out.push_back(invalid_value(at, selector, fmt::format("empty selector is invalid for {}", owner)));
  return good;
}

void check_template_selected(causes& out, const json::value& selector, const json::value& pod_template,
                             const place& at) {
  auto& labels = pod_template["metadata"]["labels"];
  if (!label_selector::from_object(selector).matches(labels))
    out.push_back(invalid_value(place(at, "metadata.labels"), labels, "`selector` does not match template `labels`"));
}

void check_restarts_always(causes& out, const json::value& template_spec, const place& at, std::string_view owner) {
  if (auto policy = template_spec["restartPolicy"].as_string(); policy != "Always")
    out.push_back(not_supported(place(at, "restartPolicy"), policy, {"Always"}));
  if (!template_spec["activeDeadlineSeconds"].is_null())
    out.push_back(forbidden_value(place(at, "activeDeadlineSeconds"),
                                  fmt::format("activeDeadlineSeconds in {} is not Supported", owner)));
}

void check_replica_template(causes& out, const json::value& spec, const place& at, const pod_options& options) {
  const place of_template(at, "template"), of_spec(of_template, "spec");
  check_template_selected(out, spec["selector"], spec["template"], of_template);
  check_pod_template(out, spec["template"], of_template, options);
  check_restarts_always(out, spec["template"]["spec"], of_spec, "ReplicaSet");
}

std::int64_t number_in(const json::value& v) {
  if (v.is_integer()) return v.as_integer();
  auto text = v.as_string();
  if (text.ends_with('%')) return static_cast<std::int64_t>(parse_uint(text.substr(0, text.size() - 1)).value_or(0));
  return parse_int(text).value_or(0);
}

void check_at_most_100_percent(causes& out, const json::value& v, const place& at) {
  if (v.as_string().ends_with('%') && number_in(v) > 100)
    out.push_back(invalid_value(at, v, "must not be greater than 100%"));
}

void check_counts(causes& out, const json::value& status, const place& at,
                  std::initializer_list<std::string_view> members) {
  for (auto member : members) not_negative(out, status, at, member);
}

void check_not_above(causes& out, const json::value& status, const place& at, std::string_view member,
                     std::string_view limit, std::string_view text) {
  auto count = status[member].as_integer();
  if (count > status[limit].as_integer()) out.push_back(invalid_value(place(at, member), count, text));
}

void check_collisions(causes& out, const json::value& o, const json::value& old) {
  auto &now = o["status"]["collisionCount"], &before = old["status"]["collisionCount"];
  if (before.is_integer() && now.as_integer() < before.as_integer())
    out.push_back(invalid_value("status.collisionCount", now.as_integer(), "cannot be decremented"));
}

bool is_new_generation(const json::value& o, const json::value* old) {
  return !old || !(o["metadata"]["generation"] == (*old)["metadata"]["generation"]);
}

void warn_workload(warnings& out, const json::value& o, const json::value* old) {
  if (!old) warn_name(out, o, "Pod names and hostnames");
  if (is_new_generation(o, old)) warn_pod_template(out, o["spec"]["template"], "spec.template");
}

}  // namespace kedge::api
