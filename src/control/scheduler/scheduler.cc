#include "control/scheduler/scheduler.h"

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <utility>

#include "base/log.h"
#include "base/strings.h"
#include "control/event_recorder.h"
#include "control/scheduler/devices/claim_binder.h"
#include "control/scheduler/extenders/extender_client.h"
#include "control/scheduler/extenders/limits.h"
#include "control/scheduler/preemption.h"
#include "control/scheduler/queue.h"
#include "control/scheduler/schedule_metrics.h"
#include "control/scheduler/volume_binder.h"
#include "control/scheduler/volume_choice.h"
#include "json/parse.h"
#include "reactor/loop.h"
#include "reactor/turn.h"

namespace kedge::control {
namespace {

using namespace scheduler;
using event_kind = cluster_event::kind;

const api::resource_id pods{"", "v1", "pods"};

// Bindings under way at once: enough to fill the store's batches; a pod more waits.
constexpr std::size_t bindings_max = 256;
// Cycles before others on this loop get their turn.
constexpr std::size_t cycles_a_turn = 16;
// Until a write whose outcome isn't known is tried again: a database that is away comes back some time.
constexpr std::chrono::milliseconds doubt_pause{200};
// Of an Event's message (events.k8s.io note).
constexpr std::size_t note_max = 1024;

std::string note(std::string text) {
  if (text.size() > note_max) text = text.substr(0, note_max - 4) + " ...";
  return text;
}

class run {
 public:
  run(context& c, const configuration& settings)
      : c_(c),
        settings_(settings),
        queue_({.backoff_first = settings.backoff_first,
                .backoff_most = settings.backoff_most,
                .unschedulable_most = settings.unschedulable_most},
               [this](const pod_view& p) { return waits_for(p); }),
        events_(c.objects, "default-scheduler"),
        measures_(c.measures),
        volumes_(c.objects, cluster_),
        devices_(c.objects, cluster_, measures_),
        extenders_(c.objects, settings.extenders) {}

  task<void> go() {
    reactor::scope all;
    auto& store = c_.objects.objects_store();
    auto watch = [&](std::string_view group, std::string_view plural, void (run::*see)(const json::value&, bool gone),
                     std::function<void()> forget) {
      auto prefix = c_.objects.prefix({std::string(group), "v1", std::string(plural)});
      all.spawn(follow(
          store, prefix,
          [this, see](const store::event& e) {
            auto v = json::parse(e.object->bytes());
            if (v) (this->*see)(*v, e.type == store::event_type::deleted);
            wake_.set();
          },
          std::move(forget)));
    };
    auto& storage = cluster_.storage();
    watch("", "nodes", &run::see_node, [this] { cluster_.forget_nodes(); });
    watch("", "namespaces", &run::see_namespace, [this] { cluster_.forget_namespaces(); });
    watch("", "services", &run::see_spreader, [this] { cluster_.forget_services(); });
    watch("", "replicationcontrollers", &run::see_spreader, [this] { cluster_.forget_replication_controllers(); });
    watch("apps", "replicasets", &run::see_spreader, [this] { cluster_.forget_replica_sets(); });
    watch("apps", "statefulsets", &run::see_spreader, [this] { cluster_.forget_stateful_sets(); });
    watch("policy", "poddisruptionbudgets", &run::see_budget, [this] { cluster_.forget_budgets(); });
    constexpr auto group = "storage.k8s.io";
    watch(group, "storageclasses", &run::see_class, [&storage] { storage.forget_classes(); });
    watch(group, "csinodes", &run::see_csi_node, [&storage] { storage.forget_csi_nodes(); });
    watch(group, "csidrivers", &run::see_csi_driver, [&storage] { storage.forget_csi_drivers(); });
    watch(group, "csistoragecapacities", &run::see_capacity, [&storage] { storage.forget_capacities(); });
    watch(group, "volumeattachments", &run::see_attachment, [&storage] { storage.forget_attachments(); });
    watch("", "persistentvolumes", &run::see_volume, [&storage] { storage.forget_volumes(); });
    watch("", "persistentvolumeclaims", &run::see_claim, [&storage] { storage.forget_claims(); });
    auto& devices = cluster_.devices();
    constexpr auto devices_group = "resource.k8s.io";
    watch(devices_group, "deviceclasses", &run::see_device_class, [&devices] { devices.forget_classes(); });
    watch(devices_group, "devicetaintrules", &run::see_taint_rule, [&devices] { devices.forget_rules(); });
    watch(devices_group, "resourceslices", &run::see_slice, [&devices] { devices.forget_slices(); });
    watch(devices_group, "resourceclaims", &run::see_device_claim, [&devices] { devices.forget_claims(); });
    watch("", "pods", &run::see_pod, [this] { cluster_.forget_pods(); });
    all.spawn(place_pods());
    co_await all.join();
  }

 private:
  // ---- events

  void see_node(const json::value& node, bool gone) {
    auto name = node["metadata"]["name"].as_string();
    if (gone) {
      cluster_.remove_node(name);
      return;
    }
    if (auto changed = cluster_.set_node(node))
      happened(
          {.what = event_kind::node, .node_changes = changed, .node = cluster_.find_node(name), .cluster = &cluster_});
  }
  void see_namespace(const json::value& ns, bool gone) {
    auto name = ns["metadata"]["name"].as_string();
    gone ? cluster_.remove_namespace(name) : cluster_.set_namespace(name, ns["metadata"]["labels"]);
    happened({.what = event_kind::namespaces});
  }
  void see_spreader(const json::value& o, bool gone) {
    auto& m = o["metadata"];
    auto kind = o["kind"].as_string();
    if (gone)
      cluster_.remove_selector(kind, m["namespace"].as_string(), m["name"].as_string());
    else
      cluster_.set_selector(kind, m["namespace"].as_string(), m["name"].as_string(), o["spec"]["selector"]);
  }
  void see_budget(const json::value& budget, bool gone) {
    auto& m = budget["metadata"];
    gone ? cluster_.remove_budget(m["namespace"].as_string(), m["name"].as_string()) : cluster_.set_budget(budget);
  }

  void see_class(const json::value& storage_class, bool gone) {
    auto& storage = cluster_.storage();
    auto name = storage_class["metadata"]["name"].as_string();
    const bool added = !storage.find_class(name);
    gone ? storage.remove_class(name) : storage.set_class(storage_class);
    if (!gone) happened({.what = event_kind::classes, .added = added});
  }
  void see_csi_node(const json::value& node, bool gone) {
    auto& storage = cluster_.storage();
    auto name = node["metadata"]["name"].as_string();
    const bool added = !storage.find_csi_node(name);
    gone ? storage.remove_csi_node(name) : storage.set_csi_node(node);
    if (!gone) happened({.what = event_kind::csi_nodes, .added = added});
  }
  void see_csi_driver(const json::value& driver, bool gone) {
    auto& storage = cluster_.storage();
    gone ? storage.remove_csi_driver(driver["metadata"]["name"].as_string()) : storage.set_csi_driver(driver);
    happened({.what = event_kind::csi_drivers});
  }
  void see_capacity(const json::value& capacity, bool gone) {
    auto& m = capacity["metadata"];
    auto& storage = cluster_.storage();
    gone ? storage.remove_capacity(m["namespace"].as_string(), m["name"].as_string()) : storage.set_capacity(capacity);
    if (!gone) happened({.what = event_kind::capacities});
  }
  void see_attachment(const json::value& attachment, bool gone) {
    auto& storage = cluster_.storage();
    gone ? storage.remove_attachment(attachment["metadata"]["name"].as_string()) : storage.set_attachment(attachment);
    if (gone) happened({.what = event_kind::attachments});
  }
  void see_volume(const json::value& volume, bool gone) {
    auto& storage = cluster_.storage();
    auto name = volume["metadata"]["name"].as_string();
    gone ? storage.remove_volume(name) : storage.set_volume(volume);
    volumes_.changed(name);
    if (auto& claim = volume["spec"]["claimRef"]; claim.is_object())
      volumes_.changed(fmt::format("{}/{}", claim["namespace"].as_string(), claim["name"].as_string()));
    if (!gone) happened({.what = event_kind::volumes});
  }
  void see_claim(const json::value& claim, bool gone) {
    auto& storage = cluster_.storage();
    auto ns = claim["metadata"]["namespace"].as_string(), name = claim["metadata"]["name"].as_string();
    const bool added = !storage.find_claim(ns, name);
    gone ? storage.remove_claim(ns, name) : storage.set_claim(claim);
    volumes_.changed(fmt::format("{}/{}", ns, name));
    if (!gone) happened({.what = event_kind::claims, .added = added, .ns = ns, .claim = name});
  }

  void see_slice(const json::value& slice, bool gone) {
    auto& devices = cluster_.devices();
    gone ? devices.remove_slice(slice["metadata"]["name"].as_string()) : devices.set_slice(slice);
    if (!gone) happened({.what = event_kind::devices});
  }
  void see_taint_rule(const json::value& rule, bool gone) {
    auto& devices = cluster_.devices();
    gone ? devices.remove_rule(rule["metadata"]["name"].as_string()) : devices.set_rule(rule);
    happened({.what = event_kind::devices});
  }
  void see_device_class(const json::value& device_class, bool gone) {
    auto& devices = cluster_.devices();
    auto name = device_class["metadata"]["name"].as_string();
    auto before = devices.find_class(name);
    gone ? devices.remove_class(name) : devices.set_class(device_class);
    auto after = devices.find_class(name);
    if (!gone) happened({.what = event_kind::device_classes, .class_before = before.get(), .class_after = after.get()});
  }
  void see_device_claim(const json::value& claim, bool gone) {
    auto& devices = cluster_.devices();
    auto ns = claim["metadata"]["namespace"].as_string(), name = claim["metadata"]["name"].as_string();
    auto before = devices.find_claim(ns, name);
    gone ? devices.remove_claim(ns, name) : devices.set_claim(claim);
    auto after = devices.find_claim(ns, name);
    devices_.changed(fmt::format("{}/{}", ns, name));
    if (before != after)
      happened({.what = event_kind::device_claims,
                .claim_before = before.get(),
                .claim_after = after.get(),
                .cluster = &cluster_});
  }

  void see_pod(const json::value& pod, bool gone) {
    auto ns = pod["metadata"]["namespace"].as_string(), name = pod["metadata"]["name"].as_string();
    auto phase = pod["status"]["phase"].as_string();
    auto before = cluster_.find_pod(ns, name);
    if (gone || phase == "Succeeded" || phase == "Failed") {
      if (!before) return;
      queue_.remove(before->key());
      cluster_.remove_pod(ns, name);
      if (before->assumed) volumes_.changed(before->key());
      if (!before->node.empty() || !before->nominated.empty())
        happened({.what = event_kind::pod_removed, .pod = before.get()});
      return;
    }
    auto p = cluster_.read_pod(pod, reactor::loop::current().wall_now());
    if (before && before->uid != p->uid) {
      queue_.remove(before->key());
      happened({.what = event_kind::pod_removed, .pod = before.get()});
    }
    cluster_.set_pod(p);
    if (!p->node.empty()) {
      queue_.remove(p->key());
      if (!before || before->node.empty() || before->assumed)
        happened({.what = event_kind::pod_added, .pod = p.get()});
      else if (before->is != p->is || before->terminating != p->terminating)
        happened({.what = event_kind::pod_updated, .pod = p.get()});
      return;
    }
    if (p->terminating || !settings_.find(p->is->scheduler_name)) return queue_.remove(p->key());
    if (before && before->assumed) return;  // its binding is on the way
    queue_.add(p, now());
  }

  // Pods whose claims aren't there yet aren't tried.
  const plugin* waits_for(const pod_view& p) const {
    if (p.is->device_claims.empty()) return nullptr;
    auto by = settings_.find(p.is->scheduler_name);
    return by && by->devices && !device_claims_of(p, cluster_.devices()) ? by->devices : nullptr;
  }

  void happened(const cluster_event& e) {
    if (queue_.happened(e, now())) wake_.set();
  }

  // ---- placing

  task<void> place_pods() {
    reactor::scope writes;
    for (;;) {
      std::size_t cycles = 0;
      while (writing_ < bindings_max) {
        auto p = queue_.pop(now());
        if (!p) break;
        auto current = cluster_.find_pod(p->ns, p->name);
        if (!current || current->uid != p->uid || !current->node.empty()) {
          queue_.remove(p->key());
          continue;
        }
        place_one(current, writes);
        if (++cycles % cycles_a_turn == 0) co_await reactor::yield();
      }
      measures_.tell(queue_, cluster_);
      wake_.reset();
      if (queue_.next_due() <= now() && writing_ < bindings_max) continue;
      (void)co_await wake_.wait_until(queue_.next_due());
    }
  }

  // Where the pod may go, or who would have to go for it.
  struct attempt {
    outcome found;
    preemption victims;
    wall_time began{};
  };
  // Of an attempt that found a node, for what is counted when the pod has it.
  struct timing {
    std::string_view profile;
    wall_time began{};
    time_point came{};
    unsigned attempts = 0;
  };

  // A turn of it; `before`: the last one, when it was unfinished.
  attempt try_to_place(const profile& by, const pod_view& p, outcome before) {
    auto& random = reactor::loop::current().random();
    cluster_.devices().look_at(reactor::loop::current().wall_now());
    attempt out{.found = place(by, p, cluster_, random, std::move(before)), .victims = {}};
    auto& found = out.found;
    if (found.unfinished || found.node || !found.failed.empty()) return out;
    if (by.preempts && found.why.nodes > 0 && !found.states.of.empty()) {
      out.victims = find_victims(by, p, found, cluster_, random);
      found.unfinished = out.victims.unfinished;
    }
    return out;
  }

  void place_one(const pod_ref& p, reactor::scope& writes) {
    if (!settings_.extenders.empty() && extenders_.concerns(*p)) {
      to_ask_about_.push_back(p);
      return ask_extenders(writes);
    }
    auto& by = *settings_.find(p->is->scheduler_name);
    const auto began = reactor::loop::current().wall_now();
    auto tried = try_to_place(by, *p, {});
    tried.began = began;
    if (!tried.found.unfinished) return settle(p, by, std::move(tried), writes);
    if (searching_ >= bindings_max) return queue_.retry(p, now());
    ++searching_;
    writes.spawn(go_on_placing(p, by, std::move(tried.found), began, writes));
  }

  // What takes longer than a turn: others are placed between its turns, and of several one at a time goes on.
  task<void> go_on_placing(pod_ref p, const profile& by, outcome last, wall_time began, reactor::scope& writes) {
    for (;;) {
      co_await long_searches_.acquire();
      reactor::turn mine(long_searches_);
      co_await reactor::yield();
      auto current = cluster_.find_pod(p->ns, p->name);
      const bool waits = current && current->uid == p->uid && current->node.empty() && !current->terminating;
      auto tried = waits ? try_to_place(by, *current, std::move(last)) : attempt{};
      if (waits && tried.found.unfinished) {
        last = std::move(tried.found);
        continue;
      }
      --searching_;
      wake_.set();
      tried.began = began;
      if (waits) settle(current, by, std::move(tried), writes);
      co_return;
    }
  }

  // ---- with extenders: while they are asked others are placed, and the cluster goes on

  void ask_extenders(reactor::scope& writes) {
    while (asked_about_ < asked_at_once_max && !to_ask_about_.empty()) {
      auto p = std::move(to_ask_about_.front());
      to_ask_about_.pop_front();
      ++asked_about_;
      writes.spawn(place_by_extenders(std::move(p), writes));
    }
  }

  task<void> place_by_extenders(pod_ref p, reactor::scope& writes) {
    const auto began = reactor::loop::current().wall_now();
    auto tried = co_await try_with_extenders(p);
    if (tried) tried->began = began;
    // What was chosen is of this moment: nothing was waited for since.
    if (auto current = waiting(p); current && tried)
      settle(current, *settings_.find(current->is->scheduler_name), *std::move(tried), writes);
    else if (current)
      queue_.retry(current, now());
    --asked_about_;
    ask_extenders(writes);
    wake_.set();
  }

  // The pod as it is now; null: it needs no node any more.
  pod_ref waiting(const pod_ref& p) const {
    auto current = cluster_.find_pod(p->ns, p->name);
    return current && current->uid == p->uid && current->node.empty() && !current->terminating ? current : nullptr;
  }

  // What an attempt came to; nothing: it is to be begun anew later. What extenders said is held against the cluster as
  // it is when they have said it; who isn't among the nodes that they were asked about makes them be asked again.
  task<std::optional<attempt>> try_with_extenders(pod_ref p) {
    auto& random = reactor::loop::current().random();
    std::optional<extender_words> words;
    outcome last;
    bool keeps_promise = true;
    for (int asked = 0;;) {
      auto current = waiting(p);
      auto by = current ? settings_.find(current->is->scheduler_name) : nullptr;
      if (!by) co_return std::nullopt;
      cluster_.devices().look_at(reactor::loop::current().wall_now());
      attempt out{.found = find_nodes(*by, *current, cluster_, random, std::exchange(last, {}), keeps_promise),
                  .victims = {}};
      auto& found = out.found;
      if (found.unfinished) {
        last = std::move(found);
        co_await long_searches_.acquire();
        reactor::turn mine(long_searches_);
        co_await reactor::yield();
        continue;
      }
      if (!found.failed.empty()) co_return std::move(out);
      if (!found.passed.empty() && !(words && knows_all(*words, found.passed))) {
        if (asked++ == asked_again_max) co_return std::nullopt;
        auto said = co_await extenders_.ask(current, names_of(found.passed));
        if (!said) {
          attempt failed;
          failed.found.failed = said.error().message;
          co_return std::move(failed);
        }
        words = *std::move(said);
        continue;
      }
      if (words && !found.passed.empty()) obey(*words, found);
      if (!found.passed.empty()) {
        choose_node(*by, *current, cluster_, random, found, words->scores);
        co_return std::move(out);
      }
      if (found.promised) {
        keeps_promise = false;
        words.reset();
        continue;
      }
      if (!by->preempts || found.why.nodes == 0 || found.states.of.empty()) co_return std::move(out);
      auto why = why_not_preempting(*current, found, cluster_);
      if (why.empty() && extenders_.judges_victims(*current)) {
        auto candidates = find_candidates(*by, *current, found, cluster_, random);
        if (!candidates.unfinished)
          co_return co_await with_judged_victims(current, std::move(out), std::move(candidates));
      } else {
        out.victims = find_victims(*by, *current, found, cluster_, random);
        if (!out.victims.unfinished) co_return std::move(out);
      }
      last = std::move(found);
      last.unfinished = true;
      co_await long_searches_.acquire();
      reactor::turn mine(long_searches_);
      co_await reactor::yield();
    }
  }

  static std::vector<std::string> names_of(const std::vector<const node_view*>& nodes) {
    std::vector<std::string> out;
    for (auto n : nodes) out.push_back(n->name);
    return out;
  }
  static bool knows_all(const extender_words& words, const std::vector<const node_view*>& nodes) {
    return std::ranges::all_of(nodes, [&](auto n) { return words.asked.contains(n->name); });
  }

  // Takes away the nodes that aren't left. Whatever happens may change an extender's mind: nobody is to blame.
  static void obey(const extender_words& words, outcome& found) {
    const auto before = found.passed.size();
    std::erase_if(found.passed, [&](auto n) {
      if (words.left.contains(n->name)) return false;
      if (auto told = words.refused.find(n->name); told != words.refused.end()) {
        auto why = told->second.for_ever ? verdict::never(told->second.why) : verdict::no(told->second.why);
        found.why.of_nodes.emplace_back(n, refusal{std::move(why), nullptr});
      }
      return true;
    });
    if (found.passed.size() < before) found.why.plugins.clear();
  }

  // Who would have to go, as extenders judge it.
  task<std::optional<attempt>> with_judged_victims(pod_ref p, attempt out, preemption_candidates candidates) {
    if (!candidates.all.empty()) {
      auto named = named_victims(candidates);
      candidates.all.clear();
      // No node is looked at any more that this names: they may go meanwhile.
      for (auto* list : {&out.found.why, &candidates.why})
        for (auto& [node, no] : list->of_nodes) node = nullptr;
      auto judged = co_await extenders_.ask_about(p, std::move(named));
      auto wrong = judged ? find_again(*judged, candidates) : judged.error().message;
      if (!wrong.empty()) {
        out.victims.message = fmt::format("preemption: {}", wrong);
        co_return std::move(out);
      }
    }
    out.victims = choose_victims(std::move(candidates));
    co_return std::move(out);
  }

  victims_by_node named_victims(const preemption_candidates& candidates) const {
    victims_by_node out;
    auto store = c_.objects.objects_store().current();
    for (auto& c : candidates.all) {
      auto& v = out[c.node->name];
      v.violations = static_cast<std::int64_t>(c.violations);
      for (auto& pod : c.victims)
        if (auto object = store.find(c_.objects.prefix(pods, pod->ns) + pod->name))
          v.pods.push_back({pod->uid, std::string(object->bytes())});
    }
    return out;
  }

  // The candidates that were judged, as they are now; the error, in kube-scheduler's words.
  std::string find_again(const victims_by_node& judged, preemption_candidates& into) const {
    for (auto& [name, v] : judged) {
      auto node = cluster_.find_node(name);
      if (!node) return fmt::format("nodeinfo not found for node name {}", quote(name));
      preemption_candidate c{.node = node, .victims = {}, .violations = static_cast<std::size_t>(v.violations)};
      for (auto& pod : v.pods) {
        auto there = std::ranges::find(node->pods, pod.name, [](auto& one) { return one->uid; });
        if (there == node->pods.end())
          return fmt::format(
              "extender claims to preempt pod (UID: {}) on node: {}, but the pod is not found on that "
              "node",
              pod.name, name);
        c.victims.push_back(*there);
      }
      std::ranges::sort(c.victims, more_important);
      into.all.push_back(std::move(c));
    }
    return {};
  }

  // Begins to write what an attempt came to.
  void settle(const pod_ref& p, const profile& by, attempt tried, reactor::scope& writes) {
    auto& [found, victims, began] = tried;
    const auto took = reactor::loop::current().wall_now() - began;
    using result = schedule_metrics::result;
    if (!found.failed.empty()) {
      measures_.attempted(by.scheduler_name, result::error, took);
      queue_.retry(p, now());
      ++writing_;
      writes.spawn(tell_refused(p, std::move(found.failed), "SchedulerError", "", {}));
      return;
    }
    if (found.node) {
      measures_.searched(took);
      const timing when{by.scheduler_name, began, queue_.since(p->key()), queue_.attempts(p->key())};
      const auto node = found.node->name;
      auto devices = device_plan_on(by, found.states, node);
      volume_plan volumes;
      if (by.binds_volumes && !p->is->claims.empty())
        volumes = find_volumes(claims_of(*p, cluster_.storage()), *found.node, cluster_.storage()).plan;
      cluster_.assume(p, node);
      auto assumed = cluster_.storage().assume(volumes, node);
      devices_.assume(devices);
      ++writing_;
      writes.spawn(
          volumes.empty() && devices.empty()
              ? bind_now(p, node, when)
              : prepare_and_bind(p, node, {std::move(volumes), std::move(assumed), std::move(devices)}, by, when));
      return;
    }
    measures_.attempted(by.scheduler_name, result::unschedulable, took);
    if (!victims.message.empty()) measures_.preempted(victims.chosen.victims.size());
    std::string deallocated;
    if (auto useless = useless_claim(by, found.states, *p)) {
      writes.spawn(devices_.deallocate(std::move(useless), p));
      deallocated = "deallocation of ResourceClaim completed";
    } else if (auto left = claim_left_over(by, found.states)) {
      writes.spawn(devices_.remove(std::move(left)));
      deallocated = "deletion of ResourceClaim completed";
    }
    found.why.after = victims.message;
    if (!deallocated.empty())
      found.why.after = found.why.after.empty() ? deallocated : fmt::format("{}, {}", deallocated, found.why.after);
    auto text = found.why.nodes == 0 ? std::string(no_nodes_text) : found.why.text();
    std::optional<std::string> nominated;
    if (victims.chosen.node)
      nominated = victims.chosen.node->name;
    else if (victims.clears_nomination || found.why.nodes == 0)
      nominated = "";
    queue_.refuse(p, found.why.plugins, now());
    if (nominated && *nominated != p->nominated) {
      auto next = std::make_shared<pod_view>(*p);
      next->nominated = *nominated;
      cluster_.set_pod(std::move(next));
    }
    ++writing_;
    writes.spawn(
        tell_refused(p, std::move(text), "Unschedulable", std::move(nominated), std::move(victims.chosen.victims)));
  }

  // What a pod needs on its node before it is bound.
  struct preparation {
    volume_plan volumes;
    storage_view::assumption assumed;
    device_plan devices;
  };

  // Volumes first: what waits for a provisioner or a driver takes no place among the writes.
  task<void> prepare_and_bind(pod_ref p, std::string node, preparation plan, const profile& by, timing when) {
    result<void> done;
    std::string_view failed = "VolumeBinding";
    co_await announce(p, node);
    if (!plan.volumes.empty()) {
      done = co_await volumes_.write(plan.volumes, node);
      --writing_;
      wake_.set();
      if (done) done = co_await volumes_.bound(p, plan.volumes, node, now() + by.bind_timeout);
      ++writing_;
      if (!done) done = fail(done.error().code, "binding volumes: " + done.error().message);
    }
    device_claim_ref made;  // for the pod's extended resources
    if (done && !plan.devices.empty()) {
      failed = "DynamicResources";
      done = co_await prepare_devices(p, node, plan.devices, by, made);
    } else {
      devices_.forget(plan.devices);
    }
    if (done) {
      if (!co_await bind(p, std::move(node), when) && !plan.devices.empty())
        co_await devices_.unreserve(p, plan.devices, std::move(made));
      co_return;
    }
    count_failed(when);
    cluster_.storage().revert(plan.assumed);
    cluster_.forget(p);
    queue_.retry(p, now());
    happened({.what = event_kind::pod_removed, .pod = p.get()});
    if (!plan.devices.empty()) {
      happened({.what = event_kind::devices});
      co_await devices_.unreserve(p, plan.devices, std::move(made));
    }
    if (auto there = cluster_.find_pod(p->ns, p->name); !there || there->uid != p->uid) {
      --writing_;
      wake_.set();
      co_return;
    }
    co_await tell_refused(p, fmt::format("running PreBind plugin \"{}\": {}", failed, done.error().message),
                          "SchedulerError", "", {});
  }

  // A pod whose node must be prepared says meanwhile where it is going to be (KEP-5278): who adds and removes nodes
  // shall know. The binding takes it away again. Nothing depends on it.
  task<void> announce(pod_ref p, std::string node) {
    if (p->nominated != node) co_await tell_nomination(p, node);
  }

  // An empty name: it is going nowhere.
  task<void> tell_nomination(pod_ref p, std::string node) {
    auto change = [&](json::value& pod) {
      if (pod["metadata"]["uid"].as_string() != p->uid || !pod["spec"]["nodeName"].as_string().empty()) return false;
      return nominate(pod, node);
    };
    auto told = co_await c_.objects.modify(pods, p->ns, p->name, change, "status");
    if (!told && told.error().code != 404)
      log::debug("scheduler: the node that {} is going to: {}", p->key(), told.error().message);
  }

  // True when the pod's status is another now.
  static bool nominate(json::value& pod, std::string_view node) {
    if (pod["status"]["nominatedNodeName"].as_string() == node) return false;
    node.empty() ? void(pod.member("status").erase("nominatedNodeName"))
                 : pod.member("status").set("nominatedNodeName", node);
    return true;
  }

  task<result<void>> prepare_devices(pod_ref p, std::string node, device_plan plan, const profile& by,
                                     device_claim_ref& made) {
    auto done = co_await devices_.write(p, plan, made);
    if (!done) co_return done;
    if (made) plan.claims.push_back({made, json::value()});
    const bool waits = std::ranges::any_of(plan.claims, [&](auto& one) {
      auto c = cluster_.devices().find_claim(one.claim->ns, one.claim->name);
      return c && has_binding_conditions(*c);
    });
    if (!waits) co_return done;
    --writing_;
    wake_.set();
    co_await events_.record(about(*p), "Normal", "BindingConditionsPending",
                            fmt::format("waiting for binding conditions for device on node {}", node));
    const auto began = now();
    done = co_await devices_.bound(plan, by.device_timeout);
    ++writing_;
    std::string_view became = done ? "success" : done.error().code == errc::timeout ? "timeout" : "failed";
    for (auto& one : plan.claims)
      if (auto c = cluster_.devices().find_claim(one.claim->ns, one.claim->name))
        for (auto& d : c->devices)
          if (!d.binding_conditions.empty())
            measures_.devices_bound(by.scheduler_name, d.id.pool.driver, became, now() - began);
    co_return done;
  }

  task<void> bind_now(pod_ref p, std::string node, timing when) {
    (void)co_await bind(std::move(p), std::move(node), when);
  }

  // Whether it has its node now.
  task<bool> bind(pod_ref p, std::string node, timing when) {
    if (!settings_.extenders.empty() && extenders_.binds(*p)) {
      if (auto bound = co_await bind_by_extender(p, node, when)) co_return *bound;
    }
    auto done = co_await c_.objects.bind(p->ns, p->name, p->uid, node);
    // While it may have landed, nothing but a certain answer ends it.
    for (constexpr int in_doubt = 504, away = 503; !done && done.error().code == in_doubt;) {
      do {
        co_await reactor::sleep_for(doubt_pause);
        done = co_await c_.objects.bind(p->ns, p->name, p->uid, node);
      } while (!done && done.error().code == away);
      if (!done && done.error().code == 409 && has_its_node(p, node)) done = {};
    }
    --writing_;
    wake_.set();
    if (!done) {
      count_failed(when);
      // What it was told to be given keeps a place from others.
      if (done.error().code != 404) co_await tell_nomination(p, {});
      // Gone, or bound by somebody else, is told by its own event.
      cluster_.forget(p);
      if (done.error().code != 404) {
        log::debug("scheduler: {} to {}: {}", p->key(), node, done.error().message);
        queue_.retry(p, now());
      } else {
        queue_.remove(p->key());
      }
      happened({.what = event_kind::pod_removed, .pod = p.get()});
      co_return false;
    }
    count_placed(when);
    co_await events_.record(about(*p), "Normal", "Scheduled",
                            fmt::format("Successfully assigned {}/{} to {}", p->ns, p->name, node));
    co_return true;
  }

  void count_placed(const timing& when) {
    measures_.attempted(when.profile, schedule_metrics::result::scheduled,
                        reactor::loop::current().wall_now() - when.began);
    measures_.placed(when.attempts, when.came == time_point() ? duration(0) : now() - when.came);
  }
  void count_failed(const timing& when) {
    measures_.attempted(when.profile, schedule_metrics::result::error,
                        reactor::loop::current().wall_now() - when.began);
  }

  // As bind(); nothing: it is to be bound here. While the extender is asked, its pod takes no place among the writes.
  task<std::optional<bool>> bind_by_extender(pod_ref p, std::string node, timing when) {
    --writing_;
    wake_.set();
    co_await extender_bindings_.acquire();
    reactor::turn mine(extender_bindings_);
    auto done = co_await extenders_.bind(p, node);
    ++writing_;
    if (done && !*done) co_return std::nullopt;
    if (done || has_its_node(p, node)) {
      --writing_;
      wake_.set();
      count_placed(when);
      co_await events_.record(about(*p), "Normal", "Scheduled",
                              fmt::format("Successfully assigned {}/{} to {}", p->ns, p->name, node));
      co_return true;
    }
    count_failed(when);
    cluster_.forget(p);
    queue_.retry(p, now());
    happened({.what = event_kind::pod_removed, .pod = p.get()});
    co_await tell_refused(p, done.error().message, "SchedulerError", "", {});
    co_return false;
  }

  // As the store has it.
  bool has_its_node(const pod_ref& p, std::string_view node) const {
    auto pod = c_.objects.get(pods, p->ns, p->name);
    return pod && (*pod)["metadata"]["uid"].as_string() == p->uid && (*pod)["spec"]["nodeName"].as_string() == node;
  }

  task<void> tell_refused(pod_ref p, std::string text, std::string_view reason, std::optional<std::string> nominated,
                          std::vector<pod_ref> victims) {
    co_await events_.record(about(*p), "Warning", "FailedScheduling", note(text));
    auto change = [&](json::value& pod) {
      if (pod["metadata"]["uid"].as_string() != p->uid || !pod["spec"]["nodeName"].as_string().empty()) return false;
      bool changed = set_condition(pod, "PodScheduled", "False", reason, text);
      if (nominated) changed |= nominate(pod, *nominated);
      return changed;
    };
    auto told = co_await c_.objects.modify(pods, p->ns, p->name, change, "status");
    if (!told && told.error().code != 404)
      log::debug("scheduler: the condition of {}: {}", p->key(), told.error().message);
    co_await preempt(p, std::move(victims));
    --writing_;
    wake_.set();
  }

  task<void> preempt(pod_ref p, std::vector<pod_ref> victims) {
    for (auto& v : victims) {
      if (v->terminating) continue;
      auto mark = [&](json::value& pod) {
        if (pod["metadata"]["uid"].as_string() != v->uid) return false;
        return set_condition(pod, "DisruptionTarget", "True", "PreemptionByScheduler",
                             fmt::format("{}: preempting to accommodate a higher priority pod", p->is->scheduler_name));
      };
      auto marked = co_await c_.objects.modify(pods, v->ns, v->name, mark, "status");
      if (!marked) continue;
      auto gone = co_await c_.objects.remove(pods, v->ns, v->name, {.uid = v->uid});
      if (!gone) continue;
      co_await events_.record(about(*v), "Normal", "Preempted",
                              fmt::format("Preempted by pod {} on node {}", p->uid, v->node));
    }
  }

  // True when the pod's status is another now.
  static bool set_condition(json::value& pod, std::string_view type, std::string_view status, std::string_view reason,
                            std::string_view message) {
    auto now = format_rfc3339(reactor::loop::current().wall_now());
    const auto generation = pod["metadata"]["generation"];
    auto& list = pod.member("status").member("conditions").make_array();
    for (auto& c : list) {
      if (c["type"].as_string() != type) continue;
      const bool flipped = c["status"].as_string() != status;
      if (!flipped && c["reason"].as_string() == reason && c["message"].as_string() == message &&
          c["observedGeneration"].as_integer() == generation.as_integer())
        return false;
      c.set("status", status);
      c.set("reason", reason);
      c.set("message", message);
      if (generation.is_integer()) c.set("observedGeneration", generation);
      if (flipped) c.set("lastTransitionTime", now);
      return true;
    }
    json::object made{{"type", type},     {"status", status},  {"lastProbeTime", nullptr}, {"lastTransitionTime", now},
                      {"reason", reason}, {"message", message}};
    if (generation.is_integer()) made.set("observedGeneration", generation);
    list.emplace_back(std::move(made));
    return true;
  }

  static json::value about(const pod_view& p) {
    return json::object{{"kind", "Pod"},
                        {"apiVersion", "v1"},
                        {"metadata", json::object{{"name", p.name}, {"namespace", p.ns}, {"uid", p.uid}}}};
  }
  static time_point now() { return reactor::loop::current().now(); }

  context& c_;
  const configuration& settings_;
  cluster_view cluster_;
  queue queue_;
  event_recorder events_;
  schedule_metrics measures_;
  volume_binder volumes_;
  claim_binder devices_;
  extender_client extenders_;
  std::deque<pod_ref> to_ask_about_;  // pods that wait until fewer are asked about
  std::size_t asked_about_ = 0;
  reactor::semaphore extender_bindings_{asked_at_once_max};
  reactor::semaphore long_searches_{1};
  reactor::event wake_;
  std::size_t writing_ = 0, searching_ = 0;
};

}  // namespace

task<void> run_scheduler(context& c, const scheduler::configuration& settings) {
  run r(c, settings);
  co_await r.go();
}

}  // namespace kedge::control
