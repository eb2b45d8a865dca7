// dynamic_resources.cc: DynamicResources: pods that claim devices (resource.k8s.io).
#include "control/scheduler/plugins/dynamic_resources.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>

#include "control/scheduler/devices/allocator.h"
#include "control/scheduler/devices/limits.h"

namespace kedge::control::scheduler {
namespace {

// What is known of a node.
struct node_answer {
  device_allocation got;
  const claim_for_resources* for_resources = nullptr;  // the last of the claims
  std::uint64_t takings = 0;                           // when it was looked for
};

// What is found out before the nodes, and for each of them; an attempt that takes several turns keeps it. An experiment
// with other pods changes nothing of it: whose devices are given back is told by claims alone.
struct claims_state final : plugin_state {
  struct found {
    std::vector<device_claim_ref> claims, to_allocate;
    bool wants_resources = false;  // a class stands for an extended resource of the pod
    device_claim_ref left_over;    // made for them by an earlier try
    std::uint64_t generation = 0;  // of the devices
    std::uint64_t steps_left = search_steps_of_pod_max, steps_of_turn = search_steps_of_turn;
    std::map<std::string, node_answer, std::less<>> by_node;
    std::set<std::size_t> unavailable;  // of claims, somewhere
    // Claims to be made, by the resources that they are for: nodes differ in what they count themselves.
    std::map<std::vector<std::string>, claim_for_resources> made;
    struct search {
      std::string node;
      device_search it;
      const claim_for_resources* for_resources;
      std::uint64_t takings;  // when it began
    };
    std::unique_ptr<search> begun;  // and not over in its turn
  };
  std::shared_ptr<found> all = std::make_shared<found>();
  std::unique_ptr<plugin_state> clone() const override { return std::make_unique<claims_state>(*this); }
};

const claims_state::found* found_by(const profile& by, const filter_states& states) {
  auto state = by.devices ? state_of(by, states, by.devices) : nullptr;
  return state ? static_cast<const claims_state*>(state)->all.get() : nullptr;
}

std::optional<std::string> lacks_class(const device_claim& c, const devices_view& devices) {
  for (auto& group : c.requests) {
    if (group.of.empty())
      return fmt::format("resource claim {}, request {}: unknown request type", c.key(), group.name);
    for (auto& r : group.of)
      if (!devices.find_class(r.class_name))
        return fmt::format("request {}: device class {} does not exist", r.full_name(), r.class_name);
  }
  return std::nullopt;
}

// Whether what was found may still be given, whatever others got since.
bool is_current(const node_answer& a, const devices_view& devices) {
  return a.got.what != device_allocation::kind::found || a.takings == devices.takings() ||
         still_free(a.got.results, devices, a.takings);
}

// What the node has for the claims; null: that takes another turn.
const node_answer* allocate(claims_state::found& f, const node_view& node, const claim_for_resources* for_resources,
                            const devices_view& devices) {
  if (auto known = f.by_node.find(node.name); known != f.by_node.end()) {
    if (known->second.for_resources == for_resources && is_current(known->second, devices)) return &known->second;
    f.by_node.erase(known);
  }
  node_answer answer;
  if (f.steps_left == 0) {
    answer = {{device_allocation::kind::given_up, {}, {}}, for_resources, devices.takings()};
  } else {
    if (!f.begun || f.begun->node != node.name || f.begun->for_resources != for_resources) {
      auto claims = f.to_allocate;
      if (for_resources) claims.push_back(for_resources->claim);
      f.begun.reset(new claims_state::found::search{
          node.name, device_search(std::move(claims), node, devices, std::min(search_steps_max, f.steps_left)),
          for_resources, devices.takings()});
    }
    auto& search = *f.begun;
    const auto before = search.it.taken();
    const bool over = search.it.run(f.steps_of_turn);
    f.steps_left -= std::min(f.steps_left, search.it.taken() - before);
    if (!over) return nullptr;
    answer = {search.it.result(), search.for_resources, search.takings};
    f.begun.reset();
    // Somebody else got one of them while the search went on: once more.
    if (!is_current(answer, devices)) return nullptr;
  }
  return &f.by_node.insert_or_assign(node.name, std::move(answer)).first->second;
}

bool says_true(const json::value& status, std::string_view type, const json::value** which = nullptr) {
  auto& conditions = status["conditions"];
  for (std::size_t i = 0; i < conditions.size(); ++i)
    if (conditions[i]["type"].as_string() == type) {
      if (which) *which = &conditions[i];
      return conditions[i]["status"].as_string() == "True";
    }
  return false;
}

const json::value* status_of(const device_claim& claim, const allocated_device& d) {
  for (std::size_t i = 0; i < claim.device_statuses.size(); ++i) {
    auto& s = claim.device_statuses[i];
    if (s["device"].as_string() == d.id.name && s["driver"].as_string() == d.id.pool.driver &&
        s["pool"].as_string() == d.id.pool.name)
      return &s;
  }
  return nullptr;
}

bool was_given_up(const device_claim& claim, std::chrono::seconds timeout, wall_time now) {
  auto since = parse_rfc3339(claim.allocated_at);
  return since && has_binding_conditions(claim) && *since + timeout < now;
}

// Eight for the first alternative of a request, one less for each behind it.
std::int64_t preference(const device_claim& claim, const std::vector<std::string>& served) {
  std::int64_t out = 0;
  for (auto& group : claim.requests)
    for (std::size_t i = 0; i < group.of.size() && group.alternatives; ++i)
      if (std::ranges::find(served, group.of[i].full_name()) != served.end())
        out += alternatives_max - static_cast<std::int64_t>(i);
  return out;
}

class dynamic_resources final : public plugin {
 public:
  explicit dynamic_resources(std::chrono::seconds timeout) : timeout_(timeout) {}
  std::string_view name() const noexcept override { return "DynamicResources"; }

  bool filters() const noexcept override { return true; }
  prefiltered prefilter(const pod_view& pod, const cluster_view& cluster) const override {
    prefiltered out;
    auto& devices = cluster.devices();
    auto claims = device_claims_of(pod, devices);
    if (!claims) {
      out.refused = verdict::never(claims.error());
      return out;
    }
    auto state = std::make_unique<claims_state>();
    auto& f = *state->all;
    f.wants_resources = asks_for_devices(*pod.is, devices);
    out.skip = claims->empty() && !f.wants_resources;
    if (out.skip) return out;
    for (auto& c : *claims) {
      out.refused = judge(*c, pod, devices);
      if (!out.refused) return out;
      if (!c->allocated) f.to_allocate.push_back(c);
    }
    f.claims = *std::move(claims);
    if (f.wants_resources) f.left_over = devices.claim_for_resources(pod.ns, pod.uid);
    f.generation = devices.generation();
    out.state = std::move(state);
    return out;
  }

  // What is known of nodes stays true while the claims and what there is of devices do.
  prefiltered prefilter_again(const pod_view& pod, const cluster_view& cluster,
                              std::unique_ptr<plugin_state> before) const override {
    auto out = prefilter(pod, cluster);
    if (!out.state || !before) return out;
    auto& had = static_cast<claims_state&>(*before).all;
    auto& f = *static_cast<claims_state&>(*out.state).all;
    if (had->generation == f.generation && had->claims == f.claims && had->left_over == f.left_over &&
        had->wants_resources == f.wants_resources) {
      had->steps_of_turn = search_steps_of_turn;
      had->unavailable.clear();
      static_cast<claims_state&>(*out.state).all = std::move(had);
    } else {
      f.steps_left = had->steps_left;
    }
    return out;
  }

  verdict filter(const pod_view& pod, const node_view& node, const plugin_state* state,
                 const cluster_view& cluster) const override {
    auto& f = *static_cast<const claims_state*>(state)->all;
    auto& devices = cluster.devices();
    const claim_for_resources* made = nullptr;
    if (f.wants_resources) {
      if (f.left_over) return verdict::never("cannot schedule extended resource claim");
      auto has = extended_resources_on(node, *pod.is, devices);
      if (has.lacks_some) return verdict::never("cannot fit resource");
      if (!has.as_devices.empty()) made = &claim_made(f, pod, std::move(has.as_devices), devices);
      if (made && made->requests.empty()) made = nullptr;
    }
    bool available = true;
    for (std::size_t i = 0; i < f.claims.size(); ++i)
      if (!is_available(*f.claims[i], node, devices.now())) {
        f.unavailable.insert(i);
        available = false;
      }
    if (!f.to_allocate.empty() || made) {
      auto answer = allocate(f, node, made, devices);
      if (!answer) return verdict::later();
      using kind = device_allocation::kind;
      switch (answer->got.what) {
        case kind::found: break;
        case kind::none: return verdict::never("cannot allocate all claims");
        case kind::refused: return verdict::never(answer->got.why);
        case kind::failed: return verdict::error(answer->got.why);
        case kind::given_up:
          return verdict::error(fmt::format("node {}: timed out trying to allocate devices", node.name));
      }
    } else {
      f.by_node.erase(node.name);  // it had to have some before its own devices were counted
    }
    return available ? verdict{} : verdict::never("resourceclaim not available on the node");
  }

  bool scores() const noexcept override { return true; }
  std::unique_ptr<plugin_state> prescore_after(const plugin_state* filtered, const pod_view&,
                                               std::span<const node_view* const>, const cluster_view&) const override {
    if (!filtered) return nullptr;
    auto& f = *static_cast<const claims_state*>(filtered)->all;
    const bool prefers = std::ranges::any_of(
        f.claims, [](auto& c) { return std::ranges::any_of(c->requests, &request_group::alternatives); });
    if (!prefers || f.to_allocate.empty()) return nullptr;
    return filtered->clone();
  }
  std::int64_t score(const pod_view&, const node_view& node, const plugin_state& state,
                     const cluster_view&) const override {
    auto& f = *static_cast<const claims_state&>(state).all;
    auto found = f.by_node.find(node.name);
    if (found == f.by_node.end() || found->second.got.what != device_allocation::kind::found) return 0;
    auto& got = found->second.got;
    std::int64_t out = 0;
    for (auto& c : f.claims)
      if (c->allocated) out += preference(*c, c->requests_served);
    for (std::size_t i = 0; i < f.to_allocate.size(); ++i)
      out += preference(*f.to_allocate[i], with_allocation(*f.to_allocate[i], got.results[i])->requests_served);
    return out;
  }
  void normalise(std::span<std::int64_t> scores, std::span<const node_view* const>,
                 const plugin_state&) const override {
    normalise_to_max(scores, false);
  }

  bool may_help(const cluster_event& e, const pod_view& pod) const override {
    switch (e.what) {
      case cluster_event::kind::everything:
      case cluster_event::kind::devices:
      case cluster_event::kind::device_classes: return true;
      case cluster_event::kind::device_claims: return claim_may_help(e, pod);
      case cluster_event::kind::node: return e.node_changes & (node_added | node_labels | node_allocatable);
      default: return false;
    }
  }

 private:
  // Whether a claim of the pod may be used, or its devices looked for.
  static verdict judge(const device_claim& c, const pod_view& pod, const devices_view& devices) {
    if (c.allocated)
      return c.reserved_for.size() < users_of_claim_max || c.is_reserved_for(pod.uid)
                 ? verdict{}
                 : verdict::never("resourceclaim in use");
    if (devices.is_assumed(c.uid))
      return verdict::never(fmt::format("resource claim {} is in the process of being allocated", c.key()));
    if (auto why = lacks_class(c, devices)) return verdict::never(*why);
    return {};
  }

  static const claim_for_resources& claim_made(claims_state::found& f, const pod_view& pod,
                                               std::vector<std::string> resources, const devices_view& devices) {
    auto known = f.made.find(resources);
    if (known == f.made.end()) {
      auto made = make_claim_for(pod, resources, devices);
      known = f.made.emplace(std::move(resources), std::move(made)).first;
    }
    return known->second;
  }

  bool is_available(const device_claim& c, const node_view& node, wall_time now) const {
    if (!c.allocated) return true;
    if (c.nodes && !c.nodes->matches(node.name, node.labels)) return false;
    auto bound = is_bound(c);
    return bound && (*bound || !was_given_up(c, timeout_, now));
  }

  static bool claim_may_help(const cluster_event& e, const pod_view& pod) {
    auto *before = e.claim_before, *after = e.claim_after;
    if (!after) return before && (before->allocated || (before->of_resources && before->owner == pod.uid));
    auto claims = device_claims_of(pod, e.cluster->devices());
    if (!claims) return false;
    if (before && before->allocated && !after->allocated) return true;
    if (std::ranges::none_of(*claims, [&](auto& c) { return c->uid == after->uid; })) return false;
    return !before || before->allocated != after->allocated || before->reserved_for != after->reserved_for ||
           !(before->device_statuses == after->device_statuses);
  }

  std::chrono::seconds timeout_;
};

}  // namespace

std::expected<std::vector<device_claim_ref>, std::string> device_claims_of(const pod_view& pod,
                                                                           const devices_view& devices) {
  std::vector<device_claim_ref> out;
  std::set<std::string_view> seen;
  for (auto& source : pod.is->device_claims) {
    auto name = source.claim;
    if (name.empty()) {
      if (!source.from_template)
        return std::unexpected(fmt::format(
            "pod \"{}\", spec.resourceClaim \"{}\": none of the supported fields are set", pod.key(), source.name));
      auto made = pod.made_claims.find(source.name);
      if (made == pod.made_claims.end())
        return std::unexpected(fmt::format("pod \"{}\": ResourceClaim not created yet", pod.key()));
      if (!made->second) continue;  // none is needed
      name = *made->second;
    }
    auto claim = devices.find_claim(pod.ns, name);
    if (!claim) return std::unexpected(fmt::format("could not find ResourceClaim \"{}/{}\"", pod.ns, name));
    if (claim->deleting) return std::unexpected(fmt::format("resourceclaim \"{}\" is being deleted", claim->name));
    if (source.claim.empty() && claim->owner != pod.uid)
      return std::unexpected(
          fmt::format("ResourceClaim {} was not created for Pod {} (Pod is not owner)", claim->key(), pod.key()));
    if (seen.insert(claim->uid).second) out.push_back(std::move(claim));
  }
  return out;
}

device_plan device_plan_on(const profile& by, const filter_states& states, std::string_view node) {
  device_plan out;
  auto f = found_by(by, states);
  if (!f) return out;
  auto found = f->by_node.find(node);
  const auto* results = found == f->by_node.end() ? nullptr : &found->second.got.results;
  std::size_t next = 0;
  for (auto& c : f->claims) out.claims.push_back({c, c->allocated || !results ? json::value() : (*results)[next++]});
  if (results && found->second.for_resources)
    out.for_resources = device_plan::made{*found->second.for_resources, results->back()};
  return out;
}

device_claim_ref claim_left_over(const profile& by, const filter_states& states) {
  auto f = found_by(by, states);
  return f ? f->left_over : nullptr;
}

device_claim_ref useless_claim(const profile& by, const filter_states& states, const pod_view& pod) {
  auto f = found_by(by, states);
  if (!f) return nullptr;
  for (auto i : f->unavailable) {
    auto& users = f->claims[i]->reserved_for;
    if (users.empty() || (users.size() == 1 && users.front() == pod.uid)) return f->claims[i];
  }
  return nullptr;
}

std::expected<bool, std::string> is_bound(const device_claim& claim) {
  for (auto& d : claim.devices) {
    if (d.binding_conditions.empty()) continue;
    auto status = status_of(claim, d);
    if (!status) return false;
    for (std::size_t i = 0; i < d.failure_conditions.size(); ++i) {
      const json::value* failed = nullptr;
      if (says_true(*status, d.failure_conditions[i].as_string(), &failed))
        return std::unexpected(fmt::format("device binding failed: claim={}, reason={}, message=\"{}\"", claim.name,
                                           (*failed)["reason"].as_string(), (*failed)["message"].as_string()));
    }
    for (std::size_t i = 0; i < d.binding_conditions.size(); ++i)
      if (!says_true(*status, d.binding_conditions[i].as_string())) return false;
  }
  return true;
}

bool has_binding_conditions(const device_claim& claim) {
  return std::ranges::any_of(claim.devices, [](auto& d) { return !d.binding_conditions.empty(); });
}

plugin_result make_dynamic_resources(const json::value& arguments) {
  std::chrono::seconds timeout{600};
  if (auto given = parse_duration(arguments["bindingTimeout"].as_string()))
    timeout = std::chrono::duration_cast<std::chrono::seconds>(*given);
  return std::make_unique<dynamic_resources>(timeout);
}

}  // namespace kedge::control::scheduler
