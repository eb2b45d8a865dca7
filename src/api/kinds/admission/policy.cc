// policy.cc: ValidatingAdmissionPolicy and MutatingAdmissionPolicy, and whether their expressions can be run.
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "api/kinds/admission/matching.h"
#include "api/registry/kind_rules.h"
#include "base/strings.h"

namespace kedge::api {
namespace {

constexpr std::string_view admission_group = "admissionregistration.k8s.io";
constexpr std::size_t audit_annotations_max = 20, audit_expression_max = 5 * 1024;

// Words that CEL has for itself.
constexpr std::string_view reserved[] = {"true",     "false",   "null",      "in",       "as",  "break",  "const",
                                         "continue", "else",    "for",       "function", "if",  "import", "let",
                                         "loop",     "package", "namespace", "return",   "var", "void",   "while"};

bool is_identifier(std::string_view text) {
  auto letter = [](char c) { return c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); };
  if (text.empty() || !letter(text[0]) || std::ranges::find(reserved, text) != std::end(reserved)) return false;
  return std::ranges::all_of(text, [&](char c) { return letter(c) || (c >= '0' && c <= '9'); });
}

void check_version(causes& out, std::string_view text, const place& at) {
  if (text.empty()) return out.push_back(required(at));
  auto slashes = std::ranges::count(text, '/');
  if (text != "/" && slashes > 1)
    return out.push_back(invalid_value(at, text, fmt::format("unexpected GroupVersion string: {}", text)));
  auto slash = text.find('/');
  auto group = slash == text.npos ? std::string_view() : text.substr(0, slash);
  auto version = slash == text.npos ? text : text.substr(slash + 1);
  if (!group.empty())
    if (auto wrong = check_dns1123_subdomain(group); !wrong.empty())
      out.push_back(invalid_value(at, group, join(wrong, ",")));
  if (version.empty())
    out.push_back(invalid_value(at, text, "version must be specified"));
  else if (auto wrong = check_dns1035_label(version); !wrong.empty())
    out.push_back(invalid_value(at, version, join(wrong, ",")));
}

void check_param_kind(causes& out, const json::value& param, const place& at) {
  if (!param.is_object()) return;
  check_version(out, param["apiVersion"].as_string(), place(at, "apiVersion"));
  auto kind = param["kind"].as_string();
  if (!need(out, param, at, "kind")) return;
  if (auto wrong = check_dns1035_label(lower(kind)); !wrong.empty())
    out.push_back(
        invalid_value(place(at, "kind"), kind, "may have mixed case, but should otherwise match: " + join(wrong, ",")));
}

// The expressions of a policy, while they are judged. One without variables knows no `variables` at all.
class judged_expressions {
 public:
  judged_expressions(const json::value& spec, bool composed)
      : params_(spec["paramKind"].is_object()), composed_(composed), all_(params_) {}

  void variable(causes& out, std::string name, std::string_view text, const place& at) {
    check_compiled(out, all_.add(std::move(name), text), text, at);
  }
  // `told`: as it stands in the policy.
  void check(causes& out, std::string_view text, expressions::results allowed, const place& at, std::string_view told,
             bool authorizer = true, bool patches = false) const {
    check_compiled(
        out,
        composed_
            ? all_.compile(text, allowed, authorizer, patches)
            : expressions::compile_expression(
                  expressions::admission_environment({.params = params_, .authorizer = authorizer, .patches = patches}),
                  text, allowed),
        told, at);
  }
  bool params() const noexcept { return params_; }

 private:
  bool params_, composed_;
  expressions::composition all_;
};

void check_variables(causes& out, const json::value& list, judged_expressions& all, const place& at) {
  for (std::size_t i = 0; i < list.size(); ++i) {
    const place here(at, i);
    auto name = list[i]["name"].as_string();
    if (is_blank(name))
      out.push_back(required(place(here, "name"), "name is not specified"));
    else if (!is_identifier(name))
      out.push_back(invalid_value(place(here, "name"), name, "must be a valid CEL identifier"));
    const place of_expression(here, "expression");
    if (auto text = list[i]["expression"].as_string(); is_blank(text))
      out.push_back(required(of_expression, "expression is not specified"));
    else
      all.variable(out, std::string(name), text, of_expression);
  }
}

// What both kinds have before their own part.
void check_head(causes& out, const json::value& spec, judged_expressions& all, const place& at, bool mutating,
                bool same_conditions) {
  if (spec["failurePolicy"].is_null())
    out.push_back(required(place(at, "failurePolicy")));
  else
    one_of(out, spec, at, "failurePolicy", {"Fail", "Ignore"});
  check_param_kind(out, spec["paramKind"], place(at, "paramKind"));
  check_match_constraints(out, spec, at);
  if (mutating) check_mutating_operations(out, spec["matchConstraints"], place(at, "matchConstraints"));
  if (!same_conditions)
    check_match_conditions(out, spec["matchConditions"], place(at, "matchConditions"), all.params());
  check_variables(out, spec["variables"], all, place(at, "variables"));
}

void check_validation(causes& out, const json::value& v, const judged_expressions& all, const place& at) {
  auto text = v["expression"].as_string(), told = v["messageExpression"].as_string(),
       message = v["message"].as_string();
  const place of_expression(at, "expression"), of_told(at, "messageExpression");
  if (is_blank(text))
    out.push_back(required(of_expression, "expression is not specified"));
  else
    all.check(out, text, expressions::boolean_result(), of_expression, text);
  if (!told.empty() && is_blank(told))
    out.push_back(invalid_value(of_told, told, "must be non-empty if specified"));
  else if (!told.empty())
    all.check(out, told, expressions::text_result(), of_told, told, false);
  if (!message.empty() && is_blank(message))
    out.push_back(invalid_value(place(at, "message"), message, "must be non-empty if specified"));
  else if (trim(message).find_first_of("\r\n") != message.npos)
    out.push_back(invalid_value(place(at, "message"), message, "must not contain line breaks"));
  one_of(out, v, at, "reason", {"Forbidden", "Invalid", "RequestEntityTooLarge"});
}

void check_audit_annotations(causes& out, const json::value& list, std::string_view policy,
                             const judged_expressions& all, const place& at) {
  std::set<std::string_view> seen;
  if (list.size() > audit_annotations_max)
    out.push_back(
        invalid_value(at, list, fmt::format("must not have more than {} auditAnnotations", audit_annotations_max)));
  for (std::size_t i = 0; i < list.size(); ++i) {
    const place here(at, i), of_key(here, "key"), of_value(here, "valueExpression");
    auto key = list[i]["key"].as_string(), value = list[i]["valueExpression"].as_string();
    if (policy.empty()) {
      out.push_back(invalid_value(of_key, key, "requires metadata.name be non-empty"));
    } else {
      auto whole = fmt::format("{}/{}", policy, key);
      add_problems(out, of_key, whole, check_qualified_name(whole));
    }
    if (is_blank(value))
      out.push_back(required(of_value, "valueExpression is not specified"));
    else if (trim(value).size() > audit_expression_max)
      out.push_back(required(of_value, fmt::format("must not exceed {} bytes in length", audit_expression_max)));
    else
      all.check(out, trim(value), expressions::text_or_null_result(), of_value, value);
    if (!seen.insert(key).second) out.push_back(duplicate_value(of_key, key));
  }
}

void check_validating(causes& out, const json::value& o, bool same_conditions) {
  auto& spec = o["spec"];
  const place at("spec");
  judged_expressions all(spec, !spec["variables"].empty());
  check_head(out, spec, all, at, false, same_conditions);
  auto &validations = spec["validations"], &notes = spec["auditAnnotations"];
  if (validations.empty() && notes.empty()) {
    for (auto list : {"validations", "auditAnnotations"})
      out.push_back(required(place(at, list), "validations or auditAnnotations must contain at least one item"));
    return;
  }
  for (std::size_t i = 0; i < validations.size(); ++i)
    check_validation(out, validations[i], all, place(at, "validations", i));
  check_audit_annotations(out, notes, o["metadata"]["name"].as_string(), all, place(at, "auditAnnotations"));
}

void check_mutation(causes& out, const json::value& m, const judged_expressions& all, const place& at) {
  auto type = m["patchType"].as_string();
  if (type.empty()) return out.push_back(required(place(at, "patchType")));
  if (type != "JSONPatch" && type != "ApplyConfiguration")
    return out.push_back(not_supported(place(at, "patchType"), type, {"ApplyConfiguration", "JSONPatch"}));
  const bool patch = type == "JSONPatch";
  const std::string_view own = patch ? "jsonPatch" : "applyConfiguration",
                         other = patch ? "applyConfiguration" : "jsonPatch";
  const place of_own(at, own);
  if (!m[own].is_object())
    out.push_back(required(of_own, fmt::format("must be specified when patchType is {}", type)));
  else if (auto text = trim(m[own]["expression"].as_string()); text.empty())
    out.push_back(required(place(of_own, "expression")));
  else
    all.check(out, text, patch ? expressions::patch_result() : expressions::object_result(),
              place(of_own, "expression"), text, true, true);
  if (m[other].is_object())
    out.push_back(invalid_value(place(at, other), fmt::format("{{{}}}", other),
                                fmt::format("must not be specified when patchType is {}", type)));
}

void check_mutating(causes& out, const json::value& o, bool same_conditions) {
  auto& spec = o["spec"];
  const place at("spec");
  judged_expressions all(spec, true);
  check_head(out, spec, all, at, true, same_conditions);
  need(out, spec, at, "mutations", "mutations must contain at least one item");
  for (std::size_t i = 0; i < spec["mutations"].size(); ++i)
    check_mutation(out, spec["mutations"][i], all, place(at, "mutations", i));
  one_of_needed(out, spec, at, "reinvocationPolicy", {"IfNeeded", "Never"});
}

bool has_same_conditions(const json::value& now, const json::value& before) {
  return now["paramKind"] == before["paramKind"] && now["matchConditions"] == before["matchConditions"];
}

void validating(causes& out, const json::value& o) { check_validating(out, o, false); }
void validating_update(causes& out, const json::value& o, const json::value& old) {
  check_validating(out, o, has_same_conditions(o["spec"], old["spec"]));
}
void mutating(causes& out, const json::value& o) { check_mutating(out, o, false); }
void mutating_update(causes& out, const json::value& o, const json::value& old) {
  check_mutating(out, o, has_same_conditions(o["spec"], old["spec"]));
}

void validating_status(causes& out, const json::value& o, const json::value&, std::string_view) {
  auto& status = o["status"];
  const place at("status"), of_checking(at, "typeChecking");
  auto& list = status["typeChecking"]["expressionWarnings"];
  for (std::size_t i = 0; i < list.size(); ++i) {
    const place here(of_checking, "expressionWarnings", i);
    need(out, list[i], here, "warning");
    if (is_blank(list[i]["fieldRef"].as_string())) out.push_back(required(place(here, "fieldRef")));
  }
  check_standard_conditions(out, status["conditions"], place(at, "conditions"));
}

}  // namespace

const kind_rules kinds::validating_policies{.group = admission_group,
                                            .resource = "validatingadmissionpolicies",
                                            .generation = true,
                                            .unconditional_update = false,
                                            .metadata_stands = true,
                                            .validate = validating,
                                            .validate_update = validating_update,
                                            .validate_part = validating_status};
const kind_rules kinds::mutating_policies{.group = admission_group,
                                          .resource = "mutatingadmissionpolicies",
                                          .generation = true,
                                          .unconditional_update = false,
                                          .validate = mutating,
                                          .validate_update = mutating_update};

}  // namespace kedge::api
