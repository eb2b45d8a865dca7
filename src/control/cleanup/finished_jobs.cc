// finished_jobs.cc: Jobs go some time after they have finished (ttl-after-finished-controller, KEP-592).
#include "control/conditions.h"
#include "control/controllers.h"
#include "control/owners.h"

namespace kedge::control {
namespace {

const api::resource_id jobs{"batch", "v1", "jobs"};

std::optional<wall_time> finished_at(const json::value& job) {
  for (auto type : {"Complete", "Failed"})
    if (auto& c = condition_of(job, type); c["status"].as_string() == "True") {
      auto t = parse_rfc3339(c["lastTransitionTime"].as_string());
      return t ? std::optional(*t) : std::nullopt;
    }
  return std::nullopt;
}

plan look(const view& cluster, const std::string& key, const moment& now) {
  plan p;
  auto job = cluster.get(jobs, key);
  if (!job || is_deleting(*job)) return p;
  auto& ttl = (*job)["spec"]["ttlSecondsAfterFinished"];
  auto finished = finished_at(*job);
  if (!ttl.is_integer() || !finished) return p;
  auto end = *finished + std::chrono::seconds(ttl.as_integer());
  if (end > now.wall) return p.look_after(end - now.wall), p;
  return p.write(removal_of(jobs, *job, {.propagation_policy = "Foreground"})), p;
}

void finished_key(const seen& s, keys& k) {
  if (!s.deleted() && s.value()["spec"]["ttlSecondsAfterFinished"].is_integer() && finished_at(s.value()))
    own_key(s, k);
}

}  // namespace

std::unique_ptr<controller> make_finished_jobs(const settings&) {
  return plain_controller({{jobs, finished_key}}, look);
}

}  // namespace kedge::control
