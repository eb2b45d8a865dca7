#include "api/remote/remote.h"

#include <fmt/format.h>

#include <algorithm>

#include "api/remote/limits.h"
#include "base/strings.h"
#include "crypto/files.h"
#include "json/parse.h"
#include "reactor/loop.h"
#include "reactor/offload.h"
#include "reactor/sync.h"

namespace kedge::api {
namespace {

constexpr std::size_t shown_bytes = 200;  // of a body that comes with another status

// The next pause, and what it varies by.
duration grown(duration pause) { return std::chrono::duration_cast<duration>(pause * remote_backoff_factor); }
duration varied(duration pause) {
  const auto part = static_cast<double>(reactor::loop::current().random().next() % 1000) / 1000.0;
  return std::chrono::duration_cast<duration>(pause * (1.0 + remote_backoff_jitter * part));
}

}  // namespace

struct remote::attempt {
  result<net::http::client_response> answer;
  bool passing = false;  // what went wrong may be right the next time
};

remote::remote(std::shared_ptr<const remote_server> server, reactor::network* network)
    : server_(std::move(server)), client_(network) {}

task<result<std::string>> remote::authorization() {
  if (server_->token_file.empty()) co_return server_->authorization;
  const auto now = reactor::loop::current().now();
  if (token_.empty() || now - token_read_ > token_file_time) {
    auto read = co_await reactor::offload(
        [path = server_->token_file] { return crypto::read_file(path, token_file_max_bytes); });
    if (read && *read) {
      token_ = std::string(trim(**read));
      token_read_ = now;
    } else if (token_.empty()) {
      co_return fail(read ? std::move(*read).error() : std::move(read).error());
    }
  }
  co_return "Bearer " + token_;
}

task<result<net::http::client_request>> remote::make_request(std::string body, duration time) {
  KEDGE_CO_TRY(auto who, co_await authorization());
  net::http::client_request q;
  q.to = server_->to;
  if (!server_->tls_name.empty()) {
    q.authority = q.to.authority();
    if (q.to.at.address.empty()) {
      KEDGE_CO_TRY(auto addresses, co_await reactor::resolve(q.to.host));
      q.to.at.address = addresses.front();
    }
    q.to.host = server_->tls_name;
  }
  q.method = "POST";
  q.path = fmt::format("{}?timeout={}s", server_->path, std::chrono::ceil<std::chrono::seconds>(time).count());
  q.headers.add("Accept", "application/json, */*");
  q.headers.add("Content-Type", "application/json");
  q.headers.add("User-Agent", "kube-apiserver");
  if (!who.empty()) q.headers.add("Authorization", std::move(who));
  q.body = std::move(body);
  co_return q;
}

task<remote::attempt> remote::try_once(const std::string& body, duration time) {
  auto q = co_await make_request(body, time);
  if (!q) co_return attempt{fail(std::move(q).error()), false};
  auto answer = co_await reactor::with_deadline(client_.fetch(*std::move(q), remote_answer_max_bytes),
                                                reactor::loop::current().now() + time);
  if (!answer) {
    const auto code = answer.error().code;
    co_return attempt{std::move(answer), code == errc::closed || code == errc::io};
  }
  if (answer->status >= 200 && answer->status < 300) co_return attempt{std::move(answer), false};
  const bool passing =
      answer->status == 429 || answer->status == 500 || answer->status == 504 || answer->headers.has("Retry-After");
  co_return attempt{fail(errc::unavailable,
                         fmt::format("it answered {} {}: {}", answer->status, net::http::reason_phrase(answer->status),
                                     answer->body.substr(0, shown_bytes))),
                    passing};
}

task<result<net::http::client_response>> remote::post(std::string body, remote_patience patience) {
  auto pause = patience.first_pause;
  for (int i = 1;; ++i) {
    auto done = co_await try_once(body, patience.attempt_time);
    if (done.answer || i == remote_attempts || !(done.passing || patience.whatever_happened))
      co_return std::move(done.answer);
    co_await reactor::sleep_for(varied(pause));
    pause = grown(pause);
  }
}

task<result<json::value>> remote::ask(std::string body, remote_patience patience) {
  KEDGE_CO_TRY(auto answer, co_await post(std::move(body), patience));
  auto value = json::parse(answer.body);
  if (!value) co_return fail(std::move(value).error().with("its answer is no JSON: "));
  co_return std::move(value);
}

task<result<void>> remote::tell(std::string body, remote_patience patience) {
  KEDGE_CO_CHECK(co_await post(std::move(body), patience));
  co_return result<void>();
}

}  // namespace kedge::api
