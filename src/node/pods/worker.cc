#include "node/pods/worker.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "base/log.h"
#include "base/strings.h"
#include "crypto/files.h"
#include "json/parse.h"
#include "json/write.h"
#include "node/limits.h"
#include "node/logs/log_files.h"
#include "node/logs/log_lines.h"
#include "node/pods/env_files.h"
#include "node/pods/static_pods.h"
#include "reactor/offload.h"

namespace kedge::node {

namespace {

using json::value;
using reactor::loop;

bool is_newer(const sandbox_info& a, const sandbox_info& b) {
  return a.created_at != b.created_at ? a.created_at > b.created_at : a.attempt > b.attempt;
}
bool was_made_later(const container_info& a, const container_info& b) {
  return a.created_at != b.created_at ? a.created_at > b.created_at : a.attempt > b.attempt;
}

// --- what a container said at its end

// The end of a file, which a container may have put there: a pipe would never end.
std::string read_end(const std::string& path, std::size_t most) {
  auto fd = ::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
  if (fd < 0) return {};
  struct stat about{};
  std::string out;
  if (::fstat(fd, &about) == 0 && S_ISREG(about.st_mode)) {
    out.resize(most);
    if (auto size = static_cast<std::size_t>(about.st_size); size > most)
      ::lseek(fd, static_cast<off_t>(size - most), SEEK_SET);
    std::size_t there = 0;
    for (ssize_t n = 0; there < most && (n = ::read(fd, out.data() + there, most - there)) > 0;)
      there += static_cast<std::size_t>(n);
    out.resize(there);
  }
  ::close(fd);
  return out;
}

// The last lines of a container's log, without what CRI writes in front of each.
std::string read_log_end(const std::string& logs, const std::string& path) {
  auto log = log_file::open(logs, path);
  if (!log) return {};
  auto size = (*log)->size();
  auto from = size - std::min<std::uint64_t>(size, 2 * message_from_log_max);
  auto text = (*log)->read(from, 2 * message_from_log_max).value_or(std::string());
  if (from > 0) text.erase(0, text.find('\n') + 1);
  return end_of_log(text, message_lines_max, message_from_log_max);
}

std::string termination_message(const std::string& logs, const container_seen& c) {
  auto path = find(c.annotations, note_message_path);
  std::string text;
  for (auto& m : c.mounts)
    if (m.container_path == path && !path.empty()) text = read_end(m.host_path, message_max);
  if (text.empty() && c.exit_code != 0 && find(c.annotations, note_message_policy) == "FallbackToLogsOnError")
    text = read_log_end(logs, c.log_path);
  if (text.empty()) return c.message;
  return c.message.empty() ? text : c.message + ": " + text;
}

// The attempt that a container begins with which the runtime knows nothing of: behind those whose logs are there.
int restarts_by_logs(const std::string& folder) {
  int out = 0;
  std::error_code problem;
  for (auto it = std::filesystem::directory_iterator(folder, problem);
       !problem && it != std::filesystem::directory_iterator(); it.increment(problem)) {
    auto name = it->path().filename().string();
    auto n = parse_uint(name.substr(0, name.find('.')));
    if (n && name.contains(".log")) out = std::max(out, static_cast<int>(*n) + 1);
  }
  return out;
}

std::string hex_name() { return fmt::format("{:08x}", static_cast<std::uint32_t>(loop::current().random().next())); }

}  // namespace

pod_worker::pod_worker(worker_shares parts, value pod, bool gone)
    : parts_(std::move(parts)),
      asked_(std::make_shared<const value>(std::move(pod))),
      pod_(as_allocated(asked_, parts_.allocations.allocated((*asked_)["metadata"]["uid"].as_string()))),
      heard_at_(loop::current().now()),
      is_static_((*pod_)["metadata"]["annotations"][note_config_source].as_string() == "file"),
      gone_(gone),
      wanted_((*pod_)["status"]),
      told_(wanted_),
      probing_({.runtime = parts_.runtime,
                .network = parts_.network,
                .changed = [this] { changed_.set(); },
                .tell = [this](const std::string& c, std::string reason,
                               std::string message) { tell(c, true, std::move(reason), std::move(message)); }}) {
  remember_resize();
  if (gone_) gone_event_.set();
  if (gone_ || is_being_deleted(*pod_)) end();
}

void pod_worker::end() {
  ends_.set();
  changed_.set();
  // Another grace than before: whoever waits for containers to end asks anew.
  auto& grace = (*pod_)["metadata"]["deletionGracePeriodSeconds"];
  auto now = grace.as_integer(-1);
  if (grace_told_ >= 0 && now >= 0 && now < grace_told_) hurried_.pulse();
  if (now >= 0) grace_told_ = now;
}

void pod_worker::update(value pod) {
  // A watch may tell of a state that an answer has overtaken.
  auto version = [](const value& p) { return parse_uint(p["metadata"]["resourceVersion"].as_string()).value_or(0); };
  if (auto next = version(pod); next != 0 && next <= version(*pod_)) return;
  take(std::move(pod));
  heard_at_ = loop::current().now();
  auto& api = (*pod_)["status"];
  // Somebody else's word against ours: ours is told again.
  bool differs = api["phase"] != wanted_["phase"];
  for (auto type : {std::string_view("Ready"), std::string_view("ContainersReady"), resize_pending, resize_under_way})
    differs |= condition_status_of(api, type) != condition_status_of(wanted_, type);
  if (differs) {
    told_ = value();
    status_changed_.set();
  }
  if (is_being_deleted(*pod_)) end();
  changed_.set();
}

void pod_worker::mirror(std::shared_ptr<const value> m) {
  mirror_ = std::move(m);
  told_ = value();
  status_changed_.set();
}

void pod_worker::gone() {
  gone_ = true;
  gone_event_.set();
  status_told_.pulse();
  end();
}

void pod_worker::fail_pod(waiting_reason why) {
  failure_ = std::move(why);
  end();
}

void pod_worker::evict(waiting_reason why, std::int64_t grace_seconds, bool for_node) {
  eviction_grace_ = grace_seconds;
  disrupted_ = for_node;
  hurried_.pulse();
  fail_pod(std::move(why));
}

void pod_worker::reject(waiting_reason why) {
  rejected_ = true;
  ended_ = true;  // those that are looked at next don't find its requests taken
  fail_pod(std::move(why));
}

void pod_worker::tell(std::string container, bool warning, std::string reason, std::string message) {
  if (!gone_) parts_.cluster.tell(*pod_, std::move(container), warning, std::move(reason), std::move(message));
}

// --- looking

task<result<container_seen>> pod_worker::describe(container_info info) {
  if (auto known = described_.find(info.id); known != described_.end() && known->second.state == info.state)
    co_return known->second;
  KEDGE_CO_TRY(auto status, co_await parts_.runtime.status_of_container(info.id));
  container_seen c;
  static_cast<container_status&>(c) = std::move(status);
  c.sandbox_id = info.sandbox_id;
  c.name = info.name;
  c.restarts = static_cast<int>(parse_int(find(c.annotations, note_restart_count)).value_or(info.attempt));
  c.hash = find(c.annotations, note_hash);
  if (auto note = find(c.annotations, note_resources); !note.empty())
    if (auto given = json::parse(note)) c.given = *std::move(given);
  if (c.state == container_state::exited) {
    auto text =
        co_await reactor::offload([logs = parts_.settings.logs, copy = c] { return termination_message(logs, copy); });
    c.told = text ? *std::move(text) : c.message;
  }
  described_.insert_or_assign(c.id, c);
  co_return c;
}

task<result<void>> pod_worker::refresh() {
  auto id = uid();
  pod_seen now;
  KEDGE_CO_TRY(now.sandboxes, co_await parts_.runtime.sandboxes(id));
  KEDGE_CO_TRY(auto list, co_await parts_.runtime.containers(id));
  std::sort(now.sandboxes.begin(), now.sandboxes.end(), is_newer);
  std::sort(list.begin(), list.end(), was_made_later);
  for (auto& info : list) {
    auto c = co_await describe(info);
    if (!c && c.error().code == errc::not_found) continue;  // removed since it was listed
    if (!c) co_return fail(std::move(c).error());
    // Of the newest of its name: those before it are as they were made.
    const bool is_newest = std::ranges::none_of(now.containers, [&](auto& one) { return one.name == c->name; });
    if (auto* given = parts_.allocations.actuated(id, c->name); given && is_newest) c->given = *given;
    now.containers.push_back(*std::move(c));
  }
  if (auto* given = parts_.allocations.actuated_whole(id)) now.given = *given;
  std::erase_if(described_, [&](auto& one) {
    return std::none_of(list.begin(), list.end(), [&](auto& c) { return c.id == one.first; });
  });
  if (auto* active = now.active_sandbox()) {
    if (addresses_of_ != active->id || addresses_.empty()) {
      KEDGE_CO_TRY(auto status, co_await parts_.runtime.status_of_sandbox(active->id));
      addresses_ = std::move(status.ips);
      addresses_of_ = active->id;
    }
    if (!is_host_network(*pod_)) now.ips = addresses_;
  }
  seen_ = std::move(now);
  co_return result<void>();
}

// --- telling

void pod_worker::say_status(bool terminal) {
  if (gone_) return;
  auto next = pod_status({.pod = *pod_,
                          .before = wanted_,
                          .seen = seen_,
                          .probes = probing_.found(),
                          .waiting = waiting_,
                          .host_ips = parts_.settings.node.host_ips,
                          .runtime = parts_.settings.runtime,
                          .now = wall_now(),
                          .terminal = terminal,
                          .failure = failure_,
                          .evicted = disrupted_,
                          .recursive_read_only = recursive_read_only_.value_or(false),
                          .resizes = terminal ? std::vector<resize_condition>() : resize_conditions()});
  if (parts_.needs) next = parts_.needs->add_health(*pod_, std::move(next));
  if (rejected_) next = rejected_status(next);
  if (next == wanted_ && !told_.is_null()) return;
  wanted_ = std::move(next);
  status_changed_.set();
}

task<void> pod_worker::write_statuses() {
  auto pause = api_retry_first;
  for (;;) {
    co_await status_changed_.wait();
    status_changed_.reset();
    while (told_ != wanted_ && !gone_) {
      auto sent = wanted_;
      auto pod = is_static_ ? mirror_ : pod_;
      if (!pod) break;
      auto patch = status_patch(*pod, sent);
      if (!patch.is_null()) {
        auto answer = co_await parts_.cluster.patch_status(*pod, std::move(patch));
        if (!answer && (answer.error().code == errc::not_found || answer.error().code == errc::conflict))
          break;  // the watch tells what it is now
        if (!answer) {
          log::debug("pod {}: its status can't be written: {}", pod_in_messages(*pod), answer.error().message);
          co_await reactor::sleep_for(pause);
          pause = std::min(pause * 2, api_retry_most);
          continue;
        }
        pause = api_retry_first;
        // What the watch brought meanwhile is newer than this, or the same.
        if (pod == pod_) update(*std::move(answer));
        if (pod == mirror_) mirror_ = std::make_shared<const value>(*std::move(answer));
      }
      told_ = std::move(sent);
    }
    status_told_.pulse();
  }
}

// Until the API knows what this says, or doesn't know the pod.
task<void> pod_worker::status_is_told() {
  while (told_ != wanted_ && !gone_) co_await status_told_.wait_until(loop::current().now() + status_told_poll);
}

// --- a pod that shall run

task<void> pod_worker::run() {
  tasks_.spawn(write_statuses());
  if (!admitted_ && !shall_end()) co_await admit();
  while (!shall_end()) {
    changed_.reset();
    auto until = co_await sync();
    if (is_terminal_phase(wanted_["phase"].as_string())) break;
    if (!shall_end()) (void)co_await changed_.wait_until(until);
  }
  co_await terminate();
  probing_.stop();
  tasks_.cancel();
}

task<void> pod_worker::admit() {
  if (parts_.needs) {
    auto why = co_await parts_.needs->allocate(*pod_);
    if (why && !shall_end()) {
      tell({}, true, why->reason, why->message);
      reject({why->reason, "Pod was rejected: " + why->message});
    }
  }
  admitted_ = true;
}

void pod_worker::check_deadline() {
  auto& seconds = (*pod_)["spec"]["activeDeadlineSeconds"];
  auto started = parse_rfc3339(wanted_["startTime"].as_string());
  if (!seconds.is_integer() || !started || failure_) return;
  auto over = *started + std::chrono::seconds(seconds.as_integer());
  if (wall_now() >= over) {
    fail_pod({"DeadlineExceeded", "Pod was active on the node longer than the specified deadline"});
    tell({}, false, "DeadlineExceeded", failure_->message);
  } else {
    wake_at_ = wake_at_ ? std::min(*wake_at_, over) : over;
  }
}

task<time_point> pod_worker::sync() {
  auto& here = loop::current();
  wake_at_.reset();
  if (auto seen = co_await refresh(); !seen) {
    log::debug("pod {}: the runtime doesn't say what there is of it: {}", pod_in_messages(*pod_), seen.error().message);
    co_return here.now() + runtime_retry;
  }
  find_allocation();
  co_await find_mount_abilities();
  look_at_resize();
  probing_.follow(*pod_, seen_, wanted_, parts_.agent_started_at);
  say_status();
  if (is_terminal_phase(wanted_["phase"].as_string())) co_return here.now();
  check_deadline();
  if (shall_end()) co_return here.now();
  auto steps = next_steps(*pod_, seen_, probing_.found());
  auto until = co_await act(std::move(steps));
  if (wake_at_) until = std::min(until, here.now() + std::max(duration(0), *wake_at_ - wall_now()));
  co_return until;
}

// What the steps say, in their order; what fails is tried again after a pause that grows.
task<time_point> pod_worker::act(pod_steps steps) {
  auto& here = loop::current();
  auto again = [&] {
    retry_ = retry_ == duration(0) ? pod_retry_first : std::min(retry_ * 2, pod_retry_most);
    return here.now() + retry_;
  };
  // The last is the one that ended so.
  if (!steps.reset.empty() && waits_after_crash(steps.reset.back().name)) co_return time_point::max();
  if (!steps.reset.empty()) co_return co_await reset(std::move(steps.reset)) ? here.now() : again();
  if (steps.kill_pod) {
    co_await kill_all({});
    for (auto& s : std::vector(seen_.sandboxes))
      if (s.ready)
        if (auto stopped = co_await parts_.runtime.stop_sandbox(s.id); !stopped) co_return again();
    if (!steps.create_sandbox) co_return again();
  }
  for (auto& k : steps.kill) co_await kill(k, {});
  if (shall_end()) co_return here.now();
  const bool starts = steps.create_sandbox || !steps.ephemeral.empty() || !steps.init.empty() || !steps.regular.empty();
  const bool volumes_due = here.now() >= volumes_at_;
  if (starts || volumes_due) {
    if (auto problem = parts_.network_problem(); steps.create_sandbox && !is_host_network(*pod_) && !problem.empty()) {
      tell({}, true, "NetworkNotReady", "network is not ready: " + problem);
      co_return again();
    }
    if (!co_await make_volumes_ready()) co_return awaits_volumes_since_ ? here.now() : again();
  }
  if (shall_end()) co_return here.now();
  if (steps.create_sandbox && !co_await make_sandbox(steps.attempt)) co_return again();
  // Each time, since an agent that starts anew finds sandboxes.
  if (starts && !seen_.ips.empty()) co_await parts_.admit_to_network(*pod_, seen_.ips);
  if (shall_end()) co_return here.now();
  bool fine = co_await start_all(steps);
  for (auto& id : steps.remove) co_await forget(id);
  if (starts || !steps.kill.empty()) {
    (void)co_await refresh();
    probing_.follow(*pod_, seen_, wanted_, parts_.agent_started_at);
    say_status();
  }
  if (!fine) co_return wake_at_ ? volumes_at_ : again();
  retry_ = duration(0);
  co_return volumes_at_;
}

// One that ended, of which newer ones are kept: its logs go with it.
task<void> pod_worker::forget(std::string id) {
  auto& s = parts_.settings;
  auto known = described_.find(id);
  auto path = known == described_.end() ? std::string() : known->second.log_path;
  auto link = known == described_.end() ? std::string() : log_link(known->second.name, id);
  if (!co_await parts_.runtime.remove_container(std::move(id)) || path.empty()) co_return;
  (void)co_await reactor::offload([logs = s.logs, path, link] {
    ::unlink(link.c_str());
    return remove_logs(logs, path);
  });
}

// What collectors of logs look for.
std::string pod_worker::log_link(std::string_view container, std::string_view id) const {
  auto& m = (*pod_)["metadata"];
  return fmt::format("{}/{}_{}_{}-{}.log", parts_.settings.log_links, m["name"].as_string(), m["namespace"].as_string(),
                     container, id);
}

task<bool> pod_worker::make_sandbox(std::uint32_t attempt) {
  auto pod = pod_;
  auto handler = co_await runtime_handler();
  // Containers that are told to be nobody on the machine don't run as somebody.
  std::optional<id_range> users;
  if (handler && has_own_users(*pod)) {
    auto ids = parts_.needs ? co_await parts_.needs->users(*pod, *handler)
                            : fail(errc::unsupported, "this node has no users for pods");
    if (ids)
      users = *ids;
    else
      handler = fail(std::move(ids).error());
  }
  if (!handler) {
    tell({}, true, "FailedCreatePodSandBox", "Failed to create pod sandbox: " + handler.error().message);
    co_return false;
  }
  if (parts_.needs) {
    if (auto ready = co_await parts_.needs->prepare(*pod); !ready) {
      tell({}, true, "FailedToCreatePodContainer", "unable to ensure pod container exists: " + ready.error().message);
      co_return false;
    }
  }
  // What is asked for meanwhile is another pod_.
  if (auto& whole = spec_of(*pod)["resources"]; whole.is_object()) parts_.allocations.actuate_whole(uid(), whole);
  if (parts_.needs) {
    if (auto ready = co_await parts_.needs->prepare_claims(*pod); !ready) {
      tell({}, true, "FailedPrepareDynamicResources", "Failed to prepare dynamic resources: " + ready.error().message);
      co_return false;
    }
  }
  auto config = make_sandbox_config(*pod, parts_.settings, attempt);
  config.namespaces.users = users;
  if (attempt > 0) tell({}, false, "SandboxChanged", "Pod sandbox changed, it will be killed and re-created.");
  auto id = co_await parts_.runtime.run_sandbox(config, *std::move(handler));
  if (!id) {
    if (!shall_end()) tell({}, true, "FailedCreatePodSandBox", "Failed to create pod sandbox: " + rpc_text(id.error()));
    co_return false;
  }
  auto seen = co_await refresh();
  if (!seen) co_return false;
  say_status();
  co_return true;
}

// In order; an init container that can't be started ends it. Whether all could.
task<bool> pod_worker::start_all(const pod_steps& steps) {
  bool fine = true;
  for (auto& name : steps.ephemeral) {
    if (shall_end()) co_return true;
    fine &= co_await start(name);
  }
  for (auto& name : steps.init) {
    if (shall_end()) co_return true;
    bool started = co_await start(name);
    fine &= started;
    if (!started && !is_sidecar(container_named(*pod_, name))) co_return false;
  }
  if (shall_end()) co_return true;
  fine &= co_await apply_resize(steps);
  for (auto& name : steps.regular) {
    if (shall_end()) co_return true;
    fine &= co_await start(name);
  }
  co_return fine;
}

void pod_worker::wait_for(const std::string& container, waiting_reason why, wall_time until) {
  waiting_[container] = std::move(why);
  wake_at_ = wake_at_ ? std::min(*wake_at_, until) : until;
}

bool pod_worker::waits_after_crash(const std::string& name) {
  const container_seen* last = nullptr;
  for (auto& c : seen_.containers)
    if (c.name == name && c.state == container_state::exited) {
      last = &c;
      break;
    }
  if (!last) return false;
  wall_time ended{std::chrono::nanoseconds(last->finished_at)};
  auto& pause = restarts_[name];
  if (!pause.lasts(ended, wall_now())) {
    pause.take(ended, container_restart_first, container_restart_most);
    return false;
  }
  auto pod = pod_in_messages(*pod_);
  if (auto& told = back_off_told_[name]; told != last->id) {
    told = last->id;
    tell(name, true, "BackOff", fmt::format("Back-off restarting failed container {} in pod {}", name, pod));
  }
  wait_for(name,
           {"CrashLoopBackOff", fmt::format("back-off {} restarting failed container={} pod={}",
                                            format_duration(pause.length()), name, pod)},
           pause.until(ended));
  return true;
}

task<result<pod_objects>> pod_worker::objects_for(value container) {
  auto ns = std::string((*pod_)["metadata"]["namespace"].as_string());
  auto needs = environment_needs(container);
  pod_objects out;
  for (auto& name : needs.config_maps) {
    KEDGE_CO_TRY(auto object, co_await parts_.cluster.config_map(ns, name, heard_at_));
    out.config_maps.emplace(name, std::move(object));
  }
  for (auto& name : needs.secrets) {
    KEDGE_CO_TRY(auto object, co_await parts_.cluster.secret(ns, name, heard_at_));
    out.secrets.emplace(name, std::move(object));
  }
  KEDGE_CO_TRY(out.services, co_await parts_.cluster.services(ns, heard_at_));
  co_return out;
}

std::string pod_worker::process_target_of(const value& container) const {
  auto target = container["targetContainerName"].as_string();
  auto* c = target.empty() ? nullptr : seen_.newest(target);
  return c ? c->id : std::string();
}

// True: it was started, or may not be yet.
task<bool> pod_worker::start(std::string name) {
  if (waits_after_crash(name)) co_return true;
  auto pod = pod_;
  value container = container_named(*pod, name);
  auto ensured = co_await [](pod_worker& self, std::shared_ptr<const value> p, value c,
                             std::string n) -> task<result<std::expected<image_info, image_puller::failed>>> {
    auto teller = [&self, n](bool warning, std::string reason, std::string message) {
      self.tell(n, warning, std::move(reason), std::move(message));
    };
    // A pod that has to end waits for no image.
    auto work = [](image_puller& images, value pod, value container,
                   image_puller::teller t) -> task<result<std::expected<image_info, image_puller::failed>>> {
      co_return co_await images.ensure(std::move(pod), std::move(container), std::move(t));
    };
    co_return co_await reactor::with_stop(work(self.parts_.images, *p, std::move(c), teller), self.ends_);
  }(*this, pod, container, name);
  if (!ensured) co_return true;
  auto& image = *ensured;
  if (!image) {
    tell(name, true, "Failed", "Error: " + image.error().why.reason);
    wait_for(name, image.error().why, image.error().retry_at);
    co_return true;
  }
  auto had = co_await reactor::with_stop(
      [](pod_worker& self, std::string n) -> task<result<std::expected<void, image_puller::failed>>> {
        co_return co_await self.ensure_image_volumes(std::move(n));
      }(*this, name),
      ends_);
  if (!had) co_return true;
  if (!*had) {
    wait_for(name, had->error().why, had->error().retry_at);
    co_return true;
  }
  auto created = co_await create(container, *std::move(image));
  if (!created) {
    tell(name, true, "Failed", "Error: " + created.error().message);
    waiting_[name] = std::move(created).error();
    co_return false;
  }
  tell(name, false, "Created", "Container created");
  auto started = co_await parts_.runtime.start_container(*created);
  if (!started) {
    auto text = rpc_description(started.error());
    tell(name, true, "Failed", "Error: " + text);
    waiting_[name] = {"RunContainerError", text};
    co_return false;
  }
  tell(name, false, "Started", "Container started");
  waiting_.erase(name);
  bool fine = true;
  if (container["lifecycle"]["postStart"].is_object()) co_await run_post_start(*created, container, fine);
  co_return fine;
}

task<std::expected<std::string, waiting_reason>> pod_worker::create(value container, image_info image) {
  auto pod = pod_;
  auto refuse = [](std::string message) {
    return std::unexpected(waiting_reason{"CreateContainerConfigError", std::move(message)});
  };
  auto name = std::string(container["name"].as_string());
  auto objects = co_await objects_for(container);
  if (!objects) co_return refuse(objects.error().message);
  auto& settings = parts_.settings;
  auto ips = is_host_network(*pod) ? settings.node.host_ips : seen_.ips;
  auto with_files = container;
  if (has_variables_of_files(container)) {
    auto read = co_await reactor::offload(
        [container, at = settings.folder_of(uid())] { return with_values_of_files(container, at); });
    if (!read || !*read) co_return refuse((read ? read->error() : read.error()).message);
    with_files = **std::move(read);
  }
  auto env = make_environment(*pod, with_files, *objects, ips, settings.node);
  if (!env) co_return refuse(env.error().message);
  container_gets given;
  if (parts_.needs) {
    auto has = co_await parts_.needs->given(*pod, container);
    if (!has) co_return refuse(has.error().message);
    given = *std::move(has);
    // The container's own words win.
    variables all;
    for (auto& [key, text] : given.devices.env) all.set(key, text);
    for (auto& [key, text] : env->all()) all.set(key, text);
    *env = std::move(all);
  }
  auto folder = settings.folder_of(uid());
  std::vector<subpath_mount> subpaths;
  auto mounts = mounts_of(
      container, volumes_, *env, folder,
      {.recursive_read_only = recursive_read_only_.value_or(false), .selinux = settings.has_selinux}, subpaths);
  if (!mounts) co_return refuse(mounts.error().message);
  auto devices = devices_of(container, volumes_);
  if (!devices) co_return refuse(devices.error().message);
  auto* last = seen_.newest(name);
  // One that was made and never started (this agent ended in between) goes first, so that it can't begin beside the new
  // one; it was no start that counts.
  int known = last ? last->restarts + 1 : -1;
  if (last && last->state == container_state::created) {
    known = last->restarts;
    auto removed = co_await parts_.runtime.remove_container(std::string(last->id));
    if (!removed) co_return std::unexpected(waiting_reason{"CreateContainerError", rpc_description(removed.error())});
  }
  struct prepared {
    int restarts = 0;
    std::string problem;
  };
  auto message_path = std::string(container["terminationMessagePath"].as_string());
  auto message_file = fmt::format("{}/containers/{}/{}", folder, name, hex_name());
  auto logs = settings.logs_of(*pod) + "/" + name;
  auto ready = co_await reactor::offload(
      [pod, ips, settings, folder, subpaths, message_path, message_file, logs, name, known]() -> prepared {
        prepared out{.restarts = known >= 0 ? known : restarts_by_logs(logs), .problem = {}};
        auto node_hosts = is_host_network(*pod) ? read_end("/etc/hosts", host_file_max) : std::string();
        auto work = [&]() -> result<void> {
          KEDGE_CHECK(crypto::make_folder(logs, 0755));
          KEDGE_CHECK(crypto::make_folder(message_file.substr(0, message_file.find_last_of('/')), 0750));
          KEDGE_CHECK(crypto::write_file(folder + "/etc-hosts", hosts_file(*pod, ips, settings, node_hosts),
                                         {.mode = 0644, .sync = false}));
          if (!message_path.empty()) KEDGE_CHECK(crypto::write_file(message_file, "", {.mode = 0666, .sync = false}));
          for (auto& s : subpaths) {
            auto mounted = mount_subpath(s.volume, s.inside, s.target);
            if (!mounted)
              return fail(mounted.error().code,
                          fmt::format("failed to prepare subPath for volumeMount \"{}\" of container \"{}\"",
                                      split(s.target.substr(folder.size() + 17), '/')[0], name));
          }
          return {};
        }();
        if (!work) out.problem = work.error().message;
        return out;
      });
  if (!ready) co_return refuse(ready.error().message);
  if (!ready->problem.empty()) co_return refuse(ready->problem);
  if (!message_path.empty())
    mounts->push_back(
        {.container_path = message_path, .host_path = message_file, .selinux_relabel = settings.has_selinux});
  auto* sandbox = seen_.active_sandbox();
  if (!sandbox) co_return refuse("the pod has no sandbox");
  auto sandbox_id = sandbox->id;
  auto sandbox_settings = make_sandbox_config(*pod, settings, sandbox->attempt);
  sandbox_settings.namespaces.users = given.users;  // as when it was made
  auto config = make_container_config(*pod, container,
                                      {.env = *env,
                                       .image = image,
                                       .image_ref = image.id,
                                       .mounts = *std::move(mounts),
                                       .restarts = ready->restarts,
                                       .given = std::move(given),
                                       .process_target = process_target_of(container)},
                                      settings);
  if (!config) co_return refuse(config.error().message);
  config->devices.insert(config->devices.end(), devices->begin(), devices->end());
  // What its predecessor was given while it ran is no word about it.
  if (parts_.allocations.forget_container(uid(), name)) co_await parts_.allocations.save();
  auto id = co_await parts_.runtime.create_container(std::move(sandbox_id), *config, sandbox_settings);
  if (!id) co_return std::unexpected(waiting_reason{"CreateContainerError", rpc_description(id.error())});
  auto link = log_link(name, *id);
  (void)co_await reactor::offload(
      [link, file = sandbox_settings.log_directory + "/" + config->log_path, links = settings.log_links] {
        (void)crypto::make_folder(links, 0755);
        std::error_code ignored;
        std::filesystem::create_symlink(file, link, ignored);
        return true;
      });
  co_return *std::move(id);
}

task<void> pod_worker::run_post_start(std::string id, value container, bool& fine) {
  handler_target at{
      .container_id = id,
      .pod_ip = seen_.ips.empty()
                    ? (parts_.settings.node.host_ips.empty() ? std::string() : parts_.settings.node.host_ips.front())
                    : seen_.ips.front(),
      .network = parts_.network};
  auto name = std::string(container["name"].as_string());
  auto ran =
      co_await reactor::with_stop(run_hook(container["lifecycle"]["postStart"], container, at, parts_.runtime), ends_);
  if (ran || shall_end()) co_return;
  // What it said isn't told: it may be secret.
  tell(name, true, "FailedPostStartHook", "PostStartHook failed");
  co_await kill({id, name, "FailedPostStartHook", kill_reason::post_start}, {});
  waiting_[name] = {"PostStartHookError", ran.error().message};
  fine = false;
}

// --- the end

std::int64_t pod_worker::grace_seconds(const value& container, kill_reason why) const {
  if (eviction_grace_) return *eviction_grace_;
  auto& m = (*pod_)["metadata"];
  if (m["deletionGracePeriodSeconds"].is_integer()) return m["deletionGracePeriodSeconds"].as_integer();
  auto own = why == kill_reason::liveness  ? &container["livenessProbe"]
             : why == kill_reason::startup ? &container["startupProbe"]
                                           : nullptr;
  if (own && (*own)["terminationGracePeriodSeconds"].is_integer())
    return (*own)["terminationGracePeriodSeconds"].as_integer();
  if (auto& spec = (*pod_)["spec"]["terminationGracePeriodSeconds"]; spec.is_integer()) return spec.as_integer();
  // A pod that only the runtime knows of: its containers say what they were started with.
  for (auto& c : seen_.containers)
    if (auto told = parse_int(find(c.annotations, note_pod_grace))) return *told;
  return grace_min_seconds;
}

// preStop within the grace, then TERM, then KILL; all again with less when the grace becomes less.
task<void> pod_worker::kill(container_to_kill k, std::optional<std::int64_t> grace) {
  value container = container_named(*pod_, k.name);
  auto seconds = grace ? *grace : grace_seconds(container, k.reason);
  tell(k.name, false, "Killing", k.message.empty() ? fmt::format("Stopping container {}", k.name) : k.message);
  auto began = loop::current().now();
  if (auto hook = container["lifecycle"]["preStop"]; hook.is_object() && seconds > 0) {
    handler_target at{.container_id = k.id,
                      .pod_ip = seen_.ips.empty() ? std::string() : seen_.ips.front(),
                      .network = parts_.network};
    auto within =
        reactor::with_deadline(run_hook(hook, container, at, parts_.runtime), began + std::chrono::seconds(seconds));
    auto ran = co_await reactor::with_stop(std::move(within), hurried_);
    if (!ran && ran.error().code != errc::timeout && ran.error().code != errc::cancelled)
      tell(k.name, true, "FailedPreStopHook", "PreStopHook failed");
  }
  co_await kill_in_turn(
      k, std::max<std::int64_t>(
             0, seconds - std::chrono::duration_cast<std::chrono::seconds>(loop::current().now() - began).count()));
}

task<void> pod_worker::kill_in_turn(container_to_kill k, std::int64_t seconds) {
  for (auto& before : ends_before(*pod_, k.name)) {
    auto deadline = loop::current().now() + std::chrono::seconds(seconds);
    while (loop::current().now() < deadline) {
      auto* other = seen_.newest(before);
      if (!shall_end() || !other || other->state != container_state::running) break;
      auto status = co_await parts_.runtime.status_of_container(other->id);
      if (!status || status->state != container_state::running) break;
      co_await reactor::sleep_for(order_poll);
    }
  }
  seconds = std::max(seconds, grace_min_seconds);
  for (;;) {
    auto stopped = co_await reactor::with_stop(parts_.runtime.stop_container(k.id, seconds), hurried_);
    if (stopped) co_return;
    if (stopped.error().code != errc::cancelled) {
      log::debug("pod {}: container {} can't be stopped: {}", pod_in_messages(*pod_), k.name, stopped.error().message);
      co_return;
    }
    seconds = std::max(grace_min_seconds, grace_seconds({}, kill_reason::none));
  }
}

task<void> pod_worker::kill_all(std::optional<std::int64_t> grace) {
  reactor::scope together;
  for (auto& c : std::vector(seen_.containers))
    if (c.state == container_state::running || c.state == container_state::unknown)
      together.spawn(kill({c.id, c.name, {}, kill_reason::none}, grace));
  co_await together.join();
}

task<void> pod_worker::terminate() {
  auto& here = loop::current();
  probing_.pod_ends();
  // Until nothing runs.
  for (auto pause = pod_retry_first;; pause = std::min(pause * 2, pod_retry_most)) {
    auto seen = co_await refresh();
    if (seen) {
      say_status();
      co_await kill_all({});
      bool stopped = true;
      for (auto& s : std::vector(seen_.sandboxes))
        if (s.ready) stopped &= (co_await parts_.runtime.stop_sandbox(s.id)).has_value();
      seen = co_await refresh();
      if (seen && stopped && !seen_.runs_anything()) break;
    }
    if (!seen) log::debug("pod {}: {}", pod_in_messages(*pod_), seen.error().message);
    co_await reactor::sleep_until(here.now() + pause);
  }
  // Before anybody hears that it has ended: its devices are others' then.
  for (auto pause = pod_retry_first; parts_.needs; pause = std::min(pause * 2, pod_retry_most)) {
    auto released = co_await parts_.needs->release_claims(*pod_);
    if (released) break;
    log::warning("pod {}: {}", pod_in_messages(*pod_), released.error().message);
    co_await reactor::sleep_until(here.now() + pause);
  }
  say_status(true);
  // Then nothing of it is mounted or kept.
  auto folder = parts_.settings.folder_of(uid());
  for (auto pause = pod_retry_first;; pause = std::min(pause * 2, pod_retry_most)) {
    auto unmounted = co_await unmount_others(folder);
    auto removed = unmounted ? co_await reactor::offload([folder, cgroup = cgroup_parent(*pod_)] {
      auto done = remove_pod_folder(folder);
      remove_cgroups(cgroup);
      return done;
    })
                             : result<result<void>>(fail(std::move(unmounted).error()));
    if (removed && *removed) break;
    log::warning("pod {}: what is left of it can't be removed: {}", pod_in_messages(*pod_),
                 removed ? removed->error().message : removed.error().message);
    co_await reactor::sleep_until(here.now() + pause);
  }
  ended_ = true;
  parts_.allocations.forget(uid());
  if (!gone_) {
    if (!rejected_) wanted_ = ended_status(*pod_, wanted_);
    status_changed_.set();
  }
  for (auto pause = api_retry_first; !gone_; pause = std::min(pause * 2, api_retry_most)) {
    if (!is_static_) co_await status_is_told();
    if (gone_) break;
    if (is_static_ || !is_being_deleted(*pod_)) {
      changed_.reset();
      co_await changed_.wait();
      continue;
    }
    auto pod = pod_;
    auto removed = co_await parts_.cluster.remove(*pod);
    if (removed || removed.error().code == errc::not_found || removed.error().code == errc::conflict) {
      // The watch says so soon; it may have been begun anew in between, and then its list does.
      if (co_await gone_event_.wait_until(here.now() + gone_wait)) break;
      continue;
    }
    log::debug("pod {} can't be deleted: {}", pod_in_messages(*pod), removed.error().message);
    co_await reactor::sleep_until(here.now() + pause);
  }
  co_await leave_nothing();
}

// The sandbox goes last: while it is there, whoever starts anew knows that something is left to do.
task<void> pod_worker::leave_nothing() {
  auto prefix =
      fmt::format("{}_{}_", (*pod_)["metadata"]["name"].as_string(), (*pod_)["metadata"]["namespace"].as_string());
  (void)co_await reactor::offload([logs = parts_.settings.logs_of(*pod_), links = parts_.settings.log_links, prefix] {
    std::error_code problem;
    for (auto it = std::filesystem::directory_iterator(links, problem);
         !problem && it != std::filesystem::directory_iterator(); it.increment(problem)) {
      std::error_code ignored;
      if (it->path().filename().string().starts_with(prefix) &&
          std::filesystem::read_symlink(it->path(), ignored).string().starts_with(logs + "/"))
        std::filesystem::remove(it->path(), ignored);
    }
    return remove_tree(logs);
  });
  for (auto pause = pod_retry_first;; pause = std::min(pause * 2, pod_retry_most)) {
    bool fine = (co_await refresh()).has_value();
    for (auto& c : std::vector(seen_.containers)) fine &= (co_await parts_.runtime.remove_container(c.id)).has_value();
    for (auto& s : std::vector(seen_.sandboxes)) fine &= (co_await parts_.runtime.remove_sandbox(s.id)).has_value();
    if (fine) break;
    co_await reactor::sleep_for(pause);
  }
}

}  // namespace kedge::node
