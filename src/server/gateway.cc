#include "server/gateway.h"

#include "json/write.h"
#include "meta/status.h"
#include "supervisor/serving_keeper.h"

namespace kedge::server {

namespace {
constexpr std::size_t known_names_max = 1024;  // that one loop remembers to have told; a scan has more
}

task<void> gateway::serve(net::http::exchange& e) {
  auto* f = here();
  if (!f) return starting(e);
  if (auto tell = tell_.load(std::memory_order_acquire)) notice(e, *tell);
  return f->serve(e);
}

void gateway::tell_names(std::function<void(std::vector<std::string>)> tell) {
  told_to_ = std::move(tell);
  tell_.store(&told_to_, std::memory_order_release);
}

std::size_t gateway::index() const {
  auto* l = &reactor::loop::current();
  for (std::size_t i = 0; i < loops_.size(); ++i)
    if (loops_[i] == l) return i;
  kedge_assert(false);
  return 0;
}

task<void> gateway::starting(net::http::exchange& e) {
  auto s = api::unavailable("starting");
  s.retry_after_seconds = 1;
  net::http::response r;
  r.status = 503;
  r.headers.add("Content-Type", "application/json");
  r.headers.add("Retry-After", "1");
  r.headers.add("Cache-Control", "no-cache, private");  // kubectl's cache on disk would repeat it for hours
  (void)co_await e.respond(r, json::write(s.to_json()) + "\n");
}

void gateway::notice(net::http::exchange& e, const std::function<void(std::vector<std::string>)>& tell) {
  auto& known = known_names_[index()];
  auto names = supervisor::names_used(e.request(), e.connection());
  std::erase_if(names,
                [&](const std::string& n) { return known.size() >= known_names_max || !known.insert(n).second; });
  if (!names.empty()) tell(std::move(names));
}

}  // namespace kedge::server
