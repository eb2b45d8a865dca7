#include "server/own_api.h"

#include "reactor/sync.h"

namespace kedge::server {

namespace {
constexpr auto answer_time = std::chrono::seconds(30);
}

own_api::own_api(const shared& s) : client_(s.where.network) {
  auto& cluster = s.settings.cluster;
  target_ = {.at = {cluster.own_host(), cluster.https_port}, .host = {}, .tls = s.self.to_servers};
}

task<result<api::raw_answer>> own_api::ask(api::user_ref as, api::raw_request q) {
  net::http::client_request r{.to = target_, .method = std::move(q.method), .path = std::move(q.path)};
  r.headers.add("Accept", std::move(q.accept));
  if (!q.body.empty()) r.headers.add("Content-Type", std::move(q.content_type));
  r.body = std::move(q.body);
  r.headers.add("User-Agent", "kube-controller-manager");
  r.headers.add("Impersonate-User", as->name);
  for (auto& group : as->groups) r.headers.add("Impersonate-Group", group);
  auto answer =
      co_await reactor::with_deadline(client_.fetch(std::move(r)), reactor::loop::current().now() + answer_time);
  if (!answer) co_return std::unexpected(std::move(answer).error());
  co_return api::raw_answer{answer->status, std::move(answer->body)};
}

}  // namespace kedge::server
