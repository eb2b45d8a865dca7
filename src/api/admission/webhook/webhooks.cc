#include "api/admission/webhook/webhooks.h"

#include <fmt/format.h>

#include <utility>

#include "api/admission/webhook/review.h"
#include "api/custom/codec.h"
#include "api/custom/conversion.h"
#include "api/registry/lookup.h"
#include "base/log.h"
#include "base/strings.h"
#include "json/parse.h"
#include "json/patch.h"
#include "json/write.h"
#include "reactor/loop.h"
#include "reactor/scope.h"
#include "schema/decode.h"
#include "schema/defaults.h"

namespace kedge::api::webhook {

// What became of asking one webhook.
struct webhooks::answered {
  outcome how;
  verdict said;
  status refused;  // when it is not admitted and doesn't pass
};

// One that is to be asked.
struct webhooks::called {
  const hook* what;
  const served* as;
};

namespace {

constexpr std::string_view failed_open = "failed-open.";
constexpr std::string_view validating_note = "validating.webhook.admission.k8s.io/";
constexpr std::string_view mutation_note = "mutation.webhook.admission.k8s.io/";

bool labels_selected(const label_selector& which, const json::value* object) {
  return object && which.matches((*object)["metadata"]["labels"]);
}

std::string round_key(std::string_view of, bool second, std::size_t index) {
  return fmt::format("{}round_{}_index_{}", of, second ? 1 : 0, index);
}

std::string mutation_text(const hook& h, bool changed) {
  return json::write(json::object{{"configuration", h.configuration}, {"webhook", h.name}, {"mutated", changed}});
}

// What a trace tells of asking one.
tracing::live_span call_span(const hook& h, const subject& s, const admission_request& r, const std::string& uid) {
  auto out = tracing::child_of(r.span, h.mutates ? "Call mutating webhook" : "Call validating webhook");
  if (out.told())
    out.add_all({{"configuration", h.configuration},
                 {"webhook", h.name},
                 {"resource", fmt::format("{}/{}, Resource={}", s.asked->group, s.asked->version, s.asked->resource)},
                 {"subresource", s.subresource},
                 {"operation", operation_text(r.what)},
                 {"UID", uid}});
  return out;
}

void tell_outcome(tracing::live_span& posting, const hook& h, const result<callout::answer>& answer) {
  if (!posting.told()) return;
  auto& to = **h.to;
  posting.add_all({{"http.request.method", "POST"},
                   {"url.full", fmt::format("{}?timeout={}s", to.url(), h.time.count())},
                   {"server.address", to.host}});
  if (to.port != 443) posting.add({"server.port", std::int64_t{to.port}});
  if (!answer) return posting.failed(answer.error().message);
  posting.add({"http.response.status_code", std::int64_t{answer->status}});
  if (answer->status < 400) return;
  posting.add({"error.type", std::to_string(answer->status)});
  posting.failed();
}

}  // namespace

webhooks::webhooks(parts p) : parts_(p), mutating_(p.objects, true), validating_(p.objects, false) {}

void webhooks::follow() {
  mutating_.follow();
  validating_.follow();
}

// What the server writes as itself makes it a server, its start above all: a webhook that is down must not stop it.
bool webhooks::concern(const admission_request& r, bool mutating) const {
  if (r.who.user.is(server_itself())) return false;
  return r.asked && !(mutating ? mutating_ : validating_).current()->empty() && !is_exempt(*r.asked);
}

// A namespace that is made or changed is judged by the labels that it gets.
task<api_result<bool>> webhooks::matches_namespace(const hook& h, const subject& s, const admission_request& r,
                                                   const store::snapshot& cluster) {
  const bool is_namespace = s.asked->group.empty() && s.asked->resource == "namespaces";
  if ((s.ns.empty() && !is_namespace) || h.namespaces.everything()) co_return true;
  if (is_namespace && s.subresource.empty() && r.object) co_return labels_selected(h.namespaces, r.object);
  const auto key = object_key("namespaces", {}, s.ns);
  auto home = cluster.find(key);
  if (!home) {
    auto newest = co_await parts_.objects.latest();
    if (!newest) co_return fail(from_error(newest.error()));
    home = newest->find(key);
  }
  if (!home) co_return fail(not_found("", "namespaces", s.ns));
  co_return h.namespaces.matches_text(home->labels_text());
}

task<api_result<const served*>> webhooks::match(const hook& h, const subject& s, const admission_request& r,
                                                const store::snapshot& cluster) {
  auto as = match_rules(h, s);
  if (!as) co_return nullptr;
  if (!h.objects.everything() && !labels_selected(h.objects, r.object) && !labels_selected(h.objects, r.old))
    co_return nullptr;
  KEDGE_CO_TRY(auto home, co_await matches_namespace(h, s, r, cluster));
  if (!home) co_return nullptr;
  if (!h.if_all) co_return as;
  KEDGE_CO_TRY(auto meets, co_await meets_conditions(h, *as, s, r, cluster));
  co_return meets ? as : nullptr;
}

// What can't be told is as if the webhook couldn't be asked: its policy decides.
task<api_result<bool>> webhooks::meets_conditions(const hook& h, const served& as, const subject& s,
                                                  const admission_request& r, const store::snapshot& cluster) {
  json::value object, old, options = r.tell_options ? r.tell_options() : json::value();
  if (r.object) { KEDGE_CO_TRY(object, co_await shown(as, r, false)); }
  if (r.old) { KEDGE_CO_TRY(old, co_await shown(as, r, true)); }
  const auto request = request_value({.to = h,
                                      .about = s,
                                      .as = as,
                                      .user = r.who.user,
                                      .dry_run = r.dry_run,
                                      .options = r.tell_options ? &options : nullptr});
  auto held = co_await h.if_all->hold({.object = r.object ? &object : nullptr,
                                       .old = r.old ? &old : nullptr,
                                       .request = &request,
                                       .asked = r.who,
                                       .may = may_,
                                       .cluster = cluster});
  if (parts_.measures) hook_metrics(*parts_.measures).observe_conditions(h, r.what, held.value_or(true), !held);
  if (held) co_return *held;
  if (h.may_fail) co_return false;
  co_return fail(forbidden(s.asked->group, s.asked->resource, s.name, held.error()));
}

// The object as a client that asked for it as `as` would see it.
task<api_result<json::value>> webhooks::shown(const served& as, const admission_request& r, bool before) {
  auto v = before ? *r.old : *r.object;
  const auto owned = before ? r.owned_before : r.owned;
  const auto revision = before ? r.revision_before : r.revision;
  co_await reactor::maybe_yield();
  if (!is_own_kind(*r.asked, r.who.subresource)) {
    auto kind = kind_of(*r.asked, r.who.subresource);
    if (revision > 0) v.member("metadata").set("resourceVersion", std::to_string(revision));
    if (auto type = schema::find_kind(kind.api_version(), kind.kind)) schema::normalise(*type, v);
    co_return v;
  }
  auto& m = v.member("metadata");
  if (revision > 0) m.set("resourceVersion", std::to_string(revision));
  if (owned && !owned->empty()) m.set("managedFields", *owned);
  if (as.custom) {
    KEDGE_CO_TRY(v, co_await custom::bring(parts_.versions, as, std::move(v), r.span));
    custom::canonicalise(as, v);
    co_return v;
  }
  if (as.from_stored) as.from_stored(v);
  v.set("kind", as.kind);
  v.set("apiVersion", as.api_version);
  schema::normalise(as.type(), v);
  co_return v;
}

task<webhooks::answered> webhooks::ask(const hook& h, const served& as, const subject& s, const admission_request& r,
                                       const json::value* object, const json::value* old) {
  answered out;
  auto call_failed = [&](std::string why, int code) {
    out.how = {outcome::kind::call_failed, h.may_fail, code};
    out.refused = internal_error(fmt::format("failed calling webhook {}: {}", quote(h.name), why));
  };
  if (r.dry_run && !h.dry_run) {
    out.how = {outcome::kind::server_failed, false, 400};
    out.refused = bad_request(fmt::format("admission webhook {} does not support dry run", quote(h.name)));
    co_return out;
  }
  if (h.review.empty()) {
    call_failed(
        "could not create admission objects: webhook does not accept known AdmissionReview versions (v1, v1beta1)",
        400);
    co_return out;
  }
  if (!h.to) {
    call_failed("could not get REST client: " + h.to.error().message, 500);
    co_return out;
  }
  co_await reactor::maybe_yield();
  json::value options = r.tell_options ? r.tell_options() : json::value();
  const auto uid = reactor::loop::current().random().uuid();
  auto calling = call_span(h, s, r, uid);
  auto posting = calling.child("HTTP POST", tracing::span_kind::client);
  callout::call c{.to = *h.to, .on_behalf = h.configuration, .time = h.time, .tells_time = true};
  c.body = review_text({.to = h,
                        .about = s,
                        .as = as,
                        .user = r.who.user,
                        .dry_run = r.dry_run,
                        .object = object,
                        .old = old,
                        .options = r.tell_options ? &options : nullptr},
                       uid);
  if (r.let_go) r.let_go();
  posting.tell(c.more);
  auto answer = co_await parts_.calls.post(std::move(c));
  const int code = answer ? answer->status : 0;
  tell_outcome(posting, h, answer);
  posting.end();
  if (answer) calling.happened("Request completed");
  auto review = answer ? co_await callout::object_in(*std::move(answer), "admission.k8s.io", "AdmissionReview")
                       : result<json::value>(std::unexpected(answer.error()));
  if (!review) {
    call_failed("failed to call webhook: " + review.error().message, code >= 400 ? code : 503);
    co_return out;
  }
  auto said = read_verdict(h, uid, *review);
  if (!said) {
    call_failed("received invalid webhook response: " + said.error().message, 503);
    co_return out;
  }
  out.said = *std::move(said);
  if (!out.said.allowed) {
    out.how = {outcome::kind::rejected, false, out.said.refused.code};
    out.refused = out.said.refused;
  }
  co_return out;
}

void webhooks::measure(const hook& h, operation what, const answered& a, duration took) {
  if (a.how.passed) log::warning("failed calling webhook, failing open {}: {}", h.name, a.refused.message);
  if (parts_.measures) hook_metrics(*parts_.measures).observe(h, what, a.how, took);
}

// ---- mutating

// What a patch makes of the object that the webhook saw becomes the request's object again. Whether it is another one.
task<api_result<bool>> webhooks::take_patch(const hook& h, const served& as, admission_request& r,
                                            const json::value& before, const json::value& patch) {
  if (!r.object)
    co_return fail(internal_error(
        fmt::format("admission webhook {} attempted to modify the object, which is not supported for this operation",
                    quote(h.name))));
  co_await reactor::maybe_yield();
  auto patched = json::apply_json_patch(before, patch);
  if (!patched) co_return fail(internal_error(patched.error().message));
  auto v = *std::move(patched);
  co_await reactor::maybe_yield();
  const bool own = is_own_kind(*r.asked, r.who.subresource);
  if (own && as.custom) {
    std::vector<std::string> ignored;
    KEDGE_CO_TRY(v, custom::decode(as, std::move(v), field_validation::ignore, {}, ignored, false));
    apply_defaults(as, v);
  } else {
    auto kind = kind_of(as, r.who.subresource);
    if (v["kind"].as_string() != kind.kind || v["apiVersion"].as_string() != kind.api_version())
      co_return fail(
          internal_error(fmt::format("unable to decode {}, Kind={} into {}, Kind={}", v["apiVersion"].as_string(),
                                     v["kind"].as_string(), kind.api_version(), kind.kind)));
    auto type = own ? &as.type() : schema::find_kind(kind.api_version(), kind.kind);
    if (type) {
      if (auto ok = schema::decode(*type, v); !ok) co_return fail(internal_error(ok.error().message));
      schema::apply_defaults(*type, v);
    }
  }
  co_await reactor::maybe_yield();
  const bool changed = !(v == before);
  if (own) {
    auto& m = v.member("metadata");
    m.erase("managedFields");
    if (as.custom) {
      KEDGE_CO_TRY(v, co_await custom::bring(parts_.versions, *r.asked, std::move(v), r.span));
    } else if (as.to_stored) {
      as.to_stored(v);
    }
  }
  *r.object = std::move(v);
  co_return changed;
}

// Whether it changed the object.
task<api_result<bool>> webhooks::mutate_by(const hook& h, const served& as, const subject& s, admission_request& r,
                                           std::size_t index, bool second) {
  json::value object, old;
  if (r.object) { KEDGE_CO_TRY(object, co_await shown(as, r, false)); }
  if (r.old) { KEDGE_CO_TRY(old, co_await shown(as, r, true)); }
  auto& home = reactor::loop::current();
  const auto began = home.now();
  auto a = co_await ask(h, as, s, r, r.object ? &object : nullptr, r.old ? &old : nullptr);
  bool changed = false;
  if (a.how.what == outcome::kind::admitted && !a.said.patch.empty()) {
    auto patch = json::parse(a.said.patch);
    auto unusable = [&](std::string why) {
      a.how = {outcome::kind::call_failed, h.may_fail, 503};
      a.refused = internal_error(fmt::format("failed calling webhook {}: {}", quote(h.name), why));
    };
    if (!patch || !patch->is_array()) {
      unusable("received undecodable patch in webhook response: " +
               (patch ? fmt::format("json: cannot unmarshal {} into Go value of type jsonpatch.Patch",
                                    json::kind_name(*patch))
                      : patch.error().message));
    } else if (!patch->empty() && r.object && a.said.patch_type != "JSONPatch") {
      unusable(fmt::format("unsupported patch type {}", quote(a.said.patch_type)));
    } else if (!patch->empty()) {
      auto taken = co_await take_patch(h, as, r, object, *patch);
      if (taken) {
        changed = *taken;
        r.annotations.emplace_back(round_key("patch.webhook.admission.k8s.io/", second, index),
                                   json::write(json::object{{"configuration", h.configuration},
                                                            {"webhook", h.name},
                                                            {"patch", *std::move(patch)},
                                                            {"patchType", "JSONPatch"}}));
      } else {
        a.how = {outcome::kind::server_failed, false, 500};
        a.refused = std::move(taken).error();
      }
    }
  }
  measure(h, r.what, a, home.now() - began);
  r.annotations.emplace_back(round_key(mutation_note, second, index), mutation_text(h, changed));
  for (auto& [name, text] : a.said.notes) r.annotations.emplace_back(h.name + "/" + name, text);
  for (auto& w : a.said.warnings) r.warnings.push_back(std::move(w));
  if (a.how.passed)
    r.annotations.emplace_back(std::string(failed_open) + round_key(mutation_note, second, index), h.name);
  if (a.how.what != outcome::kind::admitted && !a.how.passed) co_return fail(std::move(a.refused));
  co_return changed;
}

task<api_result<void>> webhooks::mutate(admission_request& r, const store::snapshot& cluster, rounds& so_far) {
  const auto all = mutating_.current();
  // What plugins have changed since then is news to all of them.
  if (so_far.second && r.object && !so_far.asked.empty() && !(so_far.seen == *r.object))
    so_far.again.merge(std::exchange(so_far.asked, {}));
  for (std::size_t i = 0; i < all->size(); ++i) {
    const auto& h = *(*all)[i];
    const auto s = subject_of(r);
    if (!match_rules(h, s)) continue;
    KEDGE_CO_TRY(auto as, co_await match(h, s, r, cluster));
    // Who wasn't asked in the first round isn't in the second.
    if (!as || (so_far.second && !so_far.again.contains(h.id))) continue;
    KEDGE_CO_TRY(auto changed, co_await mutate_by(h, *as, s, r, i, so_far.second));
    if (changed) {
      so_far.again.merge(std::exchange(so_far.asked, {}));
      so_far.changed = true;
    }
    if (h.again) so_far.asked.insert(h.id);
  }
  if (r.object && so_far.changed && !so_far.second && !so_far.asked.empty()) so_far.seen = *r.object;
  co_return api_result<void>();
}

// ---- validating

task<void> webhooks::judge_by(const hook& h, const served& as, const subject& s, const admission_request& r,
                              answered& out) {
  api_result<json::value> object = json::value(), old = json::value();
  if (r.object) object = co_await shown(as, r, false);
  if (r.old && object) old = co_await shown(as, r, true);
  if (!object || !old) {
    out.how = {outcome::kind::server_failed, false, 500};
    out.refused = internal_error((object ? old : object).error().message);
    co_return;
  }
  auto& home = reactor::loop::current();
  const auto began = home.now();
  out = co_await ask(h, as, s, r, r.object ? &*object : nullptr, r.old ? &*old : nullptr);
  measure(h, r.what, out, home.now() - began);
}

task<api_result<void>> webhooks::validate(admission_request& r, const store::snapshot& cluster) {
  const auto all = validating_.current();
  const auto s = subject_of(r);
  std::vector<called> calls;
  for (auto& h : *all) {
    if (!match_rules(*h, s)) continue;
    KEDGE_CO_TRY(auto as, co_await match(*h, s, r, cluster));
    if (as) calls.push_back({h.get(), as});
  }
  std::vector<answered> answers(calls.size());
  reactor::scope asking;
  for (std::size_t i = 0; i < calls.size(); ++i) asking.spawn(judge_by(*calls[i].what, *calls[i].as, s, r, answers[i]));
  co_await asking.join();
  api_result<void> out;
  for (std::size_t i = 0; i < calls.size(); ++i) {
    auto& a = answers[i];
    auto& h = *calls[i].what;
    for (auto& [name, text] : a.said.notes) r.annotations.emplace_back(h.name + "/" + name, text);
    for (auto& w : a.said.warnings) r.warnings.push_back(std::move(w));
    if (a.how.passed)
      r.annotations.emplace_back(std::string(failed_open) + round_key(validating_note, false, i), h.name);
    if (a.how.what != outcome::kind::admitted && !a.how.passed && out) out = fail(std::move(a.refused));
  }
  co_return out;
}

}  // namespace kedge::api::webhook
