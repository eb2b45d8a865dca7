// cleaning.cc: certificate requests go when nobody needs them any more (certificatesigningrequest-cleaner-controller):
// an hour after they were decided, a day after they were made or approved and got no certificate, and when that has
// expired. Those of pods go a quarter of an hour after they were made, whatever became of them: whoever asked has the
// answer by then, or asks anew (podcertificaterequest-cleaner-controller).
#include <algorithm>

#include "base/strings.h"
#include "control/certificates/requests.h"
#include "control/controllers.h"
#include "control/owners.h"
#include "crypto/certificate.h"

namespace kedge::control {

namespace {

const api::resource_id pod_requests{"certificates.k8s.io", "v1", "podcertificaterequests"};
constexpr duration pods_for = std::chrono::minutes(15);
constexpr duration decided_for = std::chrono::hours(1), undecided_for = std::chrono::hours(24);

std::optional<wall_time> time_at(const json::value& v) {
  auto t = parse_rfc3339(v.as_string());
  return t ? std::optional(*t) : std::nullopt;
}

std::optional<wall_time> end_of_certificate(const json::value& request) {
  auto pem = unbase64(request["status"]["certificate"].as_string());
  if (!pem) return std::nullopt;
  auto chain = crypto::parse_bundle(*pem);
  return chain ? std::optional(chain->front().not_after()) : std::nullopt;
}

// When a request is too old; nullopt: not by what it says now.
std::optional<wall_time> end_of_request(const json::value& request) {
  std::optional<wall_time> end;
  auto at = [&](std::optional<wall_time> when) {
    if (when) end = end ? std::min(*end, *when) : *when;
  };
  auto after = [&](std::optional<wall_time> since, duration d) {
    if (since) at(*since + d);
  };
  auto& conditions = request["status"]["conditions"];
  const bool issued = has_certificate(request);
  if (conditions.empty()) after(time_at(request["metadata"]["creationTimestamp"]), undecided_for);
  for (std::size_t i = 0; i < conditions.size(); ++i) {
    auto type = conditions[i]["type"].as_string();
    auto updated = time_at(conditions[i]["lastUpdateTime"]);
    if (type == "Denied" || type == "Failed") after(updated, decided_for);
    if (type != "Approved") continue;
    after(updated, issued ? decided_for : undecided_for);
    if (issued) at(end_of_certificate(request));
  }
  return end;
}

std::optional<wall_time> end_of_pod_request(const json::value& request) {
  auto made = time_at(request["metadata"]["creationTimestamp"]);
  return made ? std::optional(*made + pods_for) : std::nullopt;
}

plan go_in_time(const api::resource_id& what, const json::value* request,
                std::optional<wall_time> (*end_of)(const json::value&), const moment& now) {
  plan p;
  auto end = request && !is_deleting(*request) ? end_of(*request) : std::nullopt;
  if (!end) return p;
  if (now.wall > *end) return p.write(removal_of(what, *request));
  return p.look_after(*end - now.wall + std::chrono::seconds(1));
}

plan look(const view& cluster, const std::string& key, const moment& now) {
  return go_in_time(certificate_requests, cluster.get(certificate_requests, key), end_of_request, now);
}

plan look_at_pods(const view& cluster, const std::string& key, const moment& now) {
  return go_in_time(pod_requests, cluster.get(pod_requests, key), end_of_pod_request, now);
}

}  // namespace

std::unique_ptr<controller> make_certificate_cleaner(const settings&) {
  return plain_controller({{certificate_requests, living_key}}, look);
}

std::unique_ptr<controller> make_pod_certificate_cleaner(const settings&) {
  return plain_controller({{pod_requests, living_key}}, look_at_pods);
}

}  // namespace kedge::control
