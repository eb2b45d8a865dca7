// extender_client.h: asks extenders, over HTTP or HTTPS; each has its time for an answer.
//
//   pod, nodes that passed the filters ─▶ filter, one extender after the other: some are left ─▶ prioritize, all at
//   once ─▶ what they say (extender_words) ─▶ the scheduler looks at the cluster as it is then
//
// Nothing here waits for an extender but who asked it. What goes with a question is the cluster's state when it is
// sent.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "api/objects.h"
#include "control/scheduler/extenders/extender.h"
#include "control/scheduler/extenders/messages.h"
#include "control/scheduler/node_view.h"
#include "net/http/client.h"

namespace kedge::control::scheduler {

// What extenders said of the nodes that they were asked about.
struct extender_words {
  struct refusal {
    std::string why;
    bool for_ever = false;  // no removal of pods would help
  };
  std::set<std::string, std::less<>> asked, left;
  std::map<std::string, refusal, std::less<>> refused;  // with a reason
  node_scores scores;                                   // weighted, on the scale of the scheduler's own
};

class extender_client {
 public:
  // Both outlive it.
  extender_client(api::objects& objects, const std::vector<extender>& all) : objects_(objects), all_(all) {}

  // Whether any has a word about the pod's nodes, or about who would have to go for it.
  bool concerns(const pod_view& pod) const;
  // An error ends the attempt; its words are for the pod's event.
  task<result<extender_words>> ask(pod_ref pod, std::vector<std::string> nodes);
  // The candidates for preemption that are left.
  bool judges_victims(const pod_view& pod) const;
  task<result<victims_by_node>> ask_about(pod_ref pod, victims_by_node victims);
  // Whether an extender gives the pod its node; then it is done by bind().
  bool binds(const pod_view& pod) const;
  // False: the one that would do it didn't, and may be ignored.
  task<result<bool>> bind(pod_ref pod, std::string node);

 private:
  // The pod's text, as it is stored; errc::not_found: it is gone, or another.
  result<std::string> text_of(const pod_view& pod) const;
  std::vector<named_text> texts_of(const std::vector<std::string>& nodes) const;
  template <typename F>
  bool any_asked(const pod_view& pod, F which) const;
  task<result<json::value>> post(const extender& to, std::string verb, std::string body);
  task<result<std::string>> exchange(const extender& to, std::string path, std::string body);
  task<void> prioritize(const extender& by, std::string pod, std::vector<named_text> nodes, extender_words& into);

  api::objects& objects_;
  const std::vector<extender>& all_;
  net::http::client http_;
};

}  // namespace kedge::control::scheduler
