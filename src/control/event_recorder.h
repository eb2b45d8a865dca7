// event_recorder.h: tells people what a controller did to an object, as core/v1 Events (kubectl describe shows them). The
// same event again within the recorder's memory counts up the first one, as client-go's correlator does.
#pragma once

#include <string>
#include <unordered_map>

#include "api/objects.h"

namespace kedge::control {

class event_recorder {
 public:
  event_recorder(api::objects& objects, std::string component) : objects_(objects), component_(std::move(component)) {}

  // `about` has apiVersion, kind and metadata. type: "Normal" or "Warning". Failures are logged at debug level only.
  task<void> record(const json::value& about, std::string type, std::string reason, std::string message);

 private:
  struct told {
    std::string ns, name;
    std::int64_t count = 1;
  };
  api::objects& objects_;
  std::string component_;
  std::unordered_map<std::string, told> told_;  // bounded: see record
};

}  // namespace kedge::control
