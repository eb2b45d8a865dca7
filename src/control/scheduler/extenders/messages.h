// messages.h: what an extender is asked and what it answers (k8s.io/kube-scheduler/extender/v1), as JSON. Pure.
//
// Objects are given as their text. Members of answers are found as Go finds them, whatever the case of their letters.
#pragma once

#include <cstdint>
#include <expected>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "json/value.h"

namespace kedge::control::scheduler {

struct named_text {
  std::string name;
  std::string text;  // empty: its name alone is told
};

// filter and prioritize. `names_alone`: of the nodes.
std::string nodes_question(std::string_view pod, std::span<const named_text> nodes, bool names_alone);

struct filter_answer {
  std::vector<std::string> nodes;                                        // that are left
  std::map<std::string, std::string, std::less<>> failed, unresolvable;  // the reasons of others
};
// An error's words are kube-scheduler's. `asked`: the nodes that it was asked about.
std::expected<filter_answer, std::string> read_filter(const json::value& answer, std::span<const named_text> asked,
                                                      bool names_alone, std::string_view url);

// By node.
using node_scores = std::map<std::string, std::int64_t, std::less<>>;
node_scores read_scores(const json::value& answer);

// Who would have to go from a node.
struct victims_of_node {
  std::vector<named_text> pods;  // by uid
  std::int64_t violations = 0;
};
using victims_by_node = std::map<std::string, victims_of_node, std::less<>>;
std::string victims_question(std::string_view pod, const victims_by_node& victims, bool uids_alone);
// Without texts.
victims_by_node read_victims(const json::value& answer);

std::string binding_question(std::string_view name, std::string_view ns, std::string_view uid, std::string_view node);
// The error that an answer tells; empty: none.
std::string told_error(const json::value& answer);

}  // namespace kedge::control::scheduler
