#include "api/audit/log.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <deque>
#include <mutex>
#include <vector>

#include "api/audit/limits.h"
#include "api/authorization/review.h"
#include "base/log.h"
#include "json/write.h"
#include "reactor/offload.h"

namespace kedge::api {
namespace {

json::value object_reference(const attributes& a) {
  json::value out{json::object{}};
  auto add = [&](std::string_view name, const std::string& value) {
    if (!value.empty()) out.set(name, value);
  };
  add("resource", a.resource);
  add("namespace", a.ns);
  add("name", a.name);
  add("apiGroup", a.api_group);
  add("apiVersion", a.api_version);
  add("subresource", a.subresource);
  return out;
}

}  // namespace

std::string audit_line(const audit_record& r, bool started) {
  json::value out;
  out.set("kind", "Event");
  out.set("apiVersion", "audit.k8s.io/v1");
  out.set("level", "Metadata");
  out.set("auditID", r.audit_id);
  out.set("stage", started ? "ResponseStarted" : "ResponseComplete");
  out.set("requestURI", r.uri);
  out.set("verb", r.request.verb);
  bool impersonated = !r.authenticated->name.empty();
  out.set("user", user_to_json(impersonated ? r.authenticated : r.request.user));
  if (impersonated) out.set("impersonatedUser", user_to_json(r.request.user));
  out.set("sourceIPs", json::array{json::value(r.source_address)});
  if (!r.user_agent.empty()) out.set("userAgent", r.user_agent);
  if (r.request.is_resource) out.set("objectRef", object_reference(r.request));
  if (r.code != 0) {
    json::value status{json::object{{"metadata", json::object{}}}};
    if (!r.reason.empty()) {
      status.set("status", "Failure");
      status.set("reason", r.reason);
    }
    status.set("code", r.code);
    out.set("responseStatus", std::move(status));
  }
  out.set("requestReceivedTimestamp", format_rfc3339_micro(r.received));
  out.set("stageTimestamp", format_rfc3339_micro(r.answered));
  json::value notes{json::object{}};
  if (!r.decision.empty()) {
    notes.set("authorization.k8s.io/decision", r.decision);
    notes.set("authorization.k8s.io/reason", r.decision_reason);
  }
  for (auto& [key, text] : r.annotations)
    if (!notes.find(key)) notes.set(key, text);
  if (!notes.empty()) out.set("annotations", std::move(notes));
  return json::write(out);
}

// The queue and the file. The queue's mutex is held for a push or a swap only; the file belongs to whoever has set
// `writing`, which is one job of the offload pool at a time (or flush()).
struct audit_log::file {
  audit_settings settings;
  std::mutex mutex;
  std::deque<std::string> waiting;
  bool writing = false;
  std::atomic<std::uint64_t> dropped{0};  // counted on any core, read for metrics: no order needed

  std::mutex file_mutex;  // between the pool's job and flush()
  int descriptor = -1;
  std::uint64_t size = 0;

  ~file() {
    if (descriptor >= 0) ::close(descriptor);
  }

  result<void> open_file() {
    // Audit events name users and objects: for root only, as kube-apiserver's.
    descriptor = ::open(settings.path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (descriptor < 0) return fail(os_error(errno, "open audit log " + settings.path));
    struct stat s{};
    size = ::fstat(descriptor, &s) == 0 ? static_cast<std::uint64_t>(s.st_size) : 0;
    return {};
  }

  // "audit.log" becomes "audit-2026-11-21T04-50-38.000.log", as lumberjack (which kube-apiserver uses) names it.
  void rotate() {
    auto slash = settings.path.rfind('/');
    auto dot = settings.path.rfind('.');
    if (dot == std::string::npos || (slash != std::string::npos && dot < slash)) dot = settings.path.size();
    auto stem = settings.path.substr(0, dot) + '-', ending = settings.path.substr(dot);
    auto now = system_wall_time();
    auto time = format_rfc3339_micro(now).substr(0, 23);  // to the millisecond
    std::replace(time.begin(), time.end(), ':', '-');
    ::close(std::exchange(descriptor, -1));
    if (::rename(settings.path.c_str(), (stem + time + ending).c_str()) != 0)
      log::error("audit log {} can't be rotated: {}", settings.path, os_error(errno, "rename").message);
    if (auto opened = open_file(); !opened) log::error("{}", opened.error().message);
    remove_old(stem, ending, now);
  }

  void remove_old(const std::string& stem, const std::string& ending, wall_time now) const {
    auto slash = stem.rfind('/');
    auto folder = slash == std::string::npos ? std::string(".") : stem.substr(0, slash + 1);
    auto prefix = slash == std::string::npos ? stem : stem.substr(slash + 1);
    std::vector<std::string> old;
    auto opened = ::opendir(folder.c_str());
    if (!opened) return;
    while (auto entry = ::readdir(opened)) {
      std::string_view name = entry->d_name;
      if (name.size() > prefix.size() + ending.size() && name.starts_with(prefix) && name.ends_with(ending))
        old.emplace_back(name);
    }
    ::closedir(opened);
    std::sort(old.rbegin(), old.rend());  // newest first: the time is in the name
    auto oldest = now - std::chrono::hours(24) * settings.max_age_days;
    for (std::size_t i = 0; i < old.size(); ++i) {
      auto path = (slash == std::string::npos ? std::string() : folder) + old[i];
      struct stat s{};
      bool aged = settings.max_age_days > 0 && ::stat(path.c_str(), &s) == 0 &&
                  wall_time(std::chrono::seconds(s.st_mtime)) < oldest;
      if ((settings.max_backups > 0 && i >= settings.max_backups) || aged) ::unlink(path.c_str());
    }
  }

  void write_all(std::string_view text) {
    if (settings.max_bytes > 0 && size > 0 && size + text.size() > settings.max_bytes) rotate();
    if (descriptor < 0 && !open_file()) return;
    while (!text.empty()) {
      auto n = ::write(descriptor, text.data(), text.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) {
        log::error("{}", os_error(errno, "write audit log " + settings.path).message);
        return;
      }
      size += static_cast<std::uint64_t>(n);
      text.remove_prefix(static_cast<std::size_t>(n));
    }
  }

  // Writes what waits, in batches, until nothing does.
  void drain() {
    std::scoped_lock own(file_mutex);
    for (;;) {
      std::string batch;
      {
        std::scoped_lock lock(mutex);
        while (!waiting.empty() && batch.size() < audit_batch_max_bytes) {
          batch += waiting.front();
          waiting.pop_front();
        }
        if (batch.empty()) {
          writing = false;
          return;
        }
      }
      write_all(batch);
    }
  }
};

result<std::shared_ptr<audit_log>> audit_log::open(audit_settings settings) {
  auto f = std::make_shared<file>();
  f->settings = std::move(settings);
  KEDGE_CHECK(f->open_file());
  return std::shared_ptr<audit_log>(new audit_log(std::move(f)));
}

audit_log::~audit_log() { flush(); }

void audit_log::record(const audit_record& r, bool started) {
  auto line = audit_line(r, started);
  line += '\n';
  bool start = false;
  {
    std::scoped_lock lock(file_->mutex);
    if (file_->waiting.size() >= audit_queue_max) {
      auto before = file_->dropped.fetch_add(1, std::memory_order_relaxed);
      if (before == 0) log::warning("audit log {}: the disk doesn't keep up, events are dropped", file_->settings.path);
      return;
    }
    file_->waiting.push_back(std::move(line));
    start = !std::exchange(file_->writing, true);
  }
  // The pool refuses when too much waits there: the next event tries again, what waits is kept.
  if (start && !reactor::offload_post([f = file_] { f->drain(); })) {
    std::scoped_lock lock(file_->mutex);
    file_->writing = false;
  }
}

void audit_log::flush() { file_->drain(); }

std::uint64_t audit_log::dropped() const noexcept { return file_->dropped.load(std::memory_order_relaxed); }

}  // namespace kedge::api
