#include "control/scheduler/devices/allocator.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <set>
#include <unordered_map>

#include "control/scheduler/devices/allocation_text.h"
#include "control/scheduler/devices/capacity.h"
#include "control/scheduler/devices/constraints.h"
#include "control/scheduler/devices/limits.h"

namespace kedge::control::scheduler {
namespace {

struct candidate {
  const device* is = nullptr;
  const slice* in = nullptr;
  std::size_t pool = 0;
  device_id id() const { return {in->pool, is->name}; }
};

// One request, or one alternative, of one claim.
struct demand {
  const device_request* request = nullptr;
  class_ref of_class;
  std::size_t devices = 0;  // how many it needs
  bool all = false;         // those of `fixed`
  std::vector<candidate> fixed;
  std::unordered_map<const device*, bool> selected;  // what its selectors say
};

struct position {
  std::size_t claim = 0, request = 0, alternative = 0, device = 0;
};
struct place_in_pools {
  std::size_t pool = 0, slice = 0, device = 0;
};

// Over how many devices a claim may have, another alternative of an earlier request may still do.
enum class ending : unsigned char { done, none, too_many, failed };

bool is_tainted(const candidate& c, const device_request& r, const devices_view& devices) {
  auto keeps_away = [&](const device_taint& t) {
    if (t.effect != "NoSchedule" && t.effect != "NoExecute") return false;
    return std::ranges::none_of(r.tolerations, [&](auto& by) { return by.tolerates(t); });
  };
  if (std::ranges::any_of(c.is->taints, keeps_away)) return true;
  if (devices.rules().empty()) return false;
  const auto id = c.id();
  return std::ranges::any_of(devices.rules(),
                             [&](auto& rule) { return rule.second.means(id) && keeps_away(rule.second.taint); });
}

// What the counters of one pool have left, and what is promised of them.
struct counter_state {
  std::map<std::string, pod::amounts, std::less<>> left, promised;
};

class search {
 public:
  search(std::span<const device_claim_ref> claims, const node_view& node, const devices_view& devices,
         std::uint64_t& steps)
      : claims_(claims),
        node_(node),
        devices_(devices),
        steps_(steps),
        pools_(pools_of(node, devices)),
        counters_(pools_.size()),
        demands_(claims.size()),
        constraints_(claims.size()),
        chosen_(claims.size()),
        results_(claims.size()) {}

  device_allocation run() {
    for (auto& pool : pools_)
      for (auto* list : {&pool.slices, &pool.of_others})
        for (auto& s : *list)
          if (!spend(1 + s->devices.size() / gathered_in_step)) return failure();
    for (std::size_t i = 0; i < claims_.size(); ++i)
      if (!prepare(i)) return failure();
    switch (next({}, false, {})) {
      case ending::done: break;
      case ending::failed: return failure();
      default:
        if (std::ranges::any_of(pools_, &device_pool::invalid))
          return {device_allocation::kind::refused, {}, "invalid resource pools were encountered"};
        return {};
    }
    device_allocation out{device_allocation::kind::found, {}, {}};
    for (std::size_t i = 0; i < claims_.size(); ++i)
      out.results.push_back(allocation_of(*claims_[i], choices(i), results_[i], node_.name));
    return out;
  }

 private:
  device_allocation failure() {
    return {gave_up_ ? device_allocation::kind::given_up : device_allocation::kind::failed, {}, std::move(wrong_)};
  }
  bool fail(std::string why) {
    wrong_ = std::move(why);
    return false;
  }
  // False: the search is over.
  bool spend(std::uint64_t steps) {
    gave_up_ |= steps_ < steps;
    steps_ = gave_up_ ? 0 : steps_ - steps;
    return !gave_up_;
  }
  std::string about(std::size_t claim, const device_request& r) const {
    return fmt::format("claim {}, request {}", claims_[claim]->key(), r.name);
  }
  std::vector<chosen_request> choices(std::size_t claim) const {
    std::vector<chosen_request> out;
    for (std::size_t i = 0; i < demands_[claim].size(); ++i) {
      auto& d = demands_[claim][i][chosen_[claim][i]];
      out.push_back({d.request, d.of_class.get()});
    }
    return out;
  }

  // ---- before the search: what each request needs, and whether the claim makes sense

  bool prepare(std::size_t claim) {
    auto& c = *claims_[claim];
    chosen_[claim].resize(c.requests.size());
    std::size_t least = 0;  // devices that the claim needs, whatever alternatives are chosen
    for (auto& group : c.requests) {
      auto& demands = demands_[claim].emplace_back();
      auto fewest = std::numeric_limits<std::size_t>::max();
      for (auto& r : group.of) {
        demands.push_back(
            {.request = &r, .of_class = nullptr, .devices = 0, .all = false, .fixed = {}, .selected = {}});
        if (!check(claim, demands.back())) return false;
        fewest = std::min(fewest, demands.back().devices);
      }
      if (fewest > devices_of_claim_max - least)
        return fail(
            fmt::format("claim {}, request {}: adding {} devices exceeds the claim limit of {}, with {} already "
                        "accounted for",
                        c.key(), group.name, fewest, devices_of_claim_max, least));
      least += fewest;
    }
    for (std::size_t i = 0; i < c.constraints.size(); ++i) {
      if (c.constraints[i].what == device_constraint::kind::unknown)
        return fail(
            fmt::format("claim {}, constraint #{}: empty constraint (unsupported constraint type?)", c.key(), i));
      constraints_[claim].emplace_back(c.constraints[i]);
    }
    return true;
  }

  bool check(std::size_t claim, demand& d) {
    auto& r = *d.request;
    const auto here = about(claim, r);
    if (r.derives) return fail(here + ": cannot handle request with derived attributes, the feature is disabled");
    for (std::size_t i = 0; i < r.selectors.size(); ++i)
      if (!r.selectors[i])
        return fail(fmt::format("{}, selector #{}: CEL expression empty (unsupported selector type?)", here, i));
    if (r.class_name.empty()) return fail(here + ": missing device class name (unsupported request type?)");
    d.of_class = devices_.find_class(r.class_name);
    if (!d.of_class)
      return fail(fmt::format("{}: could not retrieve device class {}: deviceclass.resource.k8s.io \"{}\" not found",
                              here, r.class_name, r.class_name));
    if (r.mode == "ExactCount") {
      d.devices = static_cast<std::size_t>(std::max<std::int64_t>(r.count, 0));
      return true;
    }
    if (r.mode != "All") return fail(fmt::format("{}: unsupported count mode {}", here, r.mode));
    d.all = true;
    return find_all(claim, d);
  }

  // "All" is only known when every pool is.
  bool find_all(std::size_t claim, demand& d) {
    const auto here = about(claim, *d.request);
    for (std::size_t i = 0; i < pools_.size(); ++i) {
      auto& pool = pools_[i];
      if (pool.incomplete || pool.invalid)
        return fail(fmt::format("{}: asks for all devices, but resource pool {} is currently {}", here, pool.id.text(),
                                pool.incomplete ? "being updated" : "invalid"));
      for (auto& s : pool.slices)
        for (auto& one : s->devices) {
          if (!spend(1)) return false;
          auto yes = is_selected(claim, d, *s, one);
          if (!yes) return false;
          if (!*yes) continue;
          auto fits = has_capacity(one, d.request->capacity, nullptr, nullptr);
          if (!fits) return fail(fmt::format("{}: checking capacity for device {}: {}", here, one.name, fits.error()));
          if (*fits) d.fixed.push_back({&one, s.get(), i});
        }
    }
    d.devices = d.fixed.size();
    return true;
  }

  // ---- selectors; nothing: one of them fails, or takes too long

  std::optional<bool> is_selected(std::size_t claim, demand& d, const slice& s, const device& one) {
    if (auto known = d.selected.find(&one); known != d.selected.end()) return known->second;
    auto by_class = holds(d.of_class->selectors, s, one, fmt::format("class {}", d.of_class->name));
    if (!by_class) return std::nullopt;
    auto yes = *by_class;
    if (yes) {
      auto own = holds(d.request->selectors, s, one, fmt::format("claim {}", claims_[claim]->key()));
      if (!own) return std::nullopt;
      yes = *own;
    }
    if (yes && s.by_device) yes = one.from.matches(node_.name, node_.labels);
    d.selected.emplace(&one, yes);
    return yes;
  }

  static const std::string& text_of(const std::string& expression) { return expression; }
  static const std::string& text_of(const std::optional<std::string>& expression) { return *expression; }

  template <typename Selectors>
  std::optional<bool> holds(const Selectors& selectors, const slice& s, const device& one, const std::string& whose) {
    for (std::size_t i = 0; i < selectors.size(); ++i) {
      auto& text = text_of(selectors[i]);
      if (!devices_.has_selector(text) && !spend(text.size())) return std::nullopt;
      auto& compiled = devices_.selector(text);
      if (!compiled.program) {
        fail(fmt::format("{}: selector #{}: CEL compile error: {}", whose, i, compiled.wrong));
        return std::nullopt;
      }
      std::uint64_t cost = 0;
      auto is = api::expressions::matches_device(*compiled.program, s.pool.driver, one.facts, &cost);
      if (!spend(steps_of_selection + cost / selector_cost_of_step)) return std::nullopt;
      if (!is) {
        fail(fmt::format("{}: selector #{} on device {}: CEL runtime error: {}", whose, i,
                         device_id{s.pool, one.name}.text(), is.error()));
        return std::nullopt;
      }
      if (!*is) return false;
    }
    return true;
  }

  // ---- the search

  ending next(position at, bool in_alternative, place_in_pools from) {
    gave_up_ |= depth_ == search_depth_max;
    if (!spend(1)) return ending::failed;
    ++depth_;
    auto e = go_on(at, in_alternative, from);
    --depth_;
    return e;
  }

  ending go_on(position at, bool in_alternative, place_in_pools from) {
    if (at.claim >= claims_.size()) return ending::done;
    if (at.request >= demands_[at.claim].size()) {
      auto e = next({.claim = at.claim + 1, .request = 0, .alternative = 0, .device = 0}, false, {});
      return e == ending::too_many ? ending::none : e;
    }
    if (!in_alternative && claims_[at.claim]->requests[at.request].alternatives) return first_alternative(at);
    auto& d = demands_[at.claim][at.request][at.alternative];
    if (d.all && d.fixed.empty()) return ending::none;
    if (at.device >= d.devices)
      return next({.claim = at.claim, .request = at.request + 1, .alternative = 0, .device = 0}, false, {});
    if (d.devices - at.device > devices_of_claim_max - results_[at.claim].size()) return ending::too_many;
    return d.all ? take_fixed(at, d, in_alternative) : take_any(at, d, in_alternative, from);
  }

  ending first_alternative(position at) {
    bool only_too_many = true;
    for (; at.alternative < demands_[at.claim][at.request].size(); ++at.alternative) {
      auto e = next(at, true, {});
      if (e == ending::too_many) continue;
      only_too_many = false;
      if (e == ending::failed) return e;
      if (e == ending::done) {
        chosen_[at.claim][at.request] = at.alternative;
        return e;
      }
    }
    return only_too_many ? ending::too_many : ending::none;
  }

  // Of "all" devices the order doesn't matter: when the next one can't be had, there is no solution.
  ending take_fixed(position at, demand& d, bool in_alternative) {
    auto undo = take(at, d, d.fixed[at.device], true);
    if (!undo) return wrong_.empty() ? ending::none : ending::failed;
    ++at.device;
    auto e = next(at, in_alternative, {});
    if (e == ending::done) return e;
    give_back(at.claim, *d.request, d.fixed[at.device - 1], *undo);
    return e;
  }

  // Combinations, not permutations: the next device of the same request stands behind this one.
  ending take_any(position at, demand& d, bool in_alternative, place_in_pools from) {
    for (auto p = from.pool; p < pools_.size(); ++p) {
      auto& pool = pools_[p];
      if (pool.incomplete || pool.invalid) continue;
      for (auto s = p == from.pool ? from.slice : 0; s < pool.slices.size(); ++s) {
        auto& in = *pool.slices[s];
        const bool begun = p == from.pool && s == from.slice;
        for (auto i = begun ? from.device : 0; i < in.devices.size(); ++i) {
          auto e = try_one(at, d, {&in.devices[i], &in, p}, in_alternative, {p, s, i + 1});
          if (e != ending::none) return e;
        }
      }
    }
    return ending::none;
  }

  ending try_one(position at, demand& d, const candidate& c, bool in_alternative, place_in_pools behind) {
    auto& r = *d.request;
    if (!spend(1)) return ending::failed;
    if (r.admin ? is_promised_to(*c.is, at.claim) : is_in_use(c)) return ending::none;
    auto yes = is_selected(at.claim, d, *c.in, *c.is);
    if (!yes) return ending::failed;
    if (!*yes) return ending::none;
    auto fits = has_room(at.claim, r, c);
    if (!fits) return ending::failed;
    if (!*fits) return ending::none;
    auto undo = take(at, d, c, false);
    if (!undo) return wrong_.empty() ? ending::none : ending::failed;
    ++at.device;
    auto e = next(at, in_alternative, behind);
    if (e != ending::done) give_back(at.claim, r, c, *undo);
    return e;
  }

  // Nothing: it can't be said, and no other device would help.
  std::optional<bool> has_room(std::size_t claim, const device_request& r, const candidate& c) {
    auto promised = promised_capacity_.find(c.is);
    auto fits = has_capacity(*c.is, r.capacity, devices_.consumed(c.id()),
                             promised == promised_capacity_.end() ? nullptr : &promised->second);
    if (fits) return *fits;
    fail(fmt::format("{}: checking capacity for device {}: {}", about(claim, r), c.id().text(), fits.error()));
    return std::nullopt;
  }

  // ---- taking a device, and giving it back

  bool is_promised_to(const device& d, std::size_t claim) const {
    auto it = promised_.find(&d);
    return it != promised_.end() && it->second.contains(claim);
  }
  bool is_in_use(const candidate& c) const {
    auto it = promised_.find(c.is);
    return (it != promised_.end() && !it->second.empty()) || devices_.is_taken(c.id());
  }

  struct taken {
    bool counters = false, marked = false, shared = false, was_shared = false, listed = false;
    std::size_t constraints = 0;
    pod::amounts consumed;
  };

  // Nothing: it can't be had, or (`wrong_` is set) something is wrong. `must`: nothing else will do.
  std::optional<taken> take(position at, const demand& d, const candidate& c, bool must) {
    auto& r = *d.request;
    const bool shareable = c.is->shareable;
    if (!shareable && r.admin && is_promised_to(*c.is, at.claim)) return std::nullopt;
    if (!r.admin && is_in_use(c)) return std::nullopt;
    taken out;
    auto refuse = [&] {
      give_back(at.claim, r, c, out);
      return std::nullopt;
    };
    // A device that is shared has its counters already.
    if (!c.is->consumes.empty() && !(shareable && has_sharers(c))) {
      if (!take_counters(c)) return std::nullopt;
      out.counters = true;
    }
    if (is_tainted(c, r, devices_)) return refuse();
    for (auto& constraint : constraints_[at.claim]) {
      if (!constraint.add(r, *c.is, c.in->pool.driver)) {
        if (must)
          fail(fmt::format("{}: cannot add device {} because a claim constraint would not be satisfied",
                           about(at.claim, r), c.id().text()));
        return refuse();
      }
      ++out.constraints;
    }
    if (must) {
      auto fits = has_room(at.claim, r, c);
      if (!fits || !*fits) return refuse();
    }
    out.was_shared = promised_capacity_.contains(c.is);
    if (shareable) {
      out.consumed = *consumption(*c.is, r.capacity);  // has_room saw no error in it
      pod::add(promised_capacity_[c.is], out.consumed);
      out.shared = true;
    } else {
      promised_[c.is].insert(at.claim);
      out.marked = true;
    }
    results_[at.claim].push_back({&r, c.is, c.in, shareable, out.consumed});
    out.listed = true;
    return out;
  }

  void give_back(std::size_t claim, const device_request& r, const candidate& c, const taken& t) {
    if (t.listed) results_[claim].pop_back();
    if (t.shared) {
      auto it = promised_capacity_.find(c.is);
      for (auto& [name, amount] : t.consumed) it->second[name] -= amount;
      if (!t.was_shared) promised_capacity_.erase(it);
    }
    if (t.marked) promised_[c.is].erase(claim);
    for (auto i = t.constraints; i > 0; --i) constraints_[claim][i - 1].remove(r);
    if (t.counters) give_back_counters(c);
  }

  bool has_sharers(const candidate& c) const { return promised_capacity_.contains(c.is) || devices_.is_shared(c.id()); }

  // ---- counters of a pool that its devices share (KEP-4815)

  counter_state& counters_of(std::size_t pool) {
    auto& state = counters_[pool];
    if (state) return *state;
    auto& p = pools_[pool];
    state.emplace().left = p.counters;
    for (auto* list : {&p.slices, &p.of_others})
      for (auto& s : *list)
        for (auto& d : s->devices) {
          const device_id id{p.id, d.name};
          if (d.consumes.empty() || (!devices_.is_taken(id) && !devices_.is_shared(id))) continue;
          for (auto& use : d.consumes)
            if (auto set = state->left.find(use.set); set != state->left.end())
              for (auto& [name, amount] : use.amounts)
                if (auto q = set->second.find(name); q != set->second.end()) q->second -= amount;
        }
    return *state;
  }

  bool take_counters(const candidate& c) {
    auto& state = counters_of(c.pool);
    for (auto& use : c.is->consumes) pod::add(state.promised[use.set], use.amounts);
    for (auto& [set, left] : state.left) {
      auto promised = state.promised.find(set);
      for (auto& [name, amount] : left) {
        schema::quantity sum;
        if (promised != state.promised.end())
          if (auto q = promised->second.find(name); q != promised->second.end()) sum = q->second;
        if (amount < sum) {
          give_back_counters(c);
          return false;
        }
      }
    }
    return true;
  }

  void give_back_counters(const candidate& c) {
    for (auto& use : c.is->consumes)
      for (auto& [name, amount] : use.amounts) counters_[c.pool]->promised[use.set][name] -= amount;
  }

  std::span<const device_claim_ref> claims_;
  const node_view& node_;
  const devices_view& devices_;
  std::uint64_t& steps_;
  std::vector<device_pool> pools_;
  std::vector<std::optional<counter_state>> counters_;  // by pool, when it is asked for
  // By claim, request, alternative.
  std::vector<std::vector<std::vector<demand>>> demands_;
  std::vector<std::vector<constraint_state>> constraints_;             // by claim
  std::vector<std::vector<std::size_t>> chosen_;                       // alternatives, by claim and request
  std::vector<std::vector<chosen_device>> results_;                    // by claim
  std::unordered_map<const device*, std::set<std::size_t>> promised_;  // to which claims
  std::unordered_map<const device*, pod::amounts> promised_capacity_;
  std::string wrong_;
  std::size_t depth_ = 0;
  bool gave_up_ = false;
};

}  // namespace

device_allocation allocate_devices(std::span<const device_claim_ref> claims, const node_view& node,
                                   const devices_view& devices, std::uint64_t& steps) {
  return search(claims, node, devices, steps).run();
}

}  // namespace kedge::control::scheduler
