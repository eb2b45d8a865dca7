// token_rotation.h: the cluster's token is changed while its servers run.
//
//   PUT /v1-k3s/token ─▶ one write (bootstrap_data.h): from here on the old token opens nothing, at any server
//        ─▶ each server takes the new one over, and says so in its row ─▶ the answer names those that didn't
//
// "At any server" holds by state, not by news: a password that is right by a server's own table counts only when the
// datastore's newest state says so too. A server that can't find the new token out (a rotation by K3s's) goes on
// serving who has joined, and takes no joins, until somebody writes it into its token file.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "control/server_endpoints.h"
#include "reactor/sync.h"
#include "supervisor/bootstrap_data.h"
#include "supervisor/cluster_lock.h"
#include "supervisor/credentials.h"

namespace kedge::supervisor {

// On the store's owner core.
class token_rotation {
 public:
  struct parts {
    store::store& objects;
    bootstrap_data& record;
    credentials& identity;
    cluster_lock& lock;
    std::function<std::string()> address;                // of this server, as others know it
    std::function<std::vector<control::peer>()> others;  // that live
    std::function<void()> changed;  // this server goes by another token now: to be told to the others
  };
  explicit token_rotation(parts p) : parts_(std::move(p)) {}

  // To `wanted`, or a random one. Answers the servers that live and don't have it.
  task<result<std::vector<std::string>>> rotate(std::string wanted);
  // Whether the token that this server goes by is the cluster's still. An error: the datastore can't be asked.
  task<result<bool>> stands();
  // Takes over what another server rotates, until dropped.
  task<void> keep();

 private:
  task<result<void>> take_over(std::string password);
  task<std::string> in_token_file(const store::snapshot& now) const;
  task<void> look();
  task<void> clear_sealed();
  std::vector<std::string> without(std::string_view token) const;

  parts parts_;
  std::string offered_;                       // the row of this server's token, as it came with what is sealed
  std::map<std::string, time_point> sealed_;  // rows that hold a token still, and since when this server knows
  std::string told_;                          // the token that was said to be stale
  reactor::event changed_, taken_;
};

}  // namespace kedge::supervisor
