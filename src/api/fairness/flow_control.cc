#include "api/fairness/flow_control.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "api/fairness/dump.h"
#include "api/fairness/limits.h"
#include "api/registry/registry.h"
#include "base/strings.h"
#include "json/parse.h"

namespace kedge::api::fairness {
namespace {

constexpr auto restart_pause = std::chrono::milliseconds(100);  // between a lost watch and a new start

std::string prefix_of(std::string_view plural) {
  return builtin_registry().find("flowcontrol.apiserver.k8s.io", "v1", plural)->prefix({});
}

std::vector<json::value> read(const store::snapshot& cluster, const std::string& prefix) {
  std::vector<json::value> out;
  cluster.scan(prefix, {}, [&](const store::object_ref& o) {
    if (auto v = json::parse(o->bytes())) out.push_back(*std::move(v));
    return true;
  });
  return out;
}

// Sets `changed` at the start and whenever an object of `prefix` changes.
task<void> follow(store::store& objects, std::string prefix, reactor::event& changed) {
  for (;;) {
    auto source = objects.watch(prefix, objects.current().at());
    changed.set();
    while (source && co_await (*source)->next()) changed.set();
    co_await reactor::sleep_for(restart_pause);
  }
}

}  // namespace

// A gate as the arbiter reaches it: always by a message, also on its own loop, so that none of the two calls the other
// while it is called by it.
class flow_control::face final : public core_face {
 public:
  face(flow_control& owner, std::size_t core) : owner_(owner), core_(core), loop_(*owner.loops_[core]) {}

  std::weak_ptr<gate> to;  // used on the gate's loop

  void use(std::shared_ptr<const configuration> c, const std::vector<unsigned>& request_max) override {
    post([c = std::move(c), request_max](gate& g) { g.use(c, request_max); });
  }
  void tell(const std::string& level, ticket t, answer a) override {
    post([level, t, a](gate& g) { g.told(level, t, a); });
  }
  void tell_waits(ticket t) override {
    post([t](gate& g) { g.told_to_wait(t); });
  }
  void recall(std::string level) override {
    post([level = std::move(level)](gate& g) { g.recalled(level); });
  }
  void ask_demand() override {
    loop_.post([this] {
      auto g = to.lock();
      auto sums = g ? g->take_demand() : std::map<std::string, demand_sum>();
      owner_.home().post([this, sums = std::move(sums)] {
        if (owner_.arbiter_) owner_.arbiter_->demand_of(core_, sums);
      });
    });
  }
  // From any loop: what the gate gives, or nothing when it is gone.
  template <typename F>
  auto ask(F f) {
    return reactor::call_on(loop_, [this, f = std::move(f)]() -> task<decltype(f(std::declval<gate&>()))> {
      auto g = to.lock();
      if (!g) co_return decltype(f(*g))();
      co_return f(*g);
    });
  }

 private:
  template <typename F>
  void post(F f) {
    loop_.post([this, f = std::move(f)] {
      if (auto g = to.lock()) f(*g);
    });
  }
  flow_control& owner_;
  std::size_t core_;
  reactor::loop& loop_;
};

// The arbiter's loop is the last: the first is the store's.
flow_control::flow_control(std::vector<reactor::loop*> loops, unsigned seats, metrics& m)
    : loops_(std::move(loops)), home_(loops_.size() - 1), seats_(seats), metrics_(m) {
  for (std::size_t i = 0; i < loops_.size(); ++i) faces_.push_back(std::make_unique<face>(*this, i));
  metrics_.collect([from = shown_](std::string& out) {
    std::lock_guard lock(from->mutex);
    out += from->text;
  });
}

flow_control::~flow_control() = default;

std::shared_ptr<gate> flow_control::open(std::size_t core) {
  auto to_arbiter = [this](std::move_only_function<void(arbiter&)> f) {
    if (&reactor::loop::current() == &home()) {
      if (arbiter_) f(*arbiter_);
      return;
    }
    home().post([this, f = std::move(f)]() mutable {
      if (arbiter_) f(*arbiter_);
    });
  };
  auto g = std::make_shared<gate>(core, std::move(to_arbiter), metrics_);
  faces_[core]->to = g;
  g->to_arbiter([core](arbiter& a) { a.greet(core); });
  return g;
}

void flow_control::configure(store::store& objects) {
  auto cluster = objects.current();
  arbiter_->configure(std::make_shared<const configuration>(configuration::make(
      read(cluster, prefix_of("prioritylevelconfigurations")), read(cluster, prefix_of("flowschemas")))));
}

void flow_control::begin(store::store& objects) {
  std::vector<core_face*> cores;
  for (auto& f : faces_) cores.push_back(f.get());
  arbiter_ = std::make_unique<arbiter>(std::move(cores), seats_, [this](const arbiter& a) { show(a); });
  configure(objects);
}

task<void> flow_control::run(store::store& objects) {
  struct running {
    std::unique_ptr<arbiter>& at;
    ~running() { at.reset(); }
  } guard{arbiter_};
  reactor::event changed;
  reactor::scope parts;
  parts.spawn(arbiter_->keep());
  parts.spawn(follow(objects, prefix_of("flowschemas"), changed));
  parts.spawn(follow(objects, prefix_of("prioritylevelconfigurations"), changed));
  for (;;) {
    co_await changed.wait();
    changed.reset();
    configure(objects);
  }
}

void flow_control::show(const arbiter& a) {
  const auto levels = a.state();
  std::string text;
  auto family = [&](std::string_view name, std::string_view help) {
    text += fmt::format("# HELP apiserver_flowcontrol_{0} {1}\n# TYPE apiserver_flowcontrol_{0} gauge\n", name, help);
  };
  auto each = [&](std::string_view name, std::string_view help, auto value) {
    family(name, help);
    for (auto& l : levels)
      text += fmt::format("apiserver_flowcontrol_{}{{priority_level={}}} {}\n", name, quote(l.name), value(l));
  };
  family("seat_fair_frac", "Fair fraction of server's concurrency to allocate to each priority level that can use it");
  text += fmt::format("apiserver_flowcontrol_seat_fair_frac {}\n", a.fair_fraction());
  each("nominal_limit_seats", "Nominal number of execution seats configured for each priority level",
       [](auto& l) { return l.limits.nominal; });
  each("lower_limit_seats", "Configured lower bound on number of execution seats available to each priority level",
       [](auto& l) { return l.limits.lowest; });
  each("upper_limit_seats", "Configured upper bound on number of execution seats available to each priority level",
       [](auto& l) { return l.limits.highest; });
  each("current_limit_seats", "current derived number of execution seats available to each priority level",
       [](auto& l) { return l.current; });
  each("demand_seats_high_watermark", "High watermark, over last adjustment period, of demand_seats",
       [](auto& l) { return l.wants.highest; });
  each("demand_seats_average", "Time-weighted average, over last adjustment period, of demand_seats",
       [](auto& l) { return l.wants.average; });
  each("demand_seats_stdev", "Time-weighted standard deviation, over last adjustment period, of demand_seats",
       [](auto& l) { return l.wants.deviation; });
  each("demand_seats_smoothed", "Smoothed seat demands", [](auto& l) { return l.wants.smoothed; });
  each("target_seats", "Seat allocation targets", [](auto& l) { return l.target; });
  each("current_r", "R(time of last change)", [](auto& l) { return seat_seconds(l.progress); });
  each("dispatch_r", "R(time of last dispatch)", [](auto& l) { return seat_seconds(l.last_dispatch.progress); });
  each("latest_s", "S(most recently dispatched request)", [](auto& l) { return seat_seconds(l.last_dispatch.start); });
  family("next_s_bounds", "min and max, over queues, of S(oldest waiting request in queue)");
  for (auto& l : levels) {
    auto bound = [&](std::string_view which, seat_time s) {
      text += fmt::format("apiserver_flowcontrol_next_s_bounds{{bound=\"{}\",priority_level={}}} {}\n", which,
                          quote(l.name), seat_seconds(s));
    };
    bound("min", l.last_dispatch.earliest);
    bound("max", l.last_dispatch.latest);
  }
  std::lock_guard lock(shown_->mutex);
  shown_->text = std::move(text);
}

// ---- dumps

task<std::vector<level_state>> flow_control::levels() {
  return reactor::call_on(home(), [this]() -> task<std::vector<level_state>> {
    co_return arbiter_ ? arbiter_->state() : std::vector<level_state>();
  });
}

task<std::vector<gate::request_state>> flow_control::requests() {
  std::vector<gate::request_state> all;
  for (auto& f : faces_) {
    auto some = co_await f->ask([](gate& g) { return g.requests(); });
    all.insert(all.end(), std::make_move_iterator(some.begin()), std::make_move_iterator(some.end()));
  }
  co_return all;
}

task<std::string> flow_control::dump_levels() {
  auto all = co_await levels();
  std::map<std::string, std::size_t> running;
  for (auto& r : co_await requests())
    if (!r.waits) ++running[r.level];
  std::map<std::string, std::uint64_t> dispatched;
  for (auto& f : faces_)
    for (auto& [level, n] : co_await f->ask([](gate& g) { return g.dispatched(); })) dispatched[level] += n;
  table t({"PriorityLevelName", "ActiveQueues", "IsIdle", "IsQuiescing", "WaitingRequests", "ExecutingRequests",
           "DispatchedRequests", "RejectedRequests", "TimedoutRequests", "CancelledRequests"});
  for (auto& l : all) {
    auto active = std::ranges::count_if(l.queues, [](auto& q) { return !q.waiting.empty(); });
    auto text = [](bool b) { return b ? "true" : "false"; };
    t.row({l.name, std::to_string(active), text(l.waiting == 0 && running[l.name] == 0), text(l.quiescing),
           std::to_string(l.waiting), std::to_string(running[l.name]), std::to_string(dispatched[l.name]),
           std::to_string(l.refused), std::to_string(l.timed_out), std::to_string(l.cancelled + l.timed_out)});
  }
  co_return t.text();
}

task<std::string> flow_control::dump_queues() {
  table t({"PriorityLevelName", "Index", "PendingRequests", "ExecutingRequests", "SeatsInUse", "NextDispatchR",
           "InitialSeatsSum", "MaxSeatsSum", "TotalWorkSum"});
  for (auto& l : co_await levels())
    for (std::size_t i = 0; i < l.queues.size(); ++i) {
      auto& q = l.queues[i];
      t.row({l.name, std::to_string(i), std::to_string(q.waiting.size()), std::to_string(q.running),
             std::to_string(q.seats_in_use), fmt::format("{:.8f}ss", seat_seconds(q.next_dispatch)),
             std::to_string(q.seats_waiting), std::to_string(q.max_seats_waiting),
             fmt::format("{:.8f}ss", seat_seconds(q.work_waiting))});
    }
  co_return t.text();
}

task<std::string> flow_control::dump_requests(bool with_details) {
  // Where each waits: level and ticket to queue and place in it.
  std::map<std::pair<std::string, ticket>, std::pair<std::size_t, std::size_t>> places;
  for (auto& l : co_await levels())
    for (std::size_t q = 0; q < l.queues.size(); ++q)
      for (std::size_t i = 0; i < l.queues[q].waiting.size(); ++i) places[{l.name, l.queues[q].waiting[i]}] = {q, i};
  auto all = co_await requests();
  std::ranges::stable_sort(all, {}, &gate::request_state::level);
  std::vector<std::string> columns{"PriorityLevelName", "FlowSchemaName", "QueueIndex",   "RequestIndexInQueue",
                                   "FlowDistingsher",   "ArriveTime",     "InitialSeats", "FinalSeats",
                                   "AdditionalLatency", "StartTime"};
  if (with_details)
    for (auto name : {"UserName", "Verb", "APIPath", "Namespace", "Name", "APIVersion", "Resource", "SubResource"})
      columns.emplace_back(name);
  table t(columns);
  auto& loop = reactor::loop::current();
  // Requests know monotonic times; a person reads those of the wall.
  auto wall = [&](time_point at) {
    return at == time_point{} ? std::string("0001-01-01T00:00:00Z")
                              : format_rfc3339_nano(loop.wall_now() - (loop.now() - at));
  };
  for (auto& r : all) {
    auto at = places.find({r.level, r.id});
    const bool waits = r.waits && at != places.end();
    std::vector<std::string> row{r.level,
                                 r.schema,
                                 waits ? std::to_string(at->second.first) : "-1",
                                 waits ? std::to_string(at->second.second) : "-1",
                                 r.distinguisher,
                                 wall(r.arrived),
                                 std::to_string(r.cost.seats),
                                 std::to_string(r.cost.final_seats),
                                 format_duration(r.cost.after),
                                 wall(r.began)};
    if (with_details) {
      auto version = r.who.api_group.empty() ? r.who.api_version : r.who.api_group + "/" + r.who.api_version;
      for (auto& text :
           {r.who.user->name, r.who.verb, r.who.path, r.who.ns, r.who.name, version, r.who.resource, r.who.subresource})
        row.push_back(text);
    }
    t.row(std::move(row));
  }
  co_return t.text();
}

}  // namespace kedge::api::fairness
