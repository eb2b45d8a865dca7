#include "node/pods/manager.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <set>
#include <tuple>

#include "base/log.h"
#include "node/limits.h"
#include "node/pods/admit.h"
#include "node/pods/resize.h"
#include "node/pods/static_pods.h"
#include "pod/amounts.h"
#include "reactor/offload.h"

namespace kedge::node {

namespace {

using json::object;
using json::value;

std::string uid_of(const value& pod) { return std::string(pod["metadata"]["uid"].as_string()); }

std::string name_of_pod(const value& pod) {
  auto& m = pod["metadata"];
  return fmt::format("{}/{}", m["namespace"].as_string(), m["name"].as_string());
}

// What a sandbox tells of a pod that is known nowhere else.
value pod_of(const sandbox_info& s) {
  return object{{"apiVersion", "v1"},
                {"kind", "Pod"},
                {"metadata", object{{"name", s.name}, {"namespace", s.ns}, {"uid", s.uid}}},
                {"spec", object{}}};
}

}  // namespace

pod_manager::entry& pod_manager::add(value pod, bool gone) {
  auto uid = uid_of(pod);
  auto e = std::make_unique<entry>();
  e->worker = std::make_unique<pod_worker>(parts_, std::move(pod), gone);
  auto& here = *entries_.insert_or_assign(uid, std::move(e)).first->second;
  return here;
}

task<void> pod_manager::run_one(entry& e) {
  co_await e.worker->run();
  e.is_done = true;
  done_.set();
}

// One that ran before this agent started was admitted then.
bool pod_manager::was_admitted(const value& pod) const { return pod["status"]["startTime"].is_string(); }

void pod_manager::changed(value pod) {
  auto uid = uid_of(pod);
  if (uid.empty()) return;
  if (is_mirror(pod)) {
    auto name = name_of_pod(pod);
    auto kept = std::make_shared<const value>(std::move(pod));
    mirrors_[name] = kept;
    mirrors_changed_.set();
    for (auto& [id, e] : entries_)
      if (wanted_static_.contains(id) && name_of_pod(*e->worker->pod()) == name &&
          (*kept)["metadata"]["annotations"][note_config_mirror].as_string() == id)
        e->worker->mirror(kept);
    return;
  }
  if (auto known = entries_.find(uid); known != entries_.end()) {
    if (known->second->is_done) return;
    auto& worker = *known->second->worker;
    worker.update(std::move(pod));
    if (worker.waits_for_resize()) resizes_wait_.set();
    return;
  }
  if (entries_.size() >= workers_max) {
    log::warning("pod {} waits: there are {} on this node", pod_in_messages(pod), entries_.size());
    return;  // the next list brings it again
  }
  std::optional<waiting_reason> refused;
  if (!was_admitted(pod) && !is_being_deleted(pod)) { refused = why_not_admitted(pod, active(), parts_.settings); }
  const bool is_new = !was_admitted(pod);
  if (is_new && !refused) allocations_.allocate(pod);
  auto& e = add(std::move(pod), false);
  if (is_new) e.worker->not_yet_admitted();
  if (refused) {
    parts_.cluster.tell(*e.worker->pod(), {}, true, refused->reason, refused->message);
    e.worker->reject({refused->reason, "Pod was rejected: " + refused->message});
  }
  e.task.spawn(run_one(e));
}

void pod_manager::removed(const value& pod) {
  if (is_mirror(pod)) {
    mirrors_.erase(name_of_pod(pod));
    mirrors_changed_.set();
    return;
  }
  if (auto known = entries_.find(uid_of(pod)); known != entries_.end() && !known->second->is_done)
    known->second->worker->gone();
}

void pod_manager::listed(std::vector<value> pods) {
  std::set<std::string> there;
  for (auto& p : pods) there.insert(uid_of(p));
  for (auto& [uid, e] : entries_)
    if (!there.contains(uid) && !e->is_done && !wanted_static_.contains(uid)) e->worker->gone();
  mirrors_.clear();
  mirrors_changed_.set();
  for (auto& p : pods) changed(std::move(p));
  listed_ = true;
}

void pod_manager::sweep() {
  std::erase_if(entries_, [](auto& one) { return one.second->is_done; });
  begin_static();
}

void pod_manager::static_pods(std::vector<value> pods) {
  std::map<std::string, value, std::less<>> now;
  for (auto& p : pods) now.insert_or_assign(uid_of(p), std::move(p));
  for (auto& [uid, pod] : wanted_static_)
    if (auto e = entries_.find(uid); !now.contains(uid) && e != entries_.end() && !e->second->is_done)
      e->second->worker->gone();
  wanted_static_ = std::move(now);
  static_read_ = true;
  mirrors_changed_.set();
  begin_static();
}

// One of another content waits for the old one of its name to end.
void pod_manager::begin_static() {
  for (auto& [uid, pod] : wanted_static_) {
    auto name = name_of_pod(pod);
    bool waits = std::any_of(entries_.begin(), entries_.end(),
                             [&](auto& e) { return e.first == uid || name_of_pod(*e.second->worker->pod()) == name; });
    if (waits || entries_.size() >= workers_max) continue;
    auto& e = add(pod, false);
    e.worker->not_yet_admitted();
    if (auto m = mirrors_.find(name); m != mirrors_.end()) e.worker->mirror(m->second);
    e.task.spawn(run_one(e));
  }
}

// Level-triggered, like the workers: what stands at the API for a static pod is what it says now, or is made anew.
task<void> pod_manager::keep_mirrors(std::function<value()> node) {
  auto pause = api_retry_first;
  for (;;) {
    (void)co_await mirrors_changed_.wait_until(reactor::loop::current().now() + static_period);
    mirrors_changed_.reset();
    if (!listed_) continue;
    bool fine = true;
    for (auto& [name, m] : std::map(mirrors_)) {
      auto uid = (*m)["metadata"]["annotations"][note_config_mirror].as_string();
      auto wanted = wanted_static_.find(uid);
      if (wanted != wanted_static_.end() && name_of_pod(wanted->second) == name && !is_being_deleted(*m)) continue;
      fine &= (co_await parts_.cluster.remove(*m)).has_value();
    }
    for (auto& [uid, pod] : std::map(wanted_static_)) {
      if (mirrors_.contains(name_of_pod(pod)) || !node()["metadata"]["uid"].is_string()) continue;
      auto made = co_await parts_.cluster.create(mirror_of(pod, node()));
      if (!made && made.error().code != errc::already_exists)
        log::warning("the mirror of static pod {} can't be made: {}", name_of_pod(pod), made.error().message);
      fine &= made.has_value();
    }
    pause = fine ? api_retry_first : std::min(pause * 2, api_retry_most);
    if (!fine) {
      co_await reactor::sleep_for(pause);
      mirrors_changed_.set();
    }
  }
}

task<void> pod_manager::look_at_runtime() {
  auto sandboxes = co_await parts_.runtime.sandboxes({});
  if (!sandboxes) co_return;
  auto containers = co_await parts_.runtime.containers({});
  if (!containers) co_return;
  std::map<std::string_view, std::string> now;
  // containerd lists them in no order.
  std::ranges::sort(*sandboxes, {}, &sandbox_info::id);
  std::ranges::sort(*containers, {}, &container_info::id);
  for (auto& s : *sandboxes) now[s.uid] += fmt::format("{}{};", s.id.substr(0, 12), s.ready ? '+' : '-');
  for (auto& c : *containers) now[c.pod_uid] += fmt::format("{}{};", c.id.substr(0, 12), static_cast<int>(c.state));
  for (auto& [uid, e] : entries_) {
    auto i = now.find(uid);
    auto text = i == now.end() ? std::string() : i->second;
    if (text == e->seen) continue;
    e->seen = std::move(text);
    e->worker->look();
  }
  if (!listed_ || !static_read_) co_return;
  // Something may have ended since.
  if (std::ranges::any_of(entries_, [](auto& one) { return one.second->worker->waits_for_resize(); }))
    resizes_wait_.set();
  for (auto& s : *sandboxes) {
    if (s.uid.empty() || entries_.contains(s.uid) || entries_.size() >= workers_max) continue;
    log::info("pod {}/{} isn't wanted any more, and ends", s.ns, s.name);
    auto& e = add(pod_of(s), true);
    e.task.spawn(run_one(e));
  }
  // Beside: drivers that have to unmount something may hang.
  if (!leftovers_removed_ && leftovers_.size() == 0) leftovers_.spawn(remove_leftovers());
}

// Folders of pods that neither the API nor the runtime knows: an agent ended before it had removed them. Until all are
// gone: from then on each worker removes its own.
task<void> pod_manager::remove_leftovers() {
  auto& here = reactor::loop::current();
  if (here.now() < leftovers_at_) co_return;
  leftovers_at_ = here.now() + leftovers_retry;
  std::set<std::string> known;
  for (auto& [uid, e] : entries_) known.insert(uid);
  allocations_.keep_only({known.begin(), known.end()});
  auto& s = parts_.settings;
  auto unknown = co_await reactor::offload([pods = s.root + "/pods", known] {
    std::vector<std::string> out;
    std::error_code problem;
    for (auto it = std::filesystem::directory_iterator(pods, problem);
         !problem && it != std::filesystem::directory_iterator(); it.increment(problem))
      if (auto uid = it->path().filename().string(); !known.contains(uid)) out.push_back(std::move(uid));
    return out;
  });
  if (!unknown) co_return;
  // What others serve is theirs to take away; a driver may not be there yet.
  std::vector<std::string> folders;
  bool all = true;
  for (auto& uid : *unknown) {
    if (entries_.contains(uid)) continue;
    auto folder = s.root + "/pods/" + uid;
    if (parts_.mounter) {
      (void)co_await reactor::offload([folder] {
        end_mounts(folder + "/volume-subpaths");
        return true;
      });
      if (auto unmounted = co_await parts_.mounter->unmount(uid); !unmounted) {
        log::warning("what is left of pod {} can't be unmounted: {}", uid, unmounted.error().message);
        all = false;
        continue;
      }
    }
    folders.push_back(std::move(folder));
  }
  for (auto& [uid, e] : entries_) known.insert(uid);  // those that came meanwhile
  auto done = co_await reactor::offload([folders, logs = s.logs, known] {
    std::vector<std::string> problems;
    auto keep = [&](const result<void>& removed) {
      if (!removed) problems.push_back(removed.error().message);
    };
    for (auto& folder : folders) keep(remove_pod_folder(folder));
    std::error_code problem;
    for (auto it = std::filesystem::directory_iterator(logs, problem);
         !problem && it != std::filesystem::directory_iterator(); it.increment(problem)) {
      auto name = it->path().filename().string();
      if (!known.contains(name.substr(name.find_last_of('_') + 1))) keep(remove_tree(it->path().string()));
    }
    return problems;
  });
  if (!done) co_return;
  leftovers_removed_ = all && done->empty();
  for (auto& p : *done) log::warning("what is left of a pod can't be removed: {}", p);
}

// In the order in which they are decided: who wants no more than he has, then by priority, by class, and by how long
// they have waited (allocation.sortPendingResizes).
std::vector<std::string> pod_manager::waiting_resizes() const {
  using rank = std::tuple<bool, std::int64_t, bool, std::string, std::string>;
  std::vector<rank> all;
  for (auto& [uid, e] : entries_) {
    if (e->is_done || !e->worker->waits_for_resize()) continue;
    auto &pod = *e->worker->asked(), &has = *e->worker->pod();
    auto wants = pod::amounts_of_pod(pod, "requests"), before = pod::amounts_of_pod(has, "requests");
    const bool more = std::ranges::any_of(std::initializer_list<std::string_view>{"cpu", "memory"}, [&](auto name) {
      auto a = wants.find(name), b = before.find(name);
      return a != wants.end() && (b == before.end() || b->second < a->second);
    });
    std::string since;
    for (std::size_t i = 0; i < e->worker->status()["conditions"].size(); ++i)
      if (auto& c = e->worker->status()["conditions"][i]; c["type"].as_string() == resize_pending)
        since = c["lastTransitionTime"].as_string();
    // One that was never looked at has waited the shortest.
    all.emplace_back(more, -pod["spec"]["priority"].as_integer(), qos_class(pod) != "Guaranteed",
                     since.empty() ? "~" : since, uid);
  }
  std::ranges::sort(all);
  std::vector<std::string> out;
  for (auto& r : all) out.push_back(std::move(std::get<4>(r)));
  return out;
}

// One after the other, each against what was allocated to all others by then.
task<void> pod_manager::decide_resizes() {
  for (;;) {
    co_await resizes_wait_.wait();
    resizes_wait_.reset();
    if (!knows_all()) continue;  // looked at again when the runtime is
    for (auto& uid : waiting_resizes()) {
      if (auto e = entries_.find(uid); e != entries_.end() && e->second->worker->waits_for_resize()) {
        auto& worker = *e->second->worker;
        auto others = active();
        std::erase_if(others, [&](auto& p) { return p == worker.pod(); });
        worker.resize(why_not_resized(*worker.asked(), *worker.pod(), others, parts_.settings));
      }
      co_await reactor::maybe_yield();
    }
  }
}

task<void> pod_manager::run() {
  auto& here = reactor::loop::current();
  beside_.spawn(allocations_.run());
  beside_.spawn(decide_resizes());
  auto last = time_point{};
  for (auto next = here.now();; next = std::max(next + runtime_relist_interval, here.now())) {
    while (co_await done_.wait_until(next)) {
      done_.reset();
      sweep();
    }
    const auto began = here.now();
    if (last != time_point{}) relist_interval_.observe(began - last);
    last = began;
    co_await look_at_runtime();
    relist_took_.observe(here.now() - began);
  }
}

void pod_manager::write_metrics(exposition& out) const {
  out.family("kubelet_pleg_relist_duration_seconds", "histogram",
             "[ALPHA] Duration in seconds for relisting pods in PLEG.");
  relist_took_.write(out, "");
  out.family("kubelet_pleg_relist_interval_seconds", "histogram",
             "[ALPHA] Interval in seconds between relisting in PLEG.");
  relist_interval_.write(out, "");
}

const pod_worker* pod_manager::find(std::string_view ns, std::string_view name, std::string_view uid) const {
  const pod_worker* any = nullptr;
  for (auto& [id, e] : entries_) {
    auto& m = (*e->worker->pod())["metadata"];
    if (m["name"].as_string() != name || m["namespace"].as_string() != ns || (!uid.empty() && id != uid)) continue;
    if (!e->worker->has_ended()) return e->worker.get();
    any = e->worker.get();
  }
  return any;
}

const pod_worker* pod_manager::find_uid(std::string_view uid) const {
  auto e = entries_.find(uid);
  return e == entries_.end() ? nullptr : e->second->worker.get();
}

bool pod_manager::evict(std::string_view uid, std::string message, std::int64_t grace_seconds, bool for_node) {
  auto e = entries_.find(uid);
  if (e == entries_.end() || e->second->is_done || e->second->worker->has_ended()) return false;
  auto& worker = *e->second->worker;
  parts_.cluster.tell(*worker.pod(), {}, true, "Evicted", message);
  worker.evict({"Evicted", std::move(message)}, grace_seconds, for_node);
  return true;
}

void pod_manager::shut_down(std::string_view uid, std::int64_t grace_seconds) {
  auto e = entries_.find(uid);
  if (e == entries_.end() || e->second->is_done || e->second->worker->has_ended()) return;
  e->second->worker->evict({"Terminated", "Pod was terminated in response to imminent node shutdown."}, grace_seconds,
                           true);
}

void pod_manager::look(std::string_view uid) {
  if (auto e = entries_.find(uid); e != entries_.end()) e->second->worker->look();
}

shared_pods pod_manager::active() const {
  shared_pods out;
  for (auto& [id, e] : entries_)
    if (!e->worker->has_ended() && !is_terminal_phase(e->worker->status()["phase"].as_string()))
      out.push_back(e->worker->pod());
  return out;
}

std::vector<const pod_worker*> pod_manager::all() const {
  std::vector<const pod_worker*> out;
  for (auto& [id, e] : entries_) out.push_back(e->worker.get());
  return out;
}

}  // namespace kedge::node
