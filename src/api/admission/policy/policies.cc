#include "api/admission/policy/policies.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <deque>
#include <map>

#include "api/admission/expression_access.h"
#include "api/admission/policy/changes.h"
#include "api/admission/policy/evaluate.h"
#include "api/admission/policy/input.h"
#include "base/strings.h"
#include "json/write.h"
#include "reactor/loop.h"

namespace kedge::api::policy {
namespace {

constexpr std::size_t note_max_bytes = 10 * 1024;  // kube-apiserver's, of an audit annotation
constexpr std::size_t failures_noted_max = 50;
constexpr std::string_view failures_key = "validation.policy.admission.k8s.io/validation_failure";

// Questions about who may, which only name themselves: what judges them would ask itself. And policies, which nobody
// could mend if one refused them.
bool is_exempt(const attributes& a) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 10> all{{
      {"authentication.k8s.io", "selfsubjectreviews"},
      {"authentication.k8s.io", "tokenreviews"},
      {"authorization.k8s.io", "localsubjectaccessreviews"},
      {"authorization.k8s.io", "selfsubjectaccessreviews"},
      {"authorization.k8s.io", "selfsubjectrulesreviews"},
      {"authorization.k8s.io", "subjectaccessreviews"},
      {"admissionregistration.k8s.io", "validatingadmissionpolicies"},
      {"admissionregistration.k8s.io", "validatingadmissionpolicybindings"},
      {"admissionregistration.k8s.io", "mutatingadmissionpolicies"},
      {"admissionregistration.k8s.io", "mutatingadmissionpolicybindings"},
  }};
  return std::ranges::any_of(all, [&](auto& one) { return a.api_group == one.first && a.resource == one.second; });
}

// What a request brings to each policy.
struct asked {
  admission_request& r;
  const registry& served;
  subject about;
  inputs values;
  expression_access may;

  asked(admission_request& request, const registry& tables, const api::served& s, const store::snapshot& cluster,
        authorizer& authz)
      : r(request),
        served(tables),
        about(subject_of(request, s, cluster)),
        values(request, about),
        may(request.who, authz, cluster) {}

  expressions::admission_values seen_as(const api::served& as, const json::value& param) {
    return {.object = values.object(as),
            .old = values.old(as),
            .request = &values.request(as),
            .params = param.is_null() ? nullptr : &param,
            .home = values.home(),
            .access = &may,
            .resource = may.about()};
  }
};

// A pair of policy and binding that is about the request, with its params.
template <typename Policy>
struct invocation {
  const Policy* policy;
  const binding* bound;  // null: the policy itself is wrong
  const served* as = nullptr;
  std::vector<json::value> params;
  std::string wrong;  // not empty: it can't be asked
};

// Calls `see` with each, in order.
template <typename Policy, typename See>
void for_each_invocation(asked& a, const hooks<Policy>& all, const See& see) {
  for (auto h : all.about(a.about.asked.resource)) {
    auto& p = *h->policy;
    auto wrong = [&](const binding* b, std::string_view what) {
      see(invocation<Policy>{
          &p, b, nullptr, {}, fmt::format("failed to configure {}: {}", b ? "binding" : "policy", what)});
    };
    auto m = p.where.of(a.about);
    if (!m.wrong.empty()) wrong(nullptr, m.wrong);
    if (!m) continue;
    const served* kind = nullptr;
    if (p.params && !(kind = a.served.find_kind(p.params->api_version, p.params->kind))) {
      wrong(nullptr, fmt::format("failed to find resource referenced by paramKind: '{}'", p.params->text()));
      continue;
    }
    for (auto& b : h->bindings) {
      auto meant = b->where.of(a.about);
      if (!meant.wrong.empty()) wrong(&*b, meant.wrong);
      if (!meant) continue;
      auto params = find_params(kind, b->params ? &*b->params : nullptr, a.about.ns, a.about.cluster);
      if (!params)
        wrong(&*b, params.error());
      else if (!params->empty())
        see(invocation<Policy>{&p, &*b, m.as, *std::move(params), {}});
    }
  }
}

template <typename Policy>
std::vector<invocation<Policy>> invocations(asked& a, const hooks<Policy>& all) {
  std::vector<invocation<Policy>> out;
  for_each_invocation(a, all, [&](invocation<Policy> one) { out.push_back(std::move(one)); });
  return out;
}

// What validating policies came to, over all of them.
class judgement {
 public:
  judgement(admission_request& r, policy_metrics& counts) : r_(r), counts_(counts) {}

  void denied(const validating_policy& p, const binding* b, const verdict& v) {
    if (refusal_) return;
    const auto text = b ? fmt::format("ValidatingAdmissionPolicy '{}' with binding '{}' denied request: {}", p.name,
                                      b->name, v.message)
                        : fmt::format("ValidatingAdmissionPolicy '{}' denied request: {}", p.name, v.message);
    refusal_ = refused(r_, text);
    refusal_->reason = v.reason.empty() ? "Invalid" : v.reason;
    refusal_->code = refusal_->reason == "Forbidden"               ? 403
                     : refusal_->reason == "Unauthorized"          ? 401
                     : refusal_->reason == "RequestEntityTooLarge" ? 413
                                                                   : 422;
    refusal_->causes.push_back({{}, text, {}});
  }

  // `took`: all of it.
  void take(const validating_policy& p, const binding& b, const validated& found, duration took) {
    const auto each = took / static_cast<int>(std::max<std::size_t>(found.verdicts.size(), 1));
    for (std::size_t i = 0; i < found.verdicts.size(); ++i) {
      auto& v = found.verdicts[i];
      if (!v.denies) continue;
      const auto error = v.reason.empty() ? std::string_view(v.message) : std::string_view();
      for (auto& action : b.actions) {
        counts_.validated(p.name, b.name, error, lower(action), each);
        if (action == "Deny") denied(p, &b, v);
        if (action == "Audit") note_failure(b, i, v.message);
        if (action == "Warn")
          r_.warnings.push_back(fmt::format(
              "Validation failed for ValidatingAdmissionPolicy '{}' with binding '{}': {}", p.name, b.name, v.message));
      }
    }
    for (auto& text : found.failed_notes) counts_.validated(p.name, b.name, text, "deny", each);
    for (auto& text : found.failed_notes) denied(p, &b, {.denies = true, .message = text, .reason = {}});
    for (auto& n : found.notes) {
      auto& all = notes_[fmt::format("{}/{}", p.name, n.key)];
      auto text = n.value.substr(0, note_max_bytes);
      if (std::ranges::find(all, text) == all.end()) all.push_back(std::move(text));
    }
  }

  api_result<void> end() {
    for (auto& [key, texts] : notes_) r_.annotations.emplace_back(key, join(texts, ", "));
    if (!failures_.empty()) r_.annotations.emplace_back(std::string(failures_key), json::write(failures_));
    if (refusal_) return fail(*std::move(refusal_));
    return {};
  }

 private:
  void note_failure(const binding& b, std::size_t i, const std::string& message) {
    if (failures_.size() >= failures_noted_max) return;
    json::array actions(b.actions.begin(), b.actions.end());
    failures_.push_back(json::object{{"message", message},
                                     {"policy", b.policy},
                                     {"binding", b.name},
                                     {"expressionIndex", static_cast<std::int64_t>(i)},
                                     {"validationActions", std::move(actions)}});
  }

  admission_request& r_;
  policy_metrics& counts_;
  std::optional<status> refusal_;
  json::array failures_;
  std::map<std::string, std::vector<std::string>> notes_;
};

// What mutating policies failed at, over all of them.
class complaints {
 public:
  explicit complaints(const admission_request& r) : r_(r) {}

  void add(const mutating_policy& p, const binding* b, std::string_view what, std::string_view reason) {
    if (p.ignores_failures) return;
    auto text = b ? fmt::format("policy '{}' with binding '{}' denied request: {}", p.name, b->name, what)
                  : fmt::format("policy {} denied request: {}", quote(p.name), what);
    if (!refusal_) {
      refusal_ = refused(r_, "");
      refusal_->message = text;
      if (!reason.empty()) refusal_->reason = reason;
    }
    refusal_->causes.push_back({{}, std::move(text), {}});
  }
  api_result<void> end() {
    if (refusal_) return fail(*std::move(refusal_));
    return {};
  }

 private:
  const admission_request& r_;
  std::optional<status> refusal_;
};

// One policy's mutations, in order; each sees what the one before made. True when any was done.
std::expected<bool, status> mutate_by(asked& a, const invocation<mutating_policy>& one, const json::value& param,
                                      complaints& wrong, policy_metrics& counts) {
  bool done = false;
  auto count = [&](time_point began, std::string_view error) {
    counts.mutated(one.policy->name, one.bound->name, error, reactor::loop::current().now() - began);
  };
  for (auto& m : one.policy->mutations) {
    // The values of before are not those of now.
    inputs values(a.r, a.about);
    auto seen = a.seen_as(*one.as, param);
    seen.object = values.object(*one.as);
    if (!seen.object) continue;
    const auto began = reactor::loop::current().now();
    auto value = evaluate(*one.policy, m, seen);
    if (!value) {
      count(began, value.error());
      wrong.add(*one.policy, one.bound, value.error(), "Invalid");
      continue;
    }
    auto changed = m.as == mutation::form::apply
                       ? apply_configuration(*one.as, a.about.subresource, *seen.object, *std::move(value))
                       : apply_patch(*one.as, a.about.subresource, *seen.object, *value);
    count(began, changed ? std::string_view() : std::string_view("invalid"));
    if (!changed) {
      if (changed.error().answer) return fail(*std::move(changed.error().answer));
      wrong.add(*one.policy, one.bound, changed.error().failure, "Invalid");
      continue;
    }
    take_back(*a.r.object, *std::move(changed), *one.as);
    done = true;
  }
  return done;
}

}  // namespace

task<api_result<void>> policies::validate(admission_request& r, const store::snapshot& cluster) {
  const auto now = tables_.current();
  if (now->validating.about(r.who.resource).empty() || is_exempt(r.who)) co_return api_result<void>();
  const auto served = served_();
  auto s = served->find(r.who.api_group, r.who.api_version, r.who.resource);
  if (!s) co_return api_result<void>();
  asked a(r, *served, *s, cluster, may_);
  judgement all(r, counts_);
  for (auto& one : invocations(a, now->validating)) {
    co_await reactor::maybe_yield();
    if (!one.wrong.empty()) {
      if (!one.policy->ignores_failures)
        all.denied(*one.policy, one.bound, {.denies = true, .message = one.wrong, .reason = {}});
      continue;
    }
    for (auto& param : one.params) {
      const auto began = reactor::loop::current().now();
      const auto found = evaluate(*one.policy, a.seen_as(*one.as, param));
      all.take(*one.policy, *one.bound, found, reactor::loop::current().now() - began);
      co_await reactor::maybe_yield();
    }
  }
  co_return all.end();
}

task<api_result<void>> policies::mutate(admission_request& r, const store::snapshot& cluster, reinvocation& rounds) {
  const auto now = tables_.current();
  if (r.what == operation::remove || now->mutating.about(r.who.resource).empty() || is_exempt(r.who))
    co_return api_result<void>();
  const auto served = served_();
  auto s = served->find(r.who.api_group, r.who.api_version, r.who.resource);
  if (!s) co_return api_result<void>();
  asked a(r, *served, *s, cluster, may_);
  complaints wrong(r);
  // Others changed it since: who asks to see that does.
  if (rounds.again && r.object && !(rounds.last == *r.object)) rounds.changed();
  bool any = false;
  for (auto& one : invocations(a, now->mutating)) {
    if (!one.wrong.empty()) {
      wrong.add(*one.policy, one.bound, one.wrong, {});
      continue;
    }
    for (auto& param : one.params) {
      co_await reactor::maybe_yield();
      inputs values(r, a.about);
      auto seen = a.seen_as(*one.as, param);
      seen.object = values.object(*one.as);
      auto meets = meets_conditions(*one.policy, seen);
      if (!meets) wrong.add(*one.policy, one.bound, meets.error(), "Invalid");
      if (!meets || !*meets) continue;
      reinvocation::invocation key{one.policy->name, one.bound->name,
                                   fmt::format("{}/{}", namespace_in(param), name_in(param))};
      if (rounds.again && !rounds.due.contains(key)) continue;
      const auto before = r.object ? *r.object : json::value();
      auto done = mutate_by(a, one, param, wrong, counts_);
      if (!done) co_return fail(std::move(done.error()));
      any = any || *done;
      if (r.object && !(before == *r.object)) rounds.changed();
      if (one.policy->reinvoked) rounds.invoked.insert(std::move(key));
    }
  }
  if (any) rounds.changed();
  if (r.object) rounds.last = *r.object;
  co_return wrong.end();
}

}  // namespace kedge::api::policy
