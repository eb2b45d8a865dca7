// certificate_signing_request.cc: who asked is filled in; the specification never changes.
#include "api/kind_rules.h"
#include "base/strings.h"

namespace kedge::api {
namespace {

void prepare_create(json::value& o, const kind_context& c) {
  auto& spec = o.member("spec");
  spec.set("username", c.user.name);
  if (c.user.uid.empty())
    spec.erase("uid");
  else
    spec.set("uid", c.user.uid);
  json::array groups;
  for (auto& g : c.user.groups) groups.emplace_back(g);
  spec.set("groups", std::move(groups));
  json::object extra;
  for (auto& [key, values] : c.user.extra) {
    json::array list;
    for (auto& v : values) list.emplace_back(v);
    extra.set(key, std::move(list));
  }
  if (extra.empty())
    spec.erase("extra");
  else
    spec.set("extra", std::move(extra));
}

bool has_condition(const json::value& o, std::string_view type) {
  auto& list = o["status"]["conditions"];
  for (std::size_t i = 0; i < list.size(); ++i)
    if (list[i]["type"].as_string() == type) return true;
  return false;
}

// Conditions' times are the server's when the body has none. Approval only adds Approved and Denied.
void prepare_update(json::value& o, const json::value& old, const kind_context& c) {
  if (c.subresource.empty()) {
    o.set("spec", old["spec"]);
    return;
  }
  auto status = o.find("status");
  auto list = status ? status->find("conditions") : nullptr;
  if (!list || !list->array()) return;
  for (auto& x : *list->array()) {
    if (x["lastUpdateTime"].is_null()) x.set("lastUpdateTime", format_rfc3339(c.now));
    if (x["lastTransitionTime"].is_null()) x.set("lastTransitionTime", format_rfc3339(c.now));
  }
}

void validate(causes& out, const json::value& o) {
  auto& spec = o["spec"];
  auto pem = unbase64(spec["request"].as_string());
  if (!pem || pem->find("-----BEGIN CERTIFICATE REQUEST-----") == std::string::npos)
    out.push_back(invalid_value("spec.request", spec["request"], "PEM block type must be CERTIFICATE REQUEST"));
  if (spec["usages"].empty()) out.push_back(required("spec.usages"));
  auto signer = spec["signerName"].as_string();
  if (signer.empty())
    out.push_back(required("spec.signerName"));
  else if (signer.find('/') == std::string_view::npos)
    out.push_back(invalid_value("spec.signerName", signer, "must be a fully qualified domain and path of the form 'example.com/signer-name'"));
  else if (auto domain = signer.substr(0, signer.find('/')); domain.find('.') == std::string_view::npos)
    out.push_back(invalid_value("spec.signerName", domain, "should be a domain with at least two segments separated by dots"));
  if (auto& s = spec["expirationSeconds"]; s.is_integer() && s.as_integer() < 600)
    out.push_back(invalid_value("spec.expirationSeconds", s, "may not specify a duration less than 600 seconds (10 minutes)"));
}

void validate_part(causes& out, const json::value& o, const json::value& old, std::string_view) {
  if (has_condition(o, "Approved") && has_condition(o, "Denied"))
    out.push_back(invalid_value("status.conditions", "Denied", "Approved and Denied conditions are mutually exclusive"));
  for (auto type : {"Approved", "Denied", "Failed"})
    if (has_condition(old, type) && !has_condition(o, type))
      out.push_back(forbidden_value("status.conditions", "updates may not remove a condition of type \"" + std::string(type) + "\""));
}

}  // namespace

const kind_rules kinds::certificate_signing_requests{.group = "certificates.k8s.io",
                                                     .resource = "certificatesigningrequests",
                                                     .name = check_path_segment,
                                                     .prepare_create = prepare_create,
                                                     .prepare_update = prepare_update,
                                                     .validate = validate,
                                                     .validate_part = validate_part};

}  // namespace kedge::api
