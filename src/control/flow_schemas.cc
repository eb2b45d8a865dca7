// flow_schemas.cc: tells of each FlowSchema whether the priority level that it names is there (condition Dangling).
#include <algorithm>

#include "base/strings.h"
#include "control/controller.h"

namespace kedge::control {

namespace {

const api::resource_id schemas{"flowcontrol.apiserver.k8s.io", "v1", "flowschemas"};
const api::resource_id levels{"flowcontrol.apiserver.k8s.io", "v1", "prioritylevelconfigurations"};

class schema_judge {
 public:
  explicit schema_judge(context& c) : c_(c), store_(c.objects.objects_store()), prefix_(c.objects.prefix(schemas)) {}

  task<void> run() {
    reactor::scope tasks;
    tasks.spawn(follow(store_, prefix_, [this](const store::event& e) {
      if (e.type != store::event_type::deleted) queue_.add(std::string(name_under(prefix_, e.object->key())));
    }));
    tasks.spawn(follow(store_, c_.objects.prefix(levels), [this](const store::event& e) {
      if (e.type == store::event_type::modified) return;
      store_.current().scan(prefix_, {}, [&](const store::object_ref& o) {
        queue_.add(std::string(name_under(prefix_, o->key())));
        return true;
      });
    }));
    co_await work("flowschema", queue_, 1, [this](std::string name) { return reconcile(std::move(name)); });
  }

 private:
  task<api::api_result<void>> reconcile(std::string name) {
    auto done = co_await c_.objects.modify(
        schemas, "", name,
        [&](json::value& v) {
          auto level = std::string(v["spec"]["priorityLevelConfiguration"]["name"].as_string());
          const bool there = c_.objects.get(levels, "", level).has_value();
          auto& list = v.member("status").member("conditions").make_array();
          auto at = std::find_if(list.begin(), list.end(), [](auto& c) { return c["type"].as_string() == "Dangling"; });
          auto state = there ? "False" : "True";
          if (at != list.end() && (*at)["status"].as_string() == state) return false;
          if (at == list.end()) at = list.insert(list.end(), json::object{{"type", "Dangling"}});
          at->set("status", state);
          at->set("lastTransitionTime", format_rfc3339(reactor::loop::current().wall_now()));
          at->set("reason", there ? "Found" : "NotFound");
          at->set("message", "This FlowSchema references the PriorityLevelConfiguration object named " + quote(level) +
                                 (there ? " and it exists" : " but there is no such object"));
          return true;
        },
        "status");
    if (!done && done.error().code != 404) co_return api::fail(done.error());
    co_return api::api_result<void>();
  }

  context& c_;
  store::store& store_;
  std::string prefix_;
  work_queue queue_;
};

}  // namespace

task<void> run_flow_schemas(context& c) {
  schema_judge j(c);
  co_await j.run();
}

}  // namespace kedge::control
