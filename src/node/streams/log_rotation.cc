#include "node/streams/log_rotation.h"

#include "base/log.h"
#include "node/logs/log_files.h"
#include "reactor/offload.h"

namespace kedge::node {

namespace {

struct running_log {
  std::string container, path;
};

// The kubelet's: 20261130-030556.
std::string stamp_of(wall_time now) {
  std::string out;
  for (char c : format_rfc3339(now)) {
    if (c >= '0' && c <= '9') out += c;
    if (c == 'T') out += '-';
  }
  return out;
}

std::vector<running_log> running_logs(const pod_manager& pods) {
  std::vector<running_log> out;
  for (auto* pod : pods.all())
    for (auto& c : pod->seen().containers)
      if (c.state == container_state::running && !c.log_path.empty()) out.push_back({c.id, c.log_path});
  return out;
}

// Those that are too large, or that aren't there although something writes to them.
std::vector<running_log> due(const std::string& logs, std::vector<running_log> all, std::uint64_t bytes_max) {
  std::erase_if(all, [&](const running_log& l) {
    auto file = log_file::open(logs, l.path);
    return file ? (*file)->size() < bytes_max : file.error().code != errc::not_found;
  });
  return all;
}

task<result<void>> rotate(std::string logs, running_log l, pod_runtime& runtime, int files_max) {
  auto stamp = stamp_of(reactor::loop::current().wall_now());
  KEDGE_CO_TRY(auto moved, co_await reactor::offload([=] { return set_log_aside(logs, l.path, files_max, stamp); }));
  if (!moved && moved.error().code != errc::not_found) co_return moved;
  auto reopened = co_await runtime.reopen_log(l.container);
  if (reopened || !moved) co_return reopened;
  // It goes on writing to the old one: as if nothing had been done.
  (void)co_await reactor::offload([=] { return put_log_back(logs, l.path, stamp); });
  co_return reopened;
}

}  // namespace

task<void> keep_logs_small(const pod_manager& pods, pod_runtime& runtime, const kubelet_settings& settings) {
  if (settings.log_bytes_max == 0) co_return;
  auto logs = pods.settings().logs;
  for (;;) {
    co_await reactor::sleep_for(settings.log_look_interval);
    auto large = co_await reactor::offload([logs, all = running_logs(pods), most = settings.log_bytes_max]() mutable {
      return due(logs, std::move(all), most);
    });
    if (!large) continue;
    for (auto& l : *large) {
      auto done = co_await rotate(logs, l, runtime, settings.log_files_max);
      if (!done) log::warning("the log {} can't be begun anew: {}", l.path, done.error().message);
    }
  }
}

}  // namespace kedge::node
