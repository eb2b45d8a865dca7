// extender.h: a scheduler extender, as a KubeSchedulerConfiguration says it: a server that others run, and that has a
// word about where pods go.
#pragma once

#include <chrono>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "control/scheduler/fields.h"
#include "json/value.h"
#include "net/http/client.h"

namespace kedge::control::scheduler {

struct extender {
  std::string url;  // urlPrefix, without a slash at its end
  // What it is asked, behind its URL; empty: it isn't.
  std::string filter, prioritize, preempt, bind;
  std::int64_t weight = 0;
  bool knows_nodes = false;  // nodeCacheCapable: it is told their names alone
  bool ignorable = false;    // pods are placed without it when it doesn't answer
  std::chrono::nanoseconds timeout{};
  std::set<std::string, std::less<>> resources;  // managedResources; empty: it is asked about every pod
  net::http::target to;
  std::string path;

  bool is_asked_about(const json::value& pod) const;
};

// The members of an entry of `extenders`.
std::span<const field> extender_fields() noexcept;
// Of a list whose fields are checked, those that may be ignored at the end, as they are asked. Reads their TLS files.
// errc::invalid names what is wrong, and where.
result<std::vector<extender>> parse_extenders(const json::value& list);
// The managed resources that the scheduler itself doesn't count.
json::array resources_ignored_for(const json::value& list);

}  // namespace kedge::control::scheduler
