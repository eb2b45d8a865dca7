#include "node/informer/watch.h"

#include <fmt/format.h>

#include "base/log.h"
#include "json/parse.h"
#include "node/limits.h"
#include "node/links/server_links.h"
#include "reactor/sync.h"

namespace kedge::node {

namespace {

// Without the fields that only their managers read: most of an object's bytes.
json::value trimmed(json::value object) {
  object.member("metadata").erase("managedFields");
  return object;
}

class one_watch {
 public:
  one_watch(api_client& api, std::string path, watch_sink& sink) : api_(api), path_(std::move(path)), sink_(sink) {}

  // A list and a watch, until that ends. `since`: when it stood.
  task<result<void>> run(std::optional<time_point>& since) {
    KEDGE_CO_TRY(auto list, co_await api_.get(path_, pods_bytes_max));
    auto version = std::string(list["metadata"]["resourceVersion"].as_string());
    std::vector<json::value> all;
    if (auto* items = list.member("items").array())
      for (auto& one : *items) all.push_back(trimmed(std::move(one)));
    list = {};
    sink_.listed(std::move(all));
    auto seconds = std::chrono::duration_cast<std::chrono::seconds>(watch_time).count();
    auto path = fmt::format("{}{}watch=1&allowWatchBookmarks=true&timeoutSeconds={}&resourceVersion={}", path_,
                            path_.contains('?') ? '&' : '?', seconds, version);
    auto soon = reactor::loop::current().now() + request_deadline;
    auto until = soon + watch_time;
    KEDGE_CO_TRY(auto x, co_await reactor::with_deadline(api_.open(std::move(path)), soon));
    KEDGE_CO_TRY(auto* head, co_await reactor::with_deadline(x->head(), soon));
    if (head->status != 200)
      co_return fail(errc::unavailable,
                     fmt::format("the watch of {} was answered with status {}", path_, head->status));
    since = reactor::loop::current().now();
    for (;;) {
      KEDGE_CO_TRY(auto piece, co_await reactor::with_deadline(x->read(), until));
      if (piece.empty()) co_return result<void>();
      held_ += as_text(piece.view());
      if (held_.size() > pods_bytes_max) co_return fail(errc::too_large, "an event of " + path_ + " is too large");
      KEDGE_CO_CHECK(co_await take_lines());
    }
  }

 private:
  task<result<void>> take_lines() {
    std::size_t at = 0;
    for (auto end = held_.find('\n'); end != std::string::npos; end = held_.find('\n', at)) {
      KEDGE_CO_TRY(auto event, json::parse(std::string_view(held_).substr(at, end - at)));
      at = end + 1;
      auto type = event["type"].as_string();
      if (type == "ADDED" || type == "MODIFIED")
        sink_.changed(trimmed(std::move(event.member("object"))));
      else if (type == "DELETED")
        sink_.removed(std::move(event.member("object")));
      else if (type != "BOOKMARK")
        co_return fail(errc::expired, "its watch ended: " + std::string(event["object"]["message"].as_string()));
      co_await reactor::maybe_yield();
    }
    held_.erase(0, at);
    co_return result<void>();
  }

  api_client& api_;
  const std::string path_;
  watch_sink& sink_;
  std::string held_;
};

}  // namespace

task<void> watch_collection(api_client& api, std::string name, std::string path, watch_sink sink) {
  watch_pace pace;
  std::string problem;
  for (;;) {
    std::optional<time_point> since;
    one_watch w(api, path, sink);
    auto ended = co_await reactor::with_stop(w.run(since), api.renewed());
    if (!ended && ended.error().code == errc::cancelled) since = reactor::loop::current().now();  // renewed
    std::optional<duration> stood;
    if (since) stood = reactor::loop::current().now() - *since;
    auto now = ended || stood ? std::string() : ended.error().message;
    if (!now.empty() && now != problem) log::warning("{} can't be watched: {}", name, now);
    problem = std::move(now);
    co_await reactor::sleep_for(pace.next(stood, reactor::loop::current().random()));
  }
}

}  // namespace kedge::node
