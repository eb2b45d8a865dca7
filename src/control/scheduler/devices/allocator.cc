#include "control/scheduler/devices/allocator.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <optional>
#include <set>
#include <unordered_map>
#include <utility>

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

// What a part of the search came to. Over how many devices a claim may have, another alternative of an earlier request
// may still do.
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

// What was taken with a device, for giving it back.
struct taking {
  bool counters = false, marked = false, shared = false, was_shared = false, listed = false;
  std::size_t constraints = 0;
  pod::amounts consumed;
};

// A choice that is being made, while what comes behind it is looked for.
struct choice {
  enum class kind : unsigned char {
    claim,         // all of one claim; behind it the next
    alternatives,  // of a request: at.alternative is tried
    fixed,         // the next of "all" devices
    any,           // a device, from `next` on
  } what;
  position at;
  bool in_alternative = false;
  place_in_pools next = {};
  bool only_too_many = true;
  candidate device = {};
  taking with = {};
};

// Nothing: all that may be had are through.
std::optional<candidate> next_candidate(const std::vector<device_pool>& pools, place_in_pools& at) {
  for (; at.pool < pools.size(); at = {at.pool + 1, 0, 0}) {
    auto& pool = pools[at.pool];
    if (pool.incomplete || pool.invalid) continue;
    for (; at.slice < pool.slices.size(); at = {at.pool, at.slice + 1, 0}) {
      auto& in = *pool.slices[at.slice];
      if (at.device < in.devices.size()) return candidate{&in.devices[at.device++], &in, at.pool};
    }
  }
  return std::nullopt;
}

bool reaches_by_device(const std::vector<device_pool>& pools) {
  return std::ranges::any_of(
      pools, [](auto& p) { return std::ranges::any_of(p.slices, [](auto& s) { return s->by_device; }); });
}

}  // namespace

// What it reads is its own, or immutable, but for `devices`.
class device_search::state {
 public:
  state(std::vector<device_claim_ref> claims, const node_view& node, const devices_view& devices, std::uint64_t steps)
      : claims_(std::move(claims)),
        node_(node.name),
        devices_(devices),
        steps_(steps),
        steps_max_(steps),
        pools_(pools_of(node, devices)),
        counters_(pools_.size()),
        demands_(claims_.size()),
        constraints_(claims_.size()),
        chosen_(claims_.size()),
        results_(claims_.size()) {
    if (reaches_by_device(pools_)) labels_ = node.labels;
  }

  bool run(std::uint64_t& steps) {
    turn_ = steps;
    while (!over_ && turn_ > 0) go_on();
    steps = turn_;
    return over_;
  }
  std::uint64_t taken_steps() const noexcept { return steps_max_ - steps_; }

  device_allocation result() {
    if (!wrong_.empty() || gave_up_)
      return {gave_up_ ? device_allocation::kind::given_up : device_allocation::kind::failed, {}, std::move(wrong_)};
    if (last_ != ending::done) {
      if (std::ranges::any_of(pools_, &device_pool::invalid))
        return {device_allocation::kind::refused, {}, "invalid resource pools were encountered"};
      return {};
    }
    device_allocation out{device_allocation::kind::found, {}, {}};
    for (std::size_t i = 0; i < claims_.size(); ++i)
      out.results.push_back(allocation_of(*claims_[i], choices(i), results_[i], node_));
    return out;
  }

 private:
  // One step of what is to be done, whatever it is.
  void go_on() {
    if (!gathered_)
      over_ = !gather();
    else if (preparing_.claim < claims_.size())
      over_ = !(all_of_ ? find_next() : prepare_next());
    else if (!begun_)
      begin({});
    else if (!choices_.empty())
      choose();
    else
      over_ = true;
    over_ = over_ || gave_up_ || !wrong_.empty();
  }

  bool fail(std::string why) {
    wrong_ = std::move(why);
    return false;
  }
  // False: the search is over.
  bool spend(std::uint64_t steps) {
    gave_up_ |= steps_ < steps;
    steps_ = gave_up_ ? 0 : steps_ - steps;
    turn_ -= std::min(turn_, steps);
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

  // What it took to gather the pools.
  bool gather() {
    gathered_ = true;
    std::uint64_t all = 1;
    for (auto& pool : pools_)
      for (auto* list : {&pool.slices, &pool.of_others})
        for (auto& s : *list) all += 1 + s->devices.size() / gathered_in_step;
    return spend(all);
  }

  // One request or alternative.
  bool prepare_next() {
    if (!spend(1)) return false;
    auto& [claim, request, alternative, device] = preparing_;
    auto& c = *claims_[claim];
    if (request == c.requests.size()) return finish_claim();
    auto& group = c.requests[request];
    if (alternative == 0) {
      chosen_[claim].push_back(0);
      demands_[claim].emplace_back();
      fewest_ = std::numeric_limits<std::size_t>::max();
    }
    if (alternative == group.of.size()) return finish_request();
    demands_[claim].back().push_back({.request = &group.of[alternative],
                                      .of_class = nullptr,
                                      .devices = 0,
                                      .all = false,
                                      .fixed = {},
                                      .selected = {}});
    auto& d = demands_[claim].back().back();
    if (!check(claim, d)) return false;
    if (d.all) {
      all_of_ = true;
      finding_ = {};
    } else {
      finish_alternative(d);
    }
    return true;
  }

  void finish_alternative(const demand& d) {
    fewest_ = std::min(fewest_, d.devices);
    ++preparing_.alternative;
  }

  bool finish_request() {
    auto& c = *claims_[preparing_.claim];
    if (fewest_ > devices_of_claim_max - least_)
      return fail(
          fmt::format("claim {}, request {}: adding {} devices exceeds the claim limit of {}, with {} already "
                      "accounted for",
                      c.key(), c.requests[preparing_.request].name, fewest_, devices_of_claim_max, least_));
    least_ += fewest_;
    ++preparing_.request;
    preparing_.alternative = 0;
    return true;
  }

  bool finish_claim() {
    auto& c = *claims_[preparing_.claim];
    for (std::size_t i = 0; i < c.constraints.size(); ++i) {
      if (c.constraints[i].what == device_constraint::kind::unknown)
        return fail(
            fmt::format("claim {}, constraint #{}: empty constraint (unsupported constraint type?)", c.key(), i));
      constraints_[preparing_.claim].emplace_back(c.constraints[i]);
    }
    preparing_ = {.claim = preparing_.claim + 1, .request = 0, .alternative = 0, .device = 0};
    least_ = 0;
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
    return true;
  }

  // The next device of "all", which is only known when every pool is.
  bool find_next() {
    const auto claim = preparing_.claim;
    auto& d = demands_[claim].back().back();
    for (; finding_.pool < pools_.size(); finding_ = {finding_.pool + 1, 0, 0}) {
      auto& pool = pools_[finding_.pool];
      if (pool.incomplete || pool.invalid)
        return fail(fmt::format("{}: asks for all devices, but resource pool {} is currently {}",
                                about(claim, *d.request), pool.id.text(),
                                pool.incomplete ? "being updated" : "invalid"));
      for (; finding_.slice < pool.slices.size(); finding_ = {finding_.pool, finding_.slice + 1, 0}) {
        auto& s = *pool.slices[finding_.slice];
        if (finding_.device < s.devices.size()) return look_at_one_of_all(claim, d, s, s.devices[finding_.device++]);
      }
    }
    d.devices = d.fixed.size();
    all_of_ = false;
    finish_alternative(d);
    return true;
  }

  bool look_at_one_of_all(std::size_t claim, demand& d, const slice& s, const device& one) {
    if (!spend(1)) return false;
    auto yes = is_selected(claim, d, s, one);
    if (!yes) return false;
    if (!*yes) return true;
    auto fits = has_capacity(one, d.request->capacity, nullptr, nullptr);
    if (!fits)
      return fail(
          fmt::format("{}: checking capacity for device {}: {}", about(claim, *d.request), one.name, fits.error()));
    if (*fits) d.fixed.push_back({&one, &s, finding_.pool});
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
    if (yes && s.by_device) yes = one.from.matches(node_, labels_);
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

  // What comes at a place: an end, or one more choice.
  void begin(position at, bool in_alternative = false, place_in_pools from = {}) {
    begun_ = true;
    for (;;) {
      gave_up_ |= choices_.size() >= search_depth_max;
      if (!spend(1)) return end(ending::failed);
      if (at.claim >= claims_.size()) return end(ending::done);
      if (at.request >= demands_[at.claim].size()) {
        choices_.push_back({.what = choice::kind::claim, .at = at});
        at = {.claim = at.claim + 1, .request = 0, .alternative = 0, .device = 0};
        in_alternative = false;
        from = {};
        continue;
      }
      if (!in_alternative && claims_[at.claim]->requests[at.request].alternatives)
        return choices_.push_back({.what = choice::kind::alternatives, .at = at});
      auto& d = demands_[at.claim][at.request][at.alternative];
      if (d.all && d.fixed.empty()) return end(ending::none);
      if (at.device >= d.devices) {
        at = {.claim = at.claim, .request = at.request + 1, .alternative = 0, .device = 0};
        in_alternative = false;
        from = {};
        continue;
      }
      if (d.devices - at.device > devices_of_claim_max - results_[at.claim].size()) return end(ending::too_many);
      return choices_.push_back({.what = d.all ? choice::kind::fixed : choice::kind::any,
                                 .at = at,
                                 .in_alternative = in_alternative,
                                 .next = from});
    }
  }

  void end(ending e) { last_ = e; }
  // The choice itself came to that.
  void end_choice(ending e) {
    choices_.pop_back();
    last_ = e;
  }

  // Goes on with the last choice: with what came of what is behind it, or with the next that may be chosen.
  void choose() {
    auto& c = choices_.back();
    auto came = std::exchange(last_, std::nullopt);
    switch (c.what) {
      case choice::kind::claim: return end_choice(came == ending::too_many ? ending::none : *came);
      case choice::kind::alternatives: return choose_alternative(c, came);
      case choice::kind::fixed: return choose_fixed(c, came);
      case choice::kind::any: return choose_any(c, came);
    }
  }

  void choose_alternative(choice& c, std::optional<ending> came) {
    if (came) {
      if (came == ending::failed) return end_choice(ending::failed);
      if (came == ending::done) {
        chosen_[c.at.claim][c.at.request] = c.at.alternative;
        return end_choice(ending::done);
      }
      c.only_too_many &= came == ending::too_many;
      ++c.at.alternative;
    }
    if (c.at.alternative == demands_[c.at.claim][c.at.request].size())
      return end_choice(c.only_too_many ? ending::too_many : ending::none);
    begin(position(c.at), true);
  }

  demand& demand_at(const position& at) { return demands_[at.claim][at.request][at.alternative]; }

  // Of "all" devices the order doesn't matter: when the next one can't be had, there is no solution.
  void choose_fixed(choice& c, std::optional<ending> came) {
    auto& d = demand_at(c.at);
    auto& next = d.fixed[c.at.device];
    if (came) {
      if (came != ending::done) give_back(c.at.claim, *d.request, next, c.with);
      return end_choice(*came);
    }
    auto with = take(c.at, d, next, true);
    if (!with) return end_choice(wrong_.empty() ? ending::none : ending::failed);
    c.with = *std::move(with);
    auto behind = c.at;
    ++behind.device;
    begin(behind, c.in_alternative);
  }

  // Combinations, not permutations: the next device of the same request stands behind this one.
  void choose_any(choice& c, std::optional<ending> came) {
    auto& d = demand_at(c.at);
    if (came) {
      if (came != ending::done) give_back(c.at.claim, *d.request, c.device, c.with);
      if (came != ending::none) return end_choice(*came);
    }
    auto one = next_candidate(pools_, c.next);
    if (!one) return end_choice(ending::none);
    auto with = try_one(c.at, d, *one);
    if (!with) {
      if (gave_up_ || !wrong_.empty()) end_choice(ending::failed);
      return;
    }
    c.device = *one;
    c.with = *std::move(with);
    auto behind = c.at;
    ++behind.device;
    begin(behind, c.in_alternative, place_in_pools(c.next));
  }

  // Nothing: it isn't to be had, or the search is over.
  std::optional<taking> try_one(position at, demand& d, const candidate& c) {
    auto& r = *d.request;
    if (!spend(1)) return std::nullopt;
    if (r.admin ? is_promised_to(*c.is, at.claim) : is_in_use(c)) return std::nullopt;
    auto yes = is_selected(at.claim, d, *c.in, *c.is);
    if (!yes || !*yes) return std::nullopt;
    auto fits = has_room(at.claim, r, c);
    if (!fits || !*fits) return std::nullopt;
    return take(at, d, c, false);
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

  // Nothing: it can't be had, or (`wrong_` is set) something is wrong. `must`: nothing else will do.
  std::optional<taking> take(position at, const demand& d, const candidate& c, bool must) {
    auto& r = *d.request;
    const bool shareable = c.is->shareable;
    if (!shareable && r.admin && is_promised_to(*c.is, at.claim)) return std::nullopt;
    if (!r.admin && is_in_use(c)) return std::nullopt;
    taking out;
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

  void give_back(std::size_t claim, const device_request& r, const candidate& c, const taking& t) {
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

  std::vector<device_claim_ref> claims_;
  std::string node_;
  label_set labels_;  // when a device asks for them
  const devices_view& devices_;
  std::uint64_t steps_, steps_max_, turn_ = 0;
  std::vector<device_pool> pools_;
  std::vector<std::optional<counter_state>> counters_;  // by pool, when it is asked for
  // By claim, request, alternative.
  std::vector<std::vector<std::vector<demand>>> demands_;
  std::vector<std::vector<constraint_state>> constraints_;             // by claim
  std::vector<std::vector<std::size_t>> chosen_;                       // alternatives, by claim and request
  std::vector<std::vector<chosen_device>> results_;                    // by claim
  std::unordered_map<const device*, std::set<std::size_t>> promised_;  // to which claims
  std::unordered_map<const device*, pod::amounts> promised_capacity_;
  std::vector<choice> choices_;
  std::optional<ending> last_;  // what the choice behind the last came to
  // While it is prepared: where, and of the claim and the request the devices that they need at least.
  position preparing_;
  std::size_t least_ = 0, fewest_ = 0;
  bool all_of_ = false;  // looks for "all" devices
  place_in_pools finding_;
  std::string wrong_;
  bool gathered_ = false, begun_ = false, gave_up_ = false, over_ = false;
};

device_search::device_search(std::vector<device_claim_ref> claims, const node_view& node, const devices_view& devices,
                             std::uint64_t steps)
    : state_(std::make_unique<state>(std::move(claims), node, devices, steps)) {}
device_search::~device_search() = default;
bool device_search::run(std::uint64_t& steps) { return state_->run(steps); }
std::uint64_t device_search::taken() const noexcept { return state_->taken_steps(); }
device_allocation device_search::result() { return state_->result(); }

bool still_free(std::span<const json::value> allocations, const devices_view& devices, std::uint64_t since) {
  for (auto& a : allocations) {
    auto& results = a["devices"]["results"];
    for (std::size_t i = 0; i < results.size(); ++i) {
      auto& r = results[i];
      if (r["adminAccess"].as_bool()) continue;
      const device_id id{{std::string(r["driver"].as_string()), std::string(r["pool"].as_string())},
                         std::string(r["device"].as_string())};
      const bool counted =
          std::ranges::any_of(devices.pool(id.pool), [](auto& s) { return !s.second->counters.empty(); });
      if (r["shareID"].is_string() || (counted && devices.last_taking(id.pool) > since) || devices.is_taken(id) ||
          devices.is_shared(id))
        return false;
    }
  }
  return true;
}

}  // namespace kedge::control::scheduler
