// shell.h: the frame of every controller.
//
//   feed ─▶ sources: keys ─▶ work queue ─▶ look(view, key, moment): a plan, pure ─▶ the shell writes it, tells its
//   notices
//                               ▲                                                          │
//                               └── again after …, refused: later and later ◀──────────────┘
//
// A controller is level-triggered: a look sees what is, not what happened, may come for nothing, and a second one after
// its plan was written plans nothing. A look begins on a snapshot that has all that this controller has written: an
// answer to a write comes after the snapshot that has it (store.h), so nothing is counted twice and nobody keeps
// expectations.
//
// Two servers may lead for a moment. So each change names the version that it was planned on, and what is created has a
// name that two would choose alike, or is counted by its owner's next look.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "control/event_recorder.h"
#include "control/feed.h"
#include "control/plan.h"
#include "control/work_queue.h"

namespace kedge::control {

struct settings;
class shell;

// Where a source's callback names keys.
using keys = work_queue;

// What a controller follows, and which of its keys a change names.
struct source {
  api::resource_id resource;  // its plural empty: everything there is
  std::function<void(const seen&, keys&)> names;
  bool is_custom = false;  // whose definition may come later
};
// The object's own key: "default/web", "node-1".
void own_key(const seen& s, keys& k);
// The same, unless it was deleted.
void living_key(const seen& s, keys& k);
// The key of the owner that controls it, when that is of this kind; also of the one before a change.
std::function<void(const seen&, keys&)> controller_key(std::string api_version, std::string kind);

// One controller at work: made when this server begins to lead, gone when it ends. What it keeps in between it can
// lose.
class controller {
 public:
  virtual ~controller() = default;
  virtual std::vector<source> sources() = 0;
  // Keys that are there without an event.
  virtual void begin(keys&) {}
  // What is to be done about a key. Pure but for what the controller itself remembers; not for longer than a
  // millisecond.
  virtual plan look(const view& cluster, const std::string& key, const moment& now);
  // One turn of work on a key: a look, and writing what it planned. Who needs more than one look, or many objects, does
  // otherwise.
  virtual task<api::api_result<void>> work(shell& s, std::string key);
};

// A controller without memory: where it looks, and how.
std::unique_ptr<controller> plain_controller(std::vector<source> sources,
                                             plan (*look)(const view&, const std::string&, const moment&));

// A controller's surroundings. All that it names outlives it.
class shell {
 public:
  struct parts {
    std::string name;      // in the log
    api::objects& client;  // as the controller's account
    event_recorder& recorder;
    unsigned workers = 1;  // keys worked on at once
  };
  shell(parts p, controller& what);

  // Lets the feed know what the controller follows; before it runs.
  void join(feed& f);
  // Works until dropped.
  task<void> run();

  view now() const { return view(store().current(), client().resources()); }
  moment when(const api::status* refused = nullptr) const;
  // Writes a plan and tells its notices. The first refusal, when there is one; the steps after it are then not written.
  task<api::api_result<void>> write(plan p, const std::string& key);
  // Writes up to writes_at_once changes at once; what became of each, in their order.
  task<std::vector<api::api_result<void>>> write_group(std::vector<change> changes);
  // One look at a key, written.
  task<api::api_result<void>> look_and_write(const std::string& key);

  store::store& store() const noexcept { return parts_.client.objects_store(); }
  api::objects& client() const noexcept { return parts_.client; }
  event_recorder& recorder() noexcept { return parts_.recorder; }
  keys& queue() noexcept { return queue_; }
  const std::string& name() const noexcept { return parts_.name; }

 private:
  task<void> worker();
  task<api::api_result<void>> write_step(step s);
  task<api::api_result<void>> write_change(change c);

  parts parts_;
  controller& controller_;
  work_queue queue_;
};

}  // namespace kedge::control
