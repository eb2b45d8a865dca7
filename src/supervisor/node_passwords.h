// node_passwords.h: a node's name belongs to whoever registered it first.
//
//   agent ── K3s-Node-Name, K3s-Node-Password ──▶ check ──▶ Secret kube-system/<name>.node-password.k3s
//                                                   │         absent: created (trust on first use, but for a node that
//                                                   lives) └── scrypt on the offload pool, one at a time (32 MiB each)
//
// The Secret gets an ownerReference to its Node as soon as that exists, so that deleting the Node frees the name;
// Secrets whose Node never came are removed after a while. An agent that makes its Node again asks again: who knows the
// password takes the Secret over for the new Node, and who shows the node's certificate has it recorded anew.
#pragma once

#include <string>

#include "api/objects.h"
#include "reactor/sync.h"

namespace kedge::supervisor {

class node_passwords {
 public:
  explicit node_passwords(api::objects& objects) noexcept : objects_(objects) {}

  // The answer for an agent: empty on success. 403 when the password is not the recorded one, or when none is recorded
  // and a node of that name lives, unless its own certificate is shown, too; 503 when it can't be checked.
  task<api::api_result<void>> check(std::string node, std::string password, bool by_certificate);

  // Runs for ever: ownership and the removal of orphans.
  task<void> keep();

 private:
  task<void> sweep();
  task<void> free_name(std::string node);
  task<api::api_result<json::value>> give_to(std::string secret, std::string node, std::string uid);
  bool lives(const std::string& node);
  api::objects& objects_;
  reactor::semaphore hashing_{1};
};

}  // namespace kedge::supervisor
