#include "api/admission/policy/params.h"

#include <fmt/format.h>

#include "api/answer/encode.h"
#include "schema/resources.h"

namespace kedge::api::policy {

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

std::expected<std::vector<json::value>, std::string> find_params(const served* kind, const param_reference* ref,
                                                                 std::string_view ns, const store::snapshot& cluster) {
  std::vector<json::value> out;
  if (!kind || !ref) {
    out.emplace_back();
    return out;
  }
  if (kind->namespaced() && !ref->ns.empty()) ns = ref->ns;
  if (kind->namespaced() && ns.empty())
    return std::unexpected("cannot use namespaced paramRef in policy binding that matches cluster-scoped resources");
  if (!kind->namespaced() && !ref->ns.empty())
    return std::unexpected("paramRef.namespace must not be provided for a cluster-scoped `paramKind`");
  auto take = [&](const store::object_ref& o) {
    auto v = served_value(*kind, *o);
    if (!v) return;
    v->member("metadata").set("resourceVersion", std::to_string(o->mod()));
    out.push_back(*std::move(v));
  };
  if (!ref->name.empty()) {
    if (auto o = cluster.find(kind->key(ns, ref->name))) take(o);
  } else if (ref->selector) {
    cluster.scan(kind->prefix(ns), {}, [&](const store::object_ref& o) {
      if (ref->selector->matches_text(o->labels_text())) take(o);
      return true;
    });
  }
  if (out.empty() && ref->denies_missing)
    return std::unexpected("no params found for policy binding with `Deny` parameterNotFoundAction");
  return out;
}

}  // namespace kedge::api::policy
