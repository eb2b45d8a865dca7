// observer.h: keeps the conditions of API services true and fetches what their servers say of themselves.
//
//   APIServices, Services, EndpointSlices change; every 30 s ─▶ judge_objects ─▶ GET /apis/G/V (five attempts) ─▶
//   condition Available
//                                                                                └▶ documents: discovery, OpenAPI
//
// One a server, on its home loop; each server looks for itself, as each kube-apiserver does.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "api/aggregation/availability.h"
#include "api/aggregation/backend.h"
#include "api/aggregation/documents.h"
#include "api/metrics/metrics.h"
#include "api/objects.h"

namespace kedge::api::aggregation {

class observer {
 public:
  // All outlive it. `table` is followed by its owner.
  observer(services& table, backend& ways, objects& client, metrics& measures)
      : table_(table), ways_(ways), client_(client), measures_(measures) {}
  observer(const observer&) = delete;
  observer& operator=(const observer&) = delete;

  // Until dropped.
  task<void> run();
  // Looks at nobody any more.
  void stop() { running_.cancel(); }
  // What is known now; never null.
  std::shared_ptr<const documents> now();

 private:
  struct watched {
    api_service_ref service;
    reactor::event look;  // something changed
    bool changed = true;  // since the documents were fetched
    time_point fetched{};
  };
  void take_table();
  // Looks at one until it is gone.
  task<void> look_after(std::string name);
  task<void> follow(std::string prefix, bool slices);
  task<availability> judge(api_service_ref s);
  task<result<void>> attempt(api_service_ref s);
  task<void> tell(api_service_ref s, availability a);
  task<void> fetch(api_service_ref s);
  task<result<json::array>> fetch_resources(api_service_ref s);
  task<result<std::string>> fetch_text(api_service_ref s, std::string path, std::string accept, user_ref as,
                                       std::size_t most, duration time);
  task<result<json::value>> fetch_discovery(api_service_ref s, std::string path, std::string accept);
  task<void> fetch_openapi(api_service_ref s, std::shared_ptr<service_documents> into);
  void keep(const std::string& name, std::shared_ptr<const service_documents> d);

  services& table_;
  backend& ways_;
  objects& client_;
  metrics& measures_;
  std::map<std::string, std::shared_ptr<watched>, std::less<>> watched_;
  documents fetched_;
  std::shared_ptr<const documents> shown_;  // a copy of fetched_; null: it changed since
  reactor::scope running_;                  // last
};

}  // namespace kedge::api::aggregation
