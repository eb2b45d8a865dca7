// config.h: FlowSchemas and PriorityLevelConfigurations as what requests are classified and limited by. Immutable once
// made.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/fairness/queue_set.h"
#include "json/value.h"

namespace kedge::api::fairness {

struct subject {
  enum class kind : unsigned char { user, group, service_account } what;
  std::string name, ns;  // "*": any
};

struct resource_rule {
  std::vector<std::string> verbs, api_groups, resources, namespaces;
  bool cluster_scope = false;
};

struct path_rule {
  std::vector<std::string> verbs, paths;
};

struct rule {
  std::vector<subject> subjects;
  std::vector<resource_rule> resources;
  std::vector<path_rule> paths;
};

// What tells the flows of a schema apart.
enum class distinguisher : unsigned char { none, by_user, by_namespace };

struct flow_schema {
  std::string name, uid;
  int precedence = 0;
  distinguisher flows = distinguisher::none;
  std::vector<rule> rules;
  std::size_t level = 0;  // in configuration::levels
};

struct priority_level {
  std::string name, uid;
  bool exempt = false;
  double shares = 0;
  int lendable_percent = 0;
  int borrowing_percent = -1;  // -1: no limit
  queue_set::settings queues;
};

// Broken objects are left out, and so are schemas of a level that isn't there. Those without which nothing can be
// classified are there always: exempt for the first, catch-all for the last; where there is no object they have no uid.
struct configuration {
  std::vector<priority_level> levels;  // by name
  std::vector<flow_schema> schemas;    // in the order of matching
  std::size_t catch_all = 0;           // in schemas

  static configuration make(const std::vector<json::value>& levels, const std::vector<json::value>& schemas);
};

}  // namespace kedge::api::fairness
