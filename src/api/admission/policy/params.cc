#include "api/admission/policy/params.h"

#include <fmt/format.h>

#include "api/answer/encode.h"
#include "api/registry/stored.h"
#include "reactor/loop.h"
#include "schema/resources.h"

namespace kedge::api::policy {
namespace {

constexpr std::size_t looked_at_once = 1'000;  // objects, whose labels are compared: a tenth of a millisecond

task<std::vector<store::object_ref>> labelled(const store::snapshot& cluster, std::string prefix,
                                              const label_selector& which) {
  std::vector<store::object_ref> out;
  for (std::string next;;) {
    std::size_t seen = 0;
    std::string last;
    cluster.scan(prefix, next, [&](const store::object_ref& o) {
      if (which.matches_text(o->labels_text())) out.push_back(o);
      if (++seen < looked_at_once) return true;
      last = o->key();
      return false;
    });
    if (last.empty()) co_return out;
    next = std::move(last) + '\0';
    co_await reactor::maybe_yield();
  }
}

}  // namespace

std::optional<param_kind> param_kind::compile(const json::value& v) {
  if (!v.is_object()) return std::nullopt;
  return param_kind{std::string(v["apiVersion"].as_string()), std::string(v["kind"].as_string())};
}

std::string param_kind::text() const {
  auto gv = schema::split_api_version(api_version);
  return fmt::format("{}/{}, Kind={}", gv.group, gv.version, kind);
}

std::optional<param_reference> param_reference::compile(const json::value& v) {
  if (!v.is_object()) return std::nullopt;
  param_reference out;
  out.name = v["name"].as_string();
  out.ns = v["namespace"].as_string();
  if (v["selector"].is_object()) out.selector = label_selector::from_object(v["selector"]);
  out.denies_missing = v["parameterNotFoundAction"].as_string() == "Deny";
  return out;
}

task<std::expected<json::value, std::string>> params::read(std::size_t i, custom::converter* versions) const {
  if (!kind_) co_return json::value();
  auto& o = objects_[i];
  auto v = kind_->custom ? value_of(*o) : served_value(*kind_, *o);
  if (v && kind_->custom) v = co_await custom::bring(versions, *kind_, *std::move(v));
  if (!v) co_return std::unexpected(v.error().message);
  v->member("metadata").set("resourceVersion", std::to_string(o->mod()));
  co_return *std::move(v);
}

task<std::expected<params, std::string>> find_params(const served* kind, const param_reference* ref,
                                                     std::string_view ns, const store::snapshot& cluster) {
  if (!kind || !ref) co_return params();
  if (kind->namespaced() && !ref->ns.empty()) ns = ref->ns;
  if (kind->namespaced() && ns.empty())
    co_return std::unexpected("cannot use namespaced paramRef in policy binding that matches cluster-scoped resources");
  if (!kind->namespaced() && !ref->ns.empty())
    co_return std::unexpected("paramRef.namespace must not be provided for a cluster-scoped `paramKind`");
  std::vector<store::object_ref> found;
  if (!ref->name.empty()) {
    if (auto o = cluster.find(kind->key(ns, ref->name))) found.push_back(std::move(o));
  } else if (ref->selector) {
    found = co_await labelled(cluster, kind->prefix(ns), *ref->selector);
  }
  if (found.empty() && ref->denies_missing)
    co_return std::unexpected("no params found for policy binding with `Deny` parameterNotFoundAction");
  co_return params(*kind, std::move(found));
}

}  // namespace kedge::api::policy
