// watch.h: a collection of the API's, listed and watched for as long as it takes.
//
//   list ─▶ listed(all) ─▶ watch ─▶ changed(one), removed(one) … ends ─▶ list again, at the pace of watch_pace
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "node/join/api_client.h"

namespace kedge::node {

struct watch_sink {
  std::function<void(std::vector<json::value>)> listed;
  std::function<void(json::value)> changed, removed;
};

// `path` with a query ("/api/v1/pods?fieldSelector=…"); `name` in logs. Never returns.
task<void> watch_collection(api_client& api, std::string name, std::string path, watch_sink sink);

}  // namespace kedge::node
