// offline.h: a node's pods while no server answers: what the servers said last, from the disk (offline/store.h).
//
//   watch of this node's pods ─▶ offline_pods ─▶ store       at a start without servers: pods() ─▶ workers
//   workers ─▶ offline_cluster ─▶ API's answer, kept │ none: what was kept
//
// A server's word counts as soon as there is one: a refusal is an answer too.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "node/offline/store.h"
#include "node/pods/cluster.h"

namespace kedge::node {

// The node's pods as the API tells of them. Of each is kept what it is, not how it fares; one that has ended isn't.
// With a pod go the objects that no other one names.
class offline_pods {
 public:
  explicit offline_pods(offline_store& store) : store_(store) {}

  void listed(const std::vector<json::value>& pods);
  void changed(const json::value& pod);
  void removed(const json::value& pod);
  // Those that were kept.
  task<std::vector<json::value>> pods();

 private:
  struct one {
    std::string uid;
    std::vector<std::string> needs;  // paths of records
  };
  void keep(const json::value& pod);
  void let_go(const std::vector<std::string>& needs);

  offline_store& store_;
  std::map<std::string, one, std::less<>> known_;           // by the pod's path
  std::map<std::string, std::size_t, std::less<>> needed_;  // by how many of them
};

class offline_cluster final : public pod_cluster {
 public:
  offline_cluster(pod_cluster& api, offline_store& store) : api_(api), store_(store) {}

  task<result<std::optional<json::value>>> config_map(std::string ns, std::string name, time_point since) override;
  task<result<std::optional<json::value>>> secret(std::string ns, std::string name, time_point since) override;
  task<result<std::vector<json::value>>> services(std::string ns, time_point since) override;
  task<result<json::value>> token(std::string ns, std::string account, json::value spec) override;
  task<result<std::optional<json::value>>> object(std::string path) override;

  // These are the API's alone.
  task<result<json::value>> request_certificate(std::string ns, json::value request) override {
    return api_.request_certificate(std::move(ns), std::move(request));
  }
  task<result<std::optional<json::value>>> certificate_request(std::string ns, std::string name) override {
    return api_.certificate_request(std::move(ns), std::move(name));
  }
  task<result<json::value>> patch_status(const json::value& pod, json::value patch) override {
    return api_.patch_status(pod, std::move(patch));
  }
  task<result<json::value>> patch_claim_status(const json::value& claim, json::value patch) override {
    return api_.patch_claim_status(claim, std::move(patch));
  }
  task<result<void>> remove(const json::value& pod) override { return api_.remove(pod); }
  task<result<json::value>> create(json::value pod) override { return api_.create(std::move(pod)); }
  void tell(const json::value& pod, std::string container, bool warning, std::string reason,
            std::string message) override {
    api_.tell(pod, std::move(container), warning, std::move(reason), std::move(message));
  }

 private:
  task<result<std::optional<json::value>>> either(std::string path, task<result<std::optional<json::value>>> asked);

  pod_cluster& api_;
  offline_store& store_;
};

// The node itself: what pods are admitted by, and its range of addresses.
json::value offline_node(const json::value& node);

}  // namespace kedge::node
