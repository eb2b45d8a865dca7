#include "api/authorization/configured.h"

#include "base/strings.h"

namespace kedge::api {

configured_authorizer::configured_authorizer(std::shared_ptr<const authorization_state> state,
                                             reactor::network* network)
    : state_(std::move(state)), network_(network) {}
configured_authorizer::~configured_authorizer() = default;

void configured_authorizer::follow() {
  auto now = state_->current();
  if (now == followed_) return;
  followed_ = std::move(now);
  members_.clear();
  for (auto& one : *followed_)
    members_.push_back(
        {one.type, one.name,
         one.type == authorizer_type::webhook ? std::make_shared<webhook_authorizer>(one.webhook, network_) : nullptr});
}

decision configured_authorizer::authorize(const attributes& a, const store::snapshot& cluster) {
  follow();
  open_ = {};
  if (a.user->in_group("system:masters")) return {decision::kind::allow, {}};
  std::string reasons;
  std::vector<std::string> errors;
  for (auto& member : members_) {
    decision d;
    switch (member.type) {
      case authorizer_type::always_allow: return {decision::kind::allow, {}};
      case authorizer_type::always_deny: d.reason = "Everything is forbidden."; break;
      case authorizer_type::node: d = node_.authorize(a, cluster); break;
      case authorizer_type::rbac: d = rbac_.authorize(a, cluster); break;
      case authorizer_type::webhook: {
        if (auto unasked = member.webhook->unasked(a)) {
          d = *std::move(unasked);
          break;
        }
        auto review = member.webhook->review_of(a);
        auto known = member.webhook->known(review);
        if (!known) {
          // Until it has been asked nobody behind it counts: whoever can't wait is refused.
          open_ = {member.webhook, std::move(review)};
          return {decision::kind::no_opinion, member.name + " has not been asked yet"};
        }
        d = *std::move(known);
      }
    }
    if (d.what != decision::kind::no_opinion) return d;
    if (!d.error.empty()) errors.push_back(std::move(d.error));
    if (d.reason.empty()) continue;
    if (!reasons.empty()) reasons += '\n';
    reasons += member.name;
    reasons += ": ";
    reasons += d.reason;
  }
  return {decision::kind::no_opinion, std::move(reasons),
          errors.size() < 2 ? join(errors, "") : "[" + join(errors, ", ") + "]"};
}

task<void> configured_authorizer::answer_open_question() {
  auto open = std::exchange(open_, {});
  if (open.asks) co_await open.asks->ask(std::move(open.review));
}

}  // namespace kedge::api
