#include "node/informer/informer.h"

#include <fmt/format.h>

#include "base/log.h"
#include "base/strings.h"
#include "json/parse.h"
#include "node/informer/limits.h"
#include "node/join/api_client.h"
#include "node/join/http_answer.h"
#include "node/limits.h"
#include "node/links/server_links.h"
#include "reactor/sync.h"

namespace kedge::node {

std::string key_of_object(const json::value& object) {
  auto& m = object["metadata"];
  auto ns = m["namespace"].as_string();
  return ns.empty() ? std::string(m["name"].as_string()) : std::string(ns) + "/" + std::string(m["name"].as_string());
}

result<informer> informer::make(std::string api_url, const std::string& ca, const client_identity& identity,
                                reactor::network* network) {
  KEDGE_TRY(auto tls, client_context(ca, identity));
  KEDGE_TRY(auto where, net::http::parse_url(api_url, std::move(tls)));
  informer i;
  i.target_ = std::move(where.first);
  i.http_ = std::make_unique<net::http::client>(network);
  return i;
}

result<void> informer::use(const std::string& ca, const client_identity& identity) {
  KEDGE_TRY(target_.tls, client_context(ca, identity));
  http_->forget_idle();
  renewed_->pulse();
  return {};
}

namespace {

std::string with_query(const std::string& path, const std::string& more) {
  return path + (path.contains('?') ? '&' : '?') + more;
}

net::http::client_request request(const net::http::target& to, std::string path) {
  net::http::client_request r{.to = to, .path = std::move(path)};
  r.headers.add("Accept", "application/json");
  r.headers.add("User-Agent", "kedge-node");
  return r;
}

}  // namespace

task<result<void>> informer::list(const std::string& path, kind_sink& into, std::string& version) {
  std::string go_on;
  into.begin_list();
  for (std::size_t pages = 0; pages < pages_max; ++pages) {
    auto page = with_query(
        path, fmt::format("limit={}", page_objects) + (go_on.empty() ? "" : "&continue=" + percent_encode(go_on)));
    auto deadline = reactor::loop::current().now() + request_deadline;
    auto answer = co_await reactor::with_deadline(http_->fetch(request(target_, page), page_bytes_max), deadline);
    if (!answer) co_return fail(std::move(answer).error().with(path + ": "));
    KEDGE_CO_TRY(auto text, body_or_error(*std::move(answer), path));
    KEDGE_CO_TRY(auto v, json::parse(text));
    text = {};
    for (std::size_t i = 0; i < v["items"].size(); ++i) {
      into.set(v["items"][i]);
      co_await reactor::maybe_yield();
    }
    version = v["metadata"]["resourceVersion"].as_string();
    go_on = v["metadata"]["continue"].as_string();
    if (go_on.empty()) {
      into.end_list();
      co_return result<void>();
    }
  }
  co_return fail(errc::too_large, path + ": more objects than a node can hold");
}

task<result<void>> informer::watch(const std::string& path, kind_sink& into, std::string& version,
                                   std::optional<time_point>& watching) {
  auto seconds = std::chrono::duration_cast<std::chrono::seconds>(watch_time).count();
  auto soon = reactor::loop::current().now() + request_deadline;
  auto until = soon + watch_time;
  auto full = with_query(
      path, fmt::format("watch=1&allowWatchBookmarks=true&timeoutSeconds={}&resourceVersion={}", seconds, version));
  KEDGE_CO_TRY(auto x, co_await reactor::with_deadline(http_->open(request(target_, full)), soon));
  KEDGE_CO_TRY(auto* head, co_await reactor::with_deadline(x->head(), soon));
  if (head->status == 410) version.clear();
  if (head->status != 200)
    co_return fail(errc::unavailable, fmt::format("the watch of {} was answered with status {}", path, head->status));
  watching = reactor::loop::current().now();
  std::string held;
  for (;;) {
    KEDGE_CO_TRY(auto piece, co_await reactor::with_deadline(x->read(), until));
    if (piece.empty()) co_return result<void>();
    held += as_text(piece.view());
    std::size_t begin = 0;
    for (auto end = held.find('\n'); end != std::string::npos; end = held.find('\n', begin)) {
      auto line = std::string_view(held).substr(begin, end - begin);
      begin = end + 1;
      if (trim(line).empty()) continue;
      KEDGE_CO_TRY(auto event, json::parse(line));
      auto type = event["type"].as_string();
      auto& object = event["object"];
      if (type == "ADDED" || type == "MODIFIED") {
        into.set(object);
      } else if (type == "DELETED") {
        into.remove(object);
      } else if (type != "BOOKMARK") {
        version.clear();  // too old: listed anew
        co_return fail(errc::expired, path + ": its watch ended: " + std::string(object["message"].as_string()));
      }
      version = object["metadata"]["resourceVersion"].as_string(version);
      co_await reactor::maybe_yield();
    }
    held.erase(0, begin);
    if (held.size() > event_bytes_max) {
      version.clear();
      co_return fail(errc::too_large, "an event of " + path + " is too large");
    }
  }
}

task<result<json::value>> informer::read(std::string path) {
  auto deadline = reactor::loop::current().now() + request_deadline;
  auto answer = co_await reactor::with_deadline(http_->fetch(request(target_, path), page_bytes_max), deadline);
  if (!answer) co_return fail(std::move(answer).error().with(path + ": "));
  KEDGE_CO_TRY(auto text, body_or_error(*std::move(answer), path));
  co_return json::parse(text);
}

task<void> informer::follow(std::string path, kind_sink& into) {
  std::string version, problem;
  watch_pace pace;
  for (;;) {
    result<void> done;
    std::optional<time_point> watching;
    if (version.empty()) done = co_await list(path, into, version);
    if (done) done = co_await reactor::with_stop(watch(path, into, version, watching), *renewed_);
    if (!done && done.error().code == errc::cancelled) watching = reactor::loop::current().now();  // renewed
    std::optional<duration> stood;
    if (watching) stood = reactor::loop::current().now() - *watching;
    auto now = done || stood ? std::string() : done.error().message;
    if (!now.empty() && now != problem) log::warning("{} can't be followed, and is tried again: {}", path, now);
    problem = std::move(now);
    co_await reactor::sleep_for(pace.next(stood, reactor::loop::current().random()));
  }
}

}  // namespace kedge::node
