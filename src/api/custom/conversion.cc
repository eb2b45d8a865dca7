#include "api/custom/conversion.h"

#include <fmt/format.h>

#include <algorithm>

#include "api/custom/codec.h"
#include "api/custom/limits.h"
#include "api/registry/stored.h"
#include "base/strings.h"
#include "json/parse.h"
#include "json/write.h"
#include "meta/validate.h"
#include "reactor/loop.h"

namespace kedge::api::custom {
namespace {

// "stable.example.com/v1, Kind=CronTab"
std::string go_kind(const json::value& o) {
  auto version = o["apiVersion"].as_string();
  return fmt::format("{}{}, Kind={}", version.find('/') == version.npos ? "/" : "", version, o["kind"].as_string());
}

// The real server gives these as they are, which makes them its own failure.
status failed(std::string text) {
  status out;
  out.message = std::move(text);
  return out;
}

status call_failed(const json::value& first, std::string_view why) {
  return failed(fmt::format("conversion webhook for {} failed: {}", go_kind(first), why));
}

// The request's body; the empty response is how Go writes one.
std::string review_text(const webhook_conversion& by, const served& to, std::string_view uid,
                        const std::vector<json::value>& objects) {
  auto out = fmt::format(
      R"({{"kind":"ConversionReview","apiVersion":"apiextensions.k8s.io/{}","request":{{"uid":"{}","desiredAPIVersion":"{}","objects":[)",
      by.review, uid, to.api_version);
  for (auto& o : objects) {
    if (&o != &objects.front()) out += ',';
    json::write(o, out);
  }
  out += R"(]},"response":{"uid":"","convertedObjects":null,"result":{"metadata":{}}}})";
  out += '\n';
  return out;
}

// What is wrong with the answer as a whole; empty when nothing is.
std::string response_problem(const json::value& review, std::string_view uid, bool strict) {
  constexpr std::string_view expected = "apiextensions.k8s.io/v1, Kind=ConversionReview";
  auto& r = review["response"];
  if (strict && go_kind(review) != expected)
    return fmt::format("expected webhook response of {}, got {}", expected, go_kind(review));
  if (!r.is_object()) return "no response provided";
  if (strict && r["uid"].as_string() != uid)
    return fmt::format("expected response.uid={}, got {}", quote(uid), quote(r["uid"].as_string()));
  auto result = r["result"]["status"].as_string();
  if (result == "Success") return {};
  if (auto text = r["result"]["message"].as_string(); !text.empty()) return std::string(text);
  return fmt::format("response.result.status was '{}', not 'Success'", result);
}

std::string identity_problem(const json::value& in, const json::value& out) {
  auto differs = [&](std::string_view what, std::string_view a, std::string_view b) {
    return a == b ? std::string() : fmt::format("must have the same {}: {} != {}", what, a, b);
  };
  auto &m = in["metadata"], &n = out["metadata"];
  for (auto [what, member] : {std::pair("name", "name"), std::pair("namespace", "namespace"), std::pair("UID", "uid")})
    if (auto text = differs(what, m[member].as_string(), n[member].as_string()); !text.empty()) return text;
  return {};
}

std::string_view go_type(const json::value& v) {
  switch (v.type()) {
    case json::type::null: return "<nil>";
    case json::type::boolean: return "bool";
    case json::type::integer: return "int64";
    case json::type::number: return "float64";
    case json::type::string: return "string";
    case json::type::array: return "[]interface {}";
    case json::type::object: return "map[string]interface {}";
  }
  return {};
}

// Metadata is the original's, but for labels and annotations; what is wrong with those.
std::string restore_metadata(const json::value& in, json::value& out) {
  auto given = out["metadata"];
  if (!out.find("metadata")) return "missing metadata in converted object";
  if (!given.is_object()) return fmt::format("invalid metadata of type {} in converted object", go_type(given));
  auto m = in["metadata"];
  for (std::string_view member : {"labels", "annotations"}) {
    auto& now = given[member];
    if (now.is_null()) {
      m.erase(member);
      continue;
    }
    if (!now.is_object())
      return fmt::format("invalid metadata.{} of type {} in converted object", member, go_type(now));
    for (auto& [key, v] : *now.object())
      if (!v.is_string())
        return fmt::format("metadata.{}[{}] must be a string, but is {} in converted object", member, key, go_type(v));
    if (!(now == m[member])) {
      causes wrong;
      if (member == "labels")
        check_labels(wrong, now, place("metadata.labels"));
      else
        check_annotations(wrong, now, place("metadata.annotation"));
      if (!wrong.empty()) return fmt::format("{}: {}", wrong.front().field, wrong.front().message);
    }
    m.set(member, now);
  }
  out.set("metadata", std::move(m));
  return {};
}

// `out` is what became of `in`. `index`: " at index 3", or nothing.
std::string object_problem(const served& to, const json::value& in, json::value& out, std::string_view index) {
  auto version = out["apiVersion"].as_string();
  if (!out.is_object()) return fmt::format("returned invalid converted object{}: it is no object", index);
  if (version != to.api_version)
    return fmt::format("returned invalid converted object{}: invalid groupVersion (expected {}, received {})", index,
                       to.api_version, version);
  if (auto kind = out["kind"].as_string(); kind != in["kind"].as_string())
    return fmt::format("returned invalid converted object{}: invalid kind (expected {}, received {})", index,
                       in["kind"].as_string(), kind);
  if (auto text = identity_problem(in, out); !text.empty())
    return fmt::format("returned invalid converted object{}: {}", index, text);
  if (auto text = restore_metadata(in, out); !text.empty())
    return fmt::format("returned invalid metadata in object{}: {}", index, text);
  return {};
}

}  // namespace

task<api_result<std::vector<json::value>>> converter::call(const served& to, const std::vector<json::value>& objects,
                                                           const tracing::live_span* within) {
  auto& loop = reactor::loop::current();
  const auto began = loop.now();
  std::string_view failure;
  auto done = co_await ask(to, objects,
                           tracing::child_of(within, "Call conversion webhook", tracing::span_kind::client), failure);
  if (told_) {
    const auto from = objects.front()["apiVersion"].as_string();
    told_({to.custom->owner->name(), from.substr(from.find('/') + 1), to.version, failure, loop.now() - began});
  }
  co_return done;
}

task<api_result<std::vector<json::value>>> converter::ask(const served& to, const std::vector<json::value>& objects,
                                                          tracing::live_span calling, std::string_view& failure) {
  auto& by = *to.custom->owner->webhook();
  auto& first = objects.front();
  failure = "conversion_webhook_call_failure";
  if (by.review.empty()) co_return fail(failed("no supported conversion review versions"));
  if (!by.to) co_return fail(call_failed(first, by.to.error().message));
  const auto uid = reactor::loop::current().random().uuid();
  callout::call c{.to = *by.to, .on_behalf = to.custom->owner->name(), .body = review_text(by, to, uid, objects)};
  if (calling.told())
    calling.add_all({{"custom-resource-definition", to.custom->owner->name()},
                     {"desired-api-version", to.api_version},
                     {"object-count", static_cast<std::int64_t>(objects.size())},
                     {"UID", uid}});
  calling.tell(c.more);
  auto answer = co_await calls_.post(std::move(c));
  if (answer)
    calling.happened("Request completed");
  else
    calling.failed(answer.error().message);
  auto review = answer ? co_await callout::object_in(*std::move(answer), "apiextensions.k8s.io", "ConversionReview")
                       : result<json::value>(std::unexpected(answer.error()));
  if (!review) co_return fail(call_failed(first, review.error().message));
  failure = "conversion_webhook_malformed_response_failure";
  co_await reactor::maybe_yield();
  if (auto text = response_problem(*review, uid, by.review == "v1"); !text.empty())
    co_return fail(call_failed(first, text));
  auto list = review->member("response").member("convertedObjects").array();
  const auto got = list ? list->size() : 0;
  failure = "conversion_webhook_partial_response_failure";
  if (got != objects.size())
    co_return fail(failed(fmt::format("conversion webhook for {} returned {} objects, expected {}", go_kind(first), got,
                                      objects.size())));
  failure = "conversion_webhook_invalid_converted_object_failure";
  std::vector<json::value> out;
  for (std::size_t i = 0; i < got; ++i) {
    auto index = got == 1 ? std::string() : fmt::format(" at index {}", i);
    if (auto text = object_problem(to, objects[i], (*list)[i], index); !text.empty())
      co_return fail(failed(fmt::format("conversion webhook for {} {}", go_kind(first), text)));
    out.push_back(std::move((*list)[i]));
    co_await reactor::maybe_yield();
  }
  failure = {};
  co_return out;
}

task<api_result<std::vector<json::value>>> converter::bring_all(const served& to, std::vector<json::value> objects,
                                                                const tracing::live_span* within) {
  std::vector<json::value> asked;
  std::vector<std::size_t> where;
  for (std::size_t i = 0; i < objects.size(); ++i)
    if (may_need_call(to) && objects[i]["apiVersion"].as_string() != to.api_version) where.push_back(i);
  for (std::size_t next = 0; next < where.size();) {
    asked.clear();
    const auto begin = next;
    for (std::size_t bytes = 0; next < where.size() && asked.size() < conversion_objects_max; ++next) {
      auto& o = objects[where[next]];
      if (!asked.empty() && (bytes += json::write(o).size()) > conversion_bytes_max) break;
      asked.push_back(std::move(o));
    }
    KEDGE_CO_TRY(auto done, co_await call(to, asked, within));
    for (std::size_t i = 0; i < done.size(); ++i) objects[where[begin + i]] = std::move(done[i]);
  }
  for (auto& o : objects) {
    bring_to(to, o);
    co_await reactor::maybe_yield();
  }
  co_return std::move(objects);
}

store::object_ref converter::remembered(const served& to, const store::object_ref& o) const {
  auto found = known_.find({o->key(), o->mod(), &to});
  return found == known_.end() ? store::object_ref() : found->second.converted;
}

void converter::remember(const served& to, const store::object_ref& o, store::object_ref converted) {
  const memory_key key{o->key(), o->mod(), &to};  // of what the entry holds
  auto size = [](const memory& m) { return m.source->bytes().size() + m.converted->bytes().size(); };
  auto [entry, is_new] = known_.emplace(key, memory{o, std::move(converted), to.custom->owner->shared_from_this()});
  if (!is_new) return;
  order_.push_back(key);
  bytes_ += size(entry->second);
  while (bytes_ > converted_kept_bytes && !order_.empty()) {
    auto oldest = known_.find(order_.front());
    order_.pop_front();
    bytes_ -= size(oldest->second);
    known_.erase(oldest);
  }
}

task<api_result<std::vector<store::object_ref>>> converter::show_all(const served& to,
                                                                     std::vector<store::object_ref> objects,
                                                                     const tracing::live_span* within) {
  std::vector<json::value> values;
  std::vector<std::size_t> where;
  for (std::size_t i = 0; i < objects.size(); ++i) {
    if (!needs_call(to, *objects[i])) continue;
    if (auto known = remembered(to, objects[i])) {
      objects[i] = std::move(known);
      continue;
    }
    KEDGE_CO_TRY(auto v, value_of(*objects[i]));
    values.push_back(std::move(v));
    where.push_back(i);
    co_await reactor::maybe_yield();
  }
  if (where.empty()) co_return std::move(objects);
  KEDGE_CO_TRY(auto done, co_await bring_all(to, std::move(values), within));
  for (std::size_t i = 0; i < done.size(); ++i) {
    auto& o = objects[where[i]];
    done[i].member("metadata").erase("resourceVersion");
    canonicalise(to, done[i]);
    auto converted = store::with_text(*o, json::write(done[i]));
    remember(to, o, converted);
    o = std::move(converted);
    co_await reactor::maybe_yield();
  }
  co_return std::move(objects);
}

bool needs_call(const served& to, const store::object& o) noexcept {
  return may_need_call(to) && !is_in_version(to, o);
}

task<api_result<json::value>> bring(converter* c, const served& to, json::value object,
                                    const tracing::live_span* within) {
  if (!may_need_call(to) || object["apiVersion"].as_string() == to.api_version) {
    bring_to(to, object);
    co_return object;
  }
  if (!c) co_return fail(call_failed(object, "there is no way to call it from here"));
  std::vector<json::value> one;
  one.push_back(std::move(object));
  KEDGE_CO_TRY(auto done, co_await c->bring_all(to, std::move(one), within));
  co_return std::move(done.front());
}

task<api_result<std::vector<store::object_ref>>> show_all(converter* c, const served& to,
                                                          std::vector<store::object_ref> objects,
                                                          const tracing::live_span* within) {
  auto first = std::ranges::find_if(objects, [&](auto& o) { return needs_call(to, *o); });
  if (first == objects.end()) co_return std::move(objects);
  if (c) co_return co_await c->show_all(to, std::move(objects), within);
  KEDGE_CO_TRY(auto v, value_of(**first));
  co_return fail(call_failed(v, "there is no way to call it from here"));
}

task<api_result<store::object_ref>> show(converter* c, const served& to, store::object_ref o,
                                         const tracing::live_span* within) {
  if (!needs_call(to, *o)) co_return o;
  std::vector<store::object_ref> one{std::move(o)};
  KEDGE_CO_TRY(auto done, co_await show_all(c, to, std::move(one), within));
  co_return std::move(done.front());
}

}  // namespace kedge::api::custom
