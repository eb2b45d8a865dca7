// handler.h: the API server as an HTTP handler. One instance a core.
//
//   exchange ─▶ audit id ─▶ request info ─▶ who (401) ─▶ impersonation (403) ─▶ flow ─▶ may they (403) ─▶ body ─▶ a
//   seat (429) ─▶ mux
//                                                                                                                          │
//      /healthz /livez /readyz /version /metrics / /api /apis /openapi ├─▶ paths.cc resources └─▶ verbs.cc
//
// Everything in `api_parts` must outlive the handler.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "api/aggregation/backend.h"
#include "api/aggregation/documents.h"
#include "api/answer/answer.h"
#include "api/audit/trail.h"
#include "api/authentication/authenticator.h"
#include "api/authorization/authorization.h"
#include "api/fairness/body_budget.h"
#include "api/fairness/flow_control.h"
#include "api/limits.h"
#include "api/metrics/metrics.h"
#include "api/metrics/request_metrics.h"
#include "api/publish/component_pages.h"
#include "api/publish/discovery.h"
#include "api/publish/health.h"
#include "api/read/watching.h"
#include "api/request/request.h"
#include "api/tracing/collector.h"
#include "api/usage/usage.h"
#include "api/write/storage.h"
#include "api/write/subresources.h"
#include "base/kubernetes_version.h"
#include "net/http/handler.h"

namespace kedge::api {

namespace custom {
class tables;
}

struct version_info {
  std::string git_version = kedge_version;
  std::string git_commit, build_date, platform = "linux/amd64";
};

// What one request is, all the way from the filters to the answer.
struct api_request {
  net::http::exchange& http;
  request_info info;                                         // with who asks
  std::shared_ptr<const registry> tables;                    // what is served while this request runs
  std::shared_ptr<const aggregation::service_table> others;  // and what by other servers
  query_values query;
  reply answer;
  time_point received{}, deadline{};
  wall_time received_wall{};
  duration waited{};     // for a seat
  bool allowed = false;  // by the authorizers
  api_result<std::string> body =
      std::string();                  // 413, 408 … when it could not be read; whoever wants it tells the client
  fairness::body_budget::share room;  // of the body's
  fairness::flow flow;
  fairness::seat seat;                           // refers to `flow` and `info`
  std::unique_ptr<audit_trail> trail = nullptr;  // null: nothing is told of it
  tracing::live_span trace, work;                // the whole of it, and its verb's part; request_trace.h
};

// Parts of other folders that answer resources which are not stored: reviews, tokens; and streams to nodes: log, exec.
struct virtual_resource {
  // Whether create() answers this POST.
  std::function<bool(std::string_view group, std::string_view resource, std::string_view subresource)> handles;
  virtual_create create;
  // Answers subresources that lead to a node (log, exec, attach, portforward, proxy); null: 503. `rest`: what follows
  // the subresource in the path, as received, with its leading slash.
  std::function<task<void>(net::http::exchange&, const authorized& to, std::string rest)> connect;
};

// A path with a fixed answer, which anyone may keep for an hour.
struct public_document {
  std::string path, type, body;
};

// Other API servers behind this one.
struct other_servers {
  aggregation::services* services = nullptr;  // this core's; null: there are none
  aggregation::backend* ways = nullptr;       // this core's
  // What they serve, as it is known now; from any core.
  std::function<task<std::shared_ptr<const aggregation::documents>>()> documents = nullptr;
};

struct api_parts {
  store::store& objects;
  authenticator& who;
  authorizer& may;
  admission& rules;
  health& checks;
  metrics& measures;
  audit_sink* audit = nullptr;           // null: nothing is told of requests
  tracing::collector* traces = nullptr;  // null: there are none here
  service_ranges ranges;
  virtual_resource virtuals;
  version_info version;
  std::string server_address;        // "10.0.0.1:6443", for /api
  custom::tables* custom = nullptr;  // this core's; null: built-in resources only
  other_servers others = {};
  usage_source usage = {};  // behind metrics.k8s.io, when the tables have it
  std::vector<public_document> documents = {};
  std::shared_ptr<const flag_values> flags = nullptr;  // what /flagz tells; null: nothing
  // This core's, and the server's; null: everything is served at once.
  fairness::gate* gate = nullptr;
  fairness::flow_control* flows = nullptr;
  fairness::body_budget* bodies = nullptr;
  std::size_t core = 0, cores = 1;          // which of how many
  duration request_time = request_timeout;  // of requests that aren't long-running; `timeout=` may only shorten it
  storage::outdated outdated = nullptr;     // what is to be written anew by an update without a change
};

class api_handler final : public net::http::handler {
 public:
  explicit api_handler(api_parts parts);
  ~api_handler() override;

  task<void> serve(net::http::exchange& e) override;

  storage& writes() noexcept { return storage_; }
  // One of the parts' documents says something else from now on.
  void replace_document(std::string_view path, std::string body);

 private:
  // Everything but the stream of a watch, which `watch` then is. Out of line, so that its frame is not part of serve's,
  // which an idle watch keeps. `watching` is its request.
  [[gnu::noinline]] task<void> answer(fairness::watched_exchange& e, std::unique_ptr<prepared_watch>& watch,
                                      std::unique_ptr<api_request>& watching);
  // Fills in what the filters find: what they may do. nullopt when the request has been answered already.
  task<std::optional<permission>> filter(api_request& r);
  // Lets the request be another user's, when its headers want that. 400, 403.
  task<api_result<void>> take_role(api_request& r);
  task<void> refuse(api_request& r, const status& s);
  task<void> finish(api_request& r);
  // What the policy wants to be told of it; null when that is nothing.
  std::unique_ptr<audit_trail> make_trail(const api_request& r) const;
  // Of a request whose user is known. False: it may not go on.
  task<bool> begin_trail(api_request& r);
  // Of one whose user isn't.
  task<void> refuse_unknown(api_request& r, const status& s);
  void measure(api_request& r);
  request_labels labels_for(const api_request& r) const;

  // entering.cc
  task<void> take_body(api_request& r);
  fairness::work cost_of(const api_request& r) const;
  // A place to run for it; false when it has been refused.
  task<bool> wait_for_seat(api_request& r, fairness::work cost);
  task<void> serve_fairness(api_request& r, std::string_view what);

  // others.cc
  aggregation::api_service_ref other_server(const api_request& r) const;
  task<void> hand_over(api_request& r, aggregation::api_service_ref to);
  task<std::shared_ptr<const aggregation::documents>> documents_of_others(const api_request& r);
  // What is served, here and by others: made when it is first asked for after a change.
  task<std::shared_ptr<const discovery>> discover(const api_request& r);

  // paths.cc
  task<void> serve_path(api_request& r, const permission& may);
  task<void> serve_discovery(api_request& r, std::string_view path);
  task<void> serve_component_page(api_request& r, bool flags);
  task<void> serve_aggregated(api_request& r, bool core, std::string content_type);
  task<void> serve_openapi(api_request& r, std::string_view path);
  task<void> send_plain(api_request& r, int code, std::string body, std::string type = "text/plain; charset=utf-8");
  std::vector<std::string> all_paths(const discovery& d) const;

  // verbs.cc: what follows from a permission. What is read, written, watched or connected to is named by an
  // `authorized` alone.
  task<const served*> find_served(api_request& r);
  task<void> serve_resource(api_request& r, permission may, std::unique_ptr<prepared_watch>& watch);
  task<void> serve_get(api_request& r, const authorized& to);
  task<void> serve_list(api_request& r, const authorized& to);
  task<api_result<void>> start_watch(api_request& r, const authorized& to, std::unique_ptr<prepared_watch>& watch);
  task<void> serve_write(api_request& r, authorized to);
  task<api_result<written>> write(api_request& r, call& c);
  // The request's body, once it may be worked on; and the object that it is.
  task<api_result<std::string>> read_body(api_request& r, call& c);
  task<api_result<json::value>> read_own_object(api_request& r, call& c);
  task<api_result<written>> create(api_request& r, call& c);
  task<api_result<written>> update(api_request& r, call& c);
  task<api_result<written>> patch(api_request& r, call& c);
  task<api_result<written>> remove(api_request& r, call& c);
  task<void> serve_delete_collection(api_request& r, const authorized& to);
  task<void> serve_subresource(api_request& r, authorized to);
  task<void> serve_connect(api_request& r, authorized to, const served_subresource& sub);
  task<void> serve_virtual(api_request& r, authorized to);
  // What a write found beside its outcome.
  static void take_findings(api_request& r, call& c);
  task<void> serve_usage(api_request& r, const authorized& to);  // usage/requests.cc

  api_parts parts_;
  const wall_time started_;
  std::shared_ptr<const discovery> discovery_;  // and what it was made of
  std::shared_ptr<const registry> discovered_tables_;
  std::shared_ptr<const aggregation::documents> discovered_documents_;
  std::shared_ptr<const aggregation::service_table> discovered_others_;
  authorization authorization_;
  storage storage_;
  metric_cell &reads_running_, &writes_running_;
  request_metrics requests_;
  metric_cell &known_users_, &unknown_users_;
};

}  // namespace kedge::api
