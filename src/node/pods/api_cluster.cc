#include "node/pods/api_cluster.h"

#include <fmt/format.h>

#include "base/strings.h"

namespace kedge::node {

namespace {

using json::value;

std::string pod_path(const value& pod) {
  auto& m = pod["metadata"];
  return fmt::format("/api/v1/namespaces/{}/pods/{}", m["namespace"].as_string(), m["name"].as_string());
}

std::string certificate_requests_of(std::string_view ns) {
  return fmt::format("/apis/certificates.k8s.io/v1/namespaces/{}/podcertificaterequests", ns);
}

// Held while a request is under way, dropped or not.
class turn {
 public:
  explicit turn(reactor::semaphore& s) : semaphore_(s) {}
  turn(const turn&) = delete;
  turn& operator=(const turn&) = delete;
  ~turn() { semaphore_.release(); }

 private:
  reactor::semaphore& semaphore_;
};

}  // namespace

task<result<std::optional<value>>> api_pod_cluster::object(std::string path) {
  co_await requests_.acquire();
  turn mine(requests_);
  auto found = co_await api_.get(std::move(path), object_bytes_max);
  if (!found && found.error().code == errc::not_found) co_return std::optional<value>();
  if (!found) co_return fail(std::move(found).error());
  co_return std::optional<value>(*std::move(found));
}

task<result<std::optional<value>>> api_pod_cluster::kept(std::string path, time_point since) {
  auto& loop = reactor::loop::current();
  const auto asked = loop.now();
  if (auto* known = kept_.find(path, since, asked)) co_return *known;
  KEDGE_CO_TRY(auto found, co_await object(path));
  kept_.keep(std::move(path), found, asked, loop.now());
  co_return found;
}

task<result<std::optional<value>>> api_pod_cluster::config_map(std::string ns, std::string name, time_point since) {
  return kept(fmt::format("/api/v1/namespaces/{}/configmaps/{}", ns, name), since);
}
task<result<std::optional<value>>> api_pod_cluster::secret(std::string ns, std::string name, time_point since) {
  return kept(fmt::format("/api/v1/namespaces/{}/secrets/{}", ns, name), since);
}

task<result<std::vector<value>>> api_pod_cluster::services(std::string ns, time_point since) {
  std::vector<value> out;
  KEDGE_CO_TRY(auto list, co_await kept(fmt::format("/api/v1/namespaces/{}/services", ns), since));
  if (list)
    if (auto* items = (*list)["items"].array())
      for (auto& s : *items) out.push_back(s);
  if (ns == "default") co_return out;
  KEDGE_CO_TRY(auto master, co_await kept("/api/v1/namespaces/default/services/kubernetes", since));
  if (master) out.push_back(*std::move(master));
  co_return out;
}

task<result<value>> api_pod_cluster::token(std::string ns, std::string account, value spec) {
  co_await requests_.acquire();
  turn mine(requests_);
  value request(
      json::object{{"apiVersion", "authentication.k8s.io/v1"}, {"kind", "TokenRequest"}, {"spec", std::move(spec)}});
  KEDGE_CO_TRY(auto answer, co_await api_.create(
                                fmt::format("/api/v1/namespaces/{}/serviceaccounts/{}/token", ns, account), request));
  co_return answer["status"];
}

task<result<value>> api_pod_cluster::request_certificate(std::string ns, value request) {
  co_await requests_.acquire();
  turn mine(requests_);
  co_return co_await api_.create(certificate_requests_of(ns), request);
}

task<result<std::optional<value>>> api_pod_cluster::certificate_request(std::string ns, std::string name) {
  return object(certificate_requests_of(ns) + "/" + name);
}

task<result<value>> api_pod_cluster::patch_status(const value& pod, value patch) {
  auto path = pod_path(pod) + "/status";
  co_await requests_.acquire();
  turn mine(requests_);
  co_return co_await api_.strategic_patch(std::move(path), patch);
}

task<result<value>> api_pod_cluster::patch_claim_status(const value& claim, value patch) {
  auto& m = claim["metadata"];
  auto path = fmt::format("/api/v1/namespaces/{}/persistentvolumeclaims/{}/status", m["namespace"].as_string(),
                          m["name"].as_string());
  co_await requests_.acquire();
  turn mine(requests_);
  co_return co_await api_.merge_patch(std::move(path), patch);
}

task<result<void>> api_pod_cluster::remove(const value& pod) {
  auto path = pod_path(pod);
  value options(json::object{{"apiVersion", "v1"},
                             {"kind", "DeleteOptions"},
                             {"gracePeriodSeconds", 0},
                             {"preconditions", json::object{{"uid", pod["metadata"]["uid"]}}}});
  co_await requests_.acquire();
  turn mine(requests_);
  KEDGE_CO_TRY(auto done, co_await api_.remove(std::move(path), options));
  (void)done;
  co_return result<void>();
}

task<result<value>> api_pod_cluster::create(value pod) {
  co_await requests_.acquire();
  turn mine(requests_);
  co_return co_await api_.create(fmt::format("/api/v1/namespaces/{}/pods", pod["metadata"]["namespace"].as_string()),
                                 pod);
}

void api_pod_cluster::tell(const value& pod, std::string container, bool warning, std::string reason,
                           std::string message) {
  events_.tell(pod, container, warning, std::move(reason), std::move(message));
}

}  // namespace kedge::node
