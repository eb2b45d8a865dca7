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
#include "api/custom/definition.h"
#include "base/strings.h"
#include "json/write.h"
#include "reactor/loop.h"
#include "reactor/offload.h"

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
  custom::converter* versions;
  subject about;
  inputs values;
  expression_access may;
  const expressions::access_question resource = may.about();

  asked(admission_request& request, const registry& tables, const api::served& s, const store::snapshot& cluster,
        authorizer& authz, custom::converter* converts)
      : r(request),
        served(tables),
        versions(converts),
        about(subject_of(request, s, cluster)),
        values(request, about, converts),
        may(request.who, authz, cluster) {}

  // The object as it is `now`; the old one has been brought.
  expressions::admission_values seen_as(const api::served& as, const json::value& param, const inputs& now) {
    return {.object = now.object(as),
            .old = values.old(as),
            .request = &values.request(as),
            .params = param.is_null() ? nullptr : &param,
            .home = values.home(),
            .access = &may,
            .resource = &resource};
  }
};

// A pair of policy and binding that is about the request, with its params.
template <typename Policy>
struct invocation {
  const Policy* policy;
  const binding* bound;  // null: the policy itself is wrong
  const served* as = nullptr;
  policy::params with = {};
  std::string wrong = {};  // not empty: it can't be asked
};

// In order; what of the old object they see is ready.
template <typename Policy>
task<std::vector<invocation<Policy>>> invocations(asked& a, const hooks<Policy>& all) {
  std::vector<invocation<Policy>> out;
  for (auto h : all.about(a.about.asked.resource)) {
    auto& p = *h->policy;
    auto wrong = [&](const binding* b, std::string_view what) {
      out.push_back({.policy = &p,
                     .bound = b,
                     .wrong = fmt::format("failed to configure {}: {}", b ? "binding" : "policy", what)});
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
      if (auto text = co_await a.values.bring_old(*m.as); !text.empty()) {
        wrong(nullptr, text);
        continue;
      }
      auto with = co_await find_params(kind, b->params ? &*b->params : nullptr, a.about.ns, a.about.cluster);
      if (!with)
        wrong(&*b, with.error());
      else if (with->size() > 0)
        out.push_back({.policy = &p, .bound = &*b, .as = m.as, .with = *std::move(with)});
    }
  }
  co_return out;
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

// Changing more than this is another thread's work.
constexpr std::size_t changed_here_max_bytes = 128 * 1024;

// Whether there is more text in it than `room`, which is what is left of it then.
bool is_larger(const json::value& v, std::size_t& room) {
  constexpr std::size_t each = 8;  // of a member or element, about
  auto needs = [&room](std::size_t bytes) {
    if (bytes > room) return true;
    room -= bytes;
    return false;
  };
  if (auto* list = v.array())
    return std::ranges::any_of(*list, [&](auto& one) { return needs(each) || is_larger(one, room); });
  if (auto* members = v.object())
    return std::ranges::any_of(*members,
                               [&](auto& m) { return needs(each + m.name.size()) || is_larger(m.value, room); });
  return needs(v.as_string().size());
}

// What the mutation's value makes of the object.
task<std::expected<json::value, unchanged>> changed_by(const mutation& m, const served& as, std::string subresource,
                                                       const json::value& live, json::value made) {
  auto change = [of = custom::lasting(as), form = m.as, subresource = std::move(subresource)](const json::value& o,
                                                                                              json::value v) {
    return form == mutation::form::apply ? apply_configuration(*of, subresource, o, std::move(v))
                                         : apply_patch(*of, subresource, o, v);
  };
  std::size_t room = changed_here_max_bytes;
  if (!is_larger(live, room)) co_return change(live, std::move(made));
  auto done = co_await reactor::offload([change, live, made]() mutable { return change(live, std::move(made)); });
  if (done) co_return *std::move(done);
  co_return change(live, std::move(made));  // too much waits there
}

// One policy's mutations, in order; each sees what the one before made. True when any was done.
task<std::expected<bool, status>> mutate_by(asked& a, const invocation<mutating_policy>& one, const json::value& param,
                                            complaints& wrong, policy_metrics& counts) {
  bool done = false;
  auto count = [&](time_point began, std::string_view error) {
    counts.mutated(one.policy->name, one.bound->name, error, reactor::loop::current().now() - began);
  };
  for (auto& m : one.policy->mutations) {
    // The values of before are not those of now.
    inputs values(a.r, a.about, a.versions);
    if (auto text = co_await values.bring_object(*one.as); !text.empty()) co_return fail(internal_error(text));
    auto seen = a.seen_as(*one.as, param, values);
    if (!seen.object) continue;
    const auto began = reactor::loop::current().now();
    auto value = co_await evaluate(*one.policy, m, seen);
    if (!value) {
      count(began, value.error());
      wrong.add(*one.policy, one.bound, value.error(), "Invalid");
      continue;
    }
    auto changed = co_await changed_by(m, *one.as, std::string(a.about.subresource), *seen.object, *std::move(value));
    count(began, changed ? std::string_view() : std::string_view("invalid"));
    if (!changed) {
      if (changed.error().answer) co_return fail(*std::move(changed.error().answer));
      wrong.add(*one.policy, one.bound, changed.error().failure, "Invalid");
      continue;
    }
    co_await reactor::maybe_yield();
    if (auto text = co_await take_back(*a.r.object, *std::move(changed), *one.as, a.about.asked, a.versions);
        !text.empty())
      co_return fail(internal_error(text));
    done = true;
  }
  co_return done;
}

}  // namespace

task<api_result<void>> policies::validate(admission_request& r, const store::snapshot& cluster) {
  const auto now = tables_.current();
  if (now->validating.about(r.who.resource).empty() || is_exempt(r.who)) co_return api_result<void>();
  const auto served = served_();
  auto s = served->find(r.who.api_group, r.who.api_version, r.who.resource);
  if (!s) co_return api_result<void>();
  asked a(r, *served, *s, cluster, may_, versions_);
  judgement all(r, counts_);
  auto wrong = [&](const validating_policy& p, const binding* b, std::string text) {
    if (!p.ignores_failures) all.denied(p, b, {.denies = true, .message = std::move(text), .reason = {}});
  };
  const auto asking = co_await invocations(a, now->validating);
  for (auto& one : asking) {
    co_await reactor::maybe_yield();
    auto text = one.wrong.empty() ? co_await a.values.bring_object(*one.as) : one.wrong;
    if (!text.empty()) {
      wrong(*one.policy, one.bound, std::move(text));
      continue;
    }
    for (std::size_t i = 0; i < one.with.size(); ++i) {
      const auto param = co_await one.with.read(i, versions_);
      if (!param) {
        wrong(*one.policy, one.bound, param.error());
        continue;
      }
      const auto seen = a.seen_as(*one.as, *param, a.values);
      const auto began = reactor::loop::current().now();
      const auto found = co_await evaluate(*one.policy, seen);
      all.take(*one.policy, *one.bound, found, reactor::loop::current().now() - began);
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
  asked a(r, *served, *s, cluster, may_, versions_);
  complaints wrong(r);
  // Others changed it since: who asks to see that does.
  if (rounds.again && r.object && !(rounds.last == *r.object)) rounds.changed();
  bool any = false;
  const auto asking = co_await invocations(a, now->mutating);
  for (auto& one : asking) {
    if (!one.wrong.empty()) {
      wrong.add(*one.policy, one.bound, one.wrong, {});
      continue;
    }
    for (std::size_t i = 0; i < one.with.size(); ++i) {
      co_await reactor::maybe_yield();
      const auto param = co_await one.with.read(i, versions_);
      if (!param) {
        wrong.add(*one.policy, one.bound, param.error(), {});
        continue;
      }
      inputs values(r, a.about, versions_);
      if (auto text = co_await values.bring_object(*one.as); !text.empty()) co_return fail(internal_error(text));
      const auto seen = a.seen_as(*one.as, *param, values);
      auto meets = co_await meets_conditions(*one.policy, seen);
      if (!meets) wrong.add(*one.policy, one.bound, meets.error(), "Invalid");
      if (!meets || !*meets) continue;
      reinvocation::invocation key{one.policy->name, one.bound->name,
                                   fmt::format("{}/{}", namespace_in(*param), name_in(*param))};
      if (rounds.again && !rounds.due.contains(key)) continue;
      const auto before = r.object ? *r.object : json::value();
      auto done = co_await mutate_by(a, one, *param, wrong, counts_);
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
