// flow_control.h: API priority and fairness of a whole server: an arbiter on one of its loops, a gate on each.
//
//   FlowSchemas, PriorityLevelConfigurations ─▶ configuration ─▶ arbiter ─▶ gates (each with tables of its own)
//   request ─▶ its core's gate ─▶ a seat
//
// kube-apiserver's API Priority and Fairness (KEP-1040), its objects, headers, metrics and dumps. What is different:
// seats that a core holds are given out without a queue's knowledge while there are enough (arbiter.h), so a flow's use
// of those doesn't count against it when a queue forms; and widths of lists and writes are those of this server's costs
// (limits.h).
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "api/fairness/gate.h"
#include "store/store.h"

namespace kedge::api::fairness {

class flow_control {
 public:
  // `loops`: of all cores, which outlive this and run while it is used. `seats`: of the server together.
  flow_control(std::vector<reactor::loop*> loops, unsigned seats, metrics& m);
  ~flow_control();

  // On home(), first of all: reads the objects.
  void begin(store::store& objects);
  // On the core's own loop, once a core: its gate, to be dropped there.
  std::shared_ptr<gate> open(std::size_t core);
  // On home(): follows the objects and shares seats out, until dropped; limited requests are then answered no more.
  task<void> run(store::store& objects);
  reactor::loop& home() noexcept { return *loops_[home_]; }

  // The texts of /debug/api_priority_and_fairness/…; from any core, while run() runs.
  task<std::string> dump_levels();
  task<std::string> dump_queues();
  task<std::string> dump_requests(bool with_details);

 private:
  class face;
  task<std::vector<level_state>> levels();
  task<std::vector<gate::request_state>> requests();
  void configure(store::store& objects);
  void show(const arbiter& a);

  std::vector<reactor::loop*> loops_;
  std::size_t home_;
  unsigned seats_;
  metrics& metrics_;
  // What /metrics tells of the levels that there are, as of the last time that seats were shared out.
  struct shown {
    std::mutex mutex;
    std::string text;
  };
  std::shared_ptr<shown> shown_ = std::make_shared<shown>();
  std::vector<std::unique_ptr<face>> faces_;
  std::unique_ptr<arbiter> arbiter_;  // made, used and dropped on home()
};

}  // namespace kedge::api::fairness
