// certificate_signing_request.cc: CertificateSigningRequest: who asked is filled in; the specification never changes.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <unordered_set>

#include "api/kinds/certificates/signer_name.h"
#include "api/registry/kind_rules.h"
#include "base/strings.h"
#include "crypto/certificate.h"
#include "crypto/pem.h"
#include "crypto/request.h"
#include "meta/difference.h"
#include "meta/internal_form.h"

namespace kedge::api {
namespace {

constexpr std::int64_t expiration_min_seconds = 600;
constexpr std::string_view legacy_signer = "kubernetes.io/legacy-unknown";
constexpr std::string_view usages[] = {"any",
                                       "cert sign",
                                       "client auth",
                                       "code signing",
                                       "content commitment",
                                       "crl sign",
                                       "data encipherment",
                                       "decipher only",
                                       "digital signature",
                                       "email protection",
                                       "encipher only",
                                       "ipsec end system",
                                       "ipsec tunnel",
                                       "ipsec user",
                                       "key agreement",
                                       "key encipherment",
                                       "microsoft sgc",
                                       "netscape sgc",
                                       "ocsp signing",
                                       "s/mime",
                                       "server auth",
                                       "signing",
                                       "timestamping"};

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

std::vector<std::size_t> indexes_of(const json::value& o, std::string_view type) {
  std::vector<std::size_t> out;
  auto& list = o["status"]["conditions"];
  for (std::size_t i = 0; i < list.size(); ++i)
    if (list[i]["type"].as_string() == type) out.push_back(i);
  return out;
}

json::value conditions_of(const json::value& o, std::string_view type) {
  json::array out;
  for (auto i : indexes_of(o, type))
    out.push_back(internal_form("certificates/v1.CertificateSigningRequestCondition", o["status"]["conditions"][i]));
  return out;
}

// Who only reports a status doesn't decide: what was decided stays, if it is still there.
void keep_decisions(json::value& o, const json::value& old) {
  for (auto type : {"Approved", "Denied"}) {
    auto now = indexes_of(o, type), before = indexes_of(old, type);
    if (now.size() != before.size()) continue;
    for (std::size_t i = 0; i < now.size(); ++i)
      (*o.member("status").member("conditions").array())[now[i]] = old["status"]["conditions"][before[i]];
  }
}

// Conditions' times are the server's when the body has none.
void fill_times(json::value& o, const json::value& old, wall_time now) {
  auto status = o.find("status");
  auto list = status ? status->find("conditions") : nullptr;
  if (!list || !list->array()) return;
  auto& before = old["status"]["conditions"];
  std::map<std::pair<std::string_view, std::string_view>, const json::value*>
      known;  // times of the first of each type and status
  for (std::size_t i = 0; i < before.size(); ++i)
    if (auto& at = before[i]["lastTransitionTime"]; !at.is_null())
      known.try_emplace({before[i]["type"].as_string(), before[i]["status"].as_string()}, &at);
  for (auto& c : *list->array()) {
    if (c["lastUpdateTime"].is_null()) c.set("lastUpdateTime", format_rfc3339(now));
    if (!c["lastTransitionTime"].is_null()) continue;
    auto same = known.find({c["type"].as_string(), c["status"].as_string()});
    c.set("lastTransitionTime", same == known.end() ? json::value(format_rfc3339(now)) : *same->second);
  }
}

void prepare_update(json::value& o, const json::value& old, const kind_context& c) {
  if (c.subresource.empty()) {
    o.set("spec", old["spec"]);
    return;
  }
  if (c.subresource == "status") keep_decisions(o, old);
  fill_times(o, old, c.now);
}

// What an older object has that is wrong by now.
struct excuses {
  bool legacy_name = false, unknown_usages = false, repeated_usages = false;
  bool both_decisions = false, repeated_types = false, empty_types = false, any_certificate = false;
};

bool is_usage(std::string_view usage) {
  return std::find(std::begin(usages), std::end(usages), usage) != std::end(usages);
}

void check_spec(causes& out, const json::value& spec, const place& at, const excuses& may) {
  auto pem = unbase64(spec["request"].as_string());
  auto request = crypto::parse_request(pem ? *pem : std::string());
  if (!request) out.push_back(invalid_value(place(at, "request"), spec["request"], request.error().message));
  need(out, spec, at, "usages");
  std::unordered_set<std::string_view> seen;
  for (std::size_t i = 0; i < spec["usages"].size(); ++i) {
    auto usage = spec["usages"][i].as_string();
    const place here(at, "usages", i);
    if (!may.unknown_usages && !is_usage(usage))
      out.push_back(not_supported(here, usage, {std::begin(usages), std::end(usages)}));
    if (!seen.insert(usage).second && !may.repeated_usages) out.push_back(duplicate_value(here, usage));
  }
  const place of_signer(at, "signerName");
  if (auto signer = spec["signerName"].as_string(); signer == legacy_signer && !may.legacy_name)
    out.push_back(invalid_value(of_signer, signer, "the legacy signerName is not allowed via this API version"));
  else
    check_signer_name(out, signer, of_signer);
  if (auto& seconds = spec["expirationSeconds"]; seconds.is_integer() && seconds.as_integer() < expiration_min_seconds)
    out.push_back(invalid_value(place(at, "expirationSeconds"), seconds,
                                "may not specify a duration less than 600 seconds (10 minutes)"));
}

void check_conditions(causes& out, const json::value& list, const place& at, const excuses& may) {
  bool approved = false, denied = false;
  std::unordered_set<std::string_view> seen;
  for (std::size_t i = 0; i < list.size(); ++i) {
    const place here(at, i);
    auto type = list[i]["type"].as_string();
    if (type.empty() && !may.empty_types) out.push_back(required(place(here, "type")));
    if (type == "Approved" || type == "Denied" || type == "Failed")
      one_of_needed(out, list[i], here, "status", {"True"});
    else
      one_of_needed(out, list[i], here, "status", {"False", "True", "Unknown"});
    approved = approved || type == "Approved";
    denied = denied || type == "Denied";
    if (!seen.insert(type).second && !may.repeated_types) out.push_back(duplicate_value(place(here, "type"), type));
  }
  if (approved && denied && !may.both_decisions)
    out.push_back(invalid_value(
        at, R"({conditions[{"type": "Approved"}], conditions[{"type": "Denied"}]})",
        R"(must specify at most one of: `conditions[{"type": "Approved"}]`, `conditions[{"type": "Denied"}]`)"));
}

// Empty, or why it is no certificate.
std::string wrong_certificate(const json::value& status) {
  auto text = unbase64(status["certificate"].as_string());
  if (!text || text->empty()) return {};
  auto blocks = crypto::parse_pem(*text);
  if (!blocks) return blocks.error().message;
  for (auto& b : *blocks) {
    if (b.type != "CERTIFICATE") return fmt::format("only CERTIFICATE PEM blocks are allowed, found {}", quote(b.type));
    if (auto c = crypto::certificate::from_der(as_bytes(b.der)); !c) return c.error().message;
  }
  return blocks->empty() ? "must contain at least one CERTIFICATE PEM block" : "";
}

void check(causes& out, const json::value& o, const excuses& may) {
  const place at("spec"), of_conditions("status.conditions");
  check_spec(out, o["spec"], at, may);
  check_conditions(out, o["status"]["conditions"], of_conditions, may);
  if (may.any_certificate) return;
  if (auto wrong = wrong_certificate(o["status"]); !wrong.empty())
    out.push_back(invalid_value("status.certificate", "<certificate data>", wrong));
}

excuses excuses_by(const json::value& old, const json::value& now) {
  auto &spec = old["spec"], &list = old["status"]["conditions"];
  excuses may;
  may.legacy_name = spec["signerName"].as_string() == legacy_signer;
  std::unordered_set<std::string_view> used, types;
  for (std::size_t i = 0; i < spec["usages"].size(); ++i) {
    auto usage = spec["usages"][i].as_string();
    may.unknown_usages = may.unknown_usages || !is_usage(usage);
    may.repeated_usages = may.repeated_usages || !used.insert(usage).second;
  }
  for (std::size_t i = 0; i < list.size(); ++i) {
    auto type = list[i]["type"].as_string();
    may.empty_types = may.empty_types || type.empty();
    may.repeated_types = may.repeated_types || !types.insert(type).second;
  }
  may.both_decisions = types.contains("Approved") && types.contains("Denied");
  may.any_certificate =
      now["status"]["certificate"] == old["status"]["certificate"] || !wrong_certificate(old["status"]).empty();
  return may;
}

void check_changes(causes& out, const json::value& o, const json::value& old, bool may_decide, bool may_issue) {
  const place at("status.conditions"), of_certificate("status.certificate");
  for (auto type : {"Approved", "Denied", "Failed"})
    if (indexes_of(o, type).size() < indexes_of(old, type).size())
      out.push_back(forbidden_value(at, fmt::format("updates may not remove a condition of type {}", quote(type))));
  if (!may_decide)
    for (auto type : {"Approved", "Denied"}) {
      auto now = conditions_of(o, type), before = conditions_of(old, type);
      if (now.size() > before.size())
        out.push_back(forbidden_value(at, fmt::format("updates may not add a condition of type {}", quote(type))));
      else if (now.size() == before.size() && !(now == before))
        out.push_back(forbidden_value(at, fmt::format("updates may not modify a condition of type {}\n{}", quote(type),
                                                      difference_text(before, now))));
    }
  auto &now = o["status"]["certificate"], &before = old["status"]["certificate"];
  if (now.as_string() == before.as_string()) return;
  if (!may_issue)
    out.push_back(forbidden_value(of_certificate, "updates may not set certificate content"));
  else if (!before.as_string().empty())
    out.push_back(forbidden_value(of_certificate, "updates may not modify existing certificate content"));
}

void validate(causes& out, const json::value& o) { check(out, o, {}); }

void validate_update(causes& out, const json::value& o, const json::value& old) {
  check(out, o, excuses_by(old, o));
  check_changes(out, o, old, false, false);
}

void validate_part(causes& out, const json::value& o, const json::value& old, std::string_view subresource) {
  check(out, o, excuses_by(old, o));
  check_changes(out, o, old, subresource == "approval", subresource == "status");
}

}  // namespace

const kind_rules kinds::certificate_signing_requests{.group = "certificates.k8s.io",
                                                     .resource = "certificatesigningrequests",
                                                     .name = check_path_segment,
                                                     .prepare_create = prepare_create,
                                                     .prepare_update = prepare_update,
                                                     .validate = validate,
                                                     .validate_update = validate_update,
                                                     .validate_part = validate_part};

}  // namespace kedge::api
