// configured.h: the authorizers of a server in their order, as its configuration says now.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "api/authorization/node.h"
#include "api/authorization/rbac.h"
#include "api/authorization/webhook.h"

namespace kedge::api {

// What all cores share: the configuration that counts now.
class authorization_state {
 public:
  explicit authorization_state(authorization_configuration first) { use(std::move(first)); }
  void use(authorization_configuration next) {
    current_ = std::make_shared<const authorization_configuration>(std::move(next));
  }
  std::shared_ptr<const authorization_configuration> current() const { return current_.load(); }

 private:
  // Swapped as a whole, read by every core: an atomic pointer to what never changes.
  std::atomic<std::shared_ptr<const authorization_configuration>> current_;
};

// One a core. system:masters may everything, before anybody is asked; then the first allow or deny counts.
class configured_authorizer final : public authorizer {
 public:
  explicit configured_authorizer(std::shared_ptr<const authorization_state> state, reactor::network* network = nullptr);
  ~configured_authorizer() override;

  decision authorize(const attributes& a, const store::snapshot& cluster) override;
  bool has_open_question() const noexcept override { return open_.asks != nullptr; }
  task<void> answer_open_question() override;

  rule_source& rules() noexcept { return rbac_; }

 private:
  struct member {
    authorizer_type type;
    std::string name;
    std::shared_ptr<webhook_authorizer> webhook;
  };
  void follow();

  std::shared_ptr<const authorization_state> state_;
  reactor::network* network_;
  std::shared_ptr<const authorization_configuration> followed_;
  std::vector<member> members_;
  node_authorizer node_;
  rbac_authorizer rbac_;
  struct {
    std::shared_ptr<webhook_authorizer> asks;
    std::string review;
  } open_;
};

}  // namespace kedge::api
