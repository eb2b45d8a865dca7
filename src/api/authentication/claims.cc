#include "api/authentication/claims.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <optional>

#include "api/authentication/limits.h"
#include "api/expressions/identity.h"
#include "api/expressions/limits.h"
#include "base/strings.h"
#include "cel/program.h"

namespace kedge::api {

namespace {

auto refuse(std::string why) { return fail(errc::unauthenticated, "oidc: " + std::move(why)); }

std::optional<wall_time> time_of(const json::value& claim) {
  if (!claim.is_number()) return std::nullopt;
  const auto seconds = claim.as_number();
  if (!(seconds > -1e11 && seconds < 1e11)) return std::nullopt;  // the years that a clock can show
  return wall_time(std::chrono::seconds(static_cast<std::int64_t>(seconds)));
}

result<std::string> text_claim(const json::value& claims, const std::string& name) {
  auto v = claims.find(name);
  if (!v) return fail(errc::unauthenticated, "claim not present");
  if (!v->is_string())
    return fail(errc::unauthenticated,
                fmt::format("json: cannot unmarshal {} into Go value of type string", kind_name(*v)));
  return std::string(v->as_string());
}

// A document that expressions are asked about, under the name of a variable. It must outlive this.
class asked_document {
 public:
  asked_document(std::string_view variable, const json::value& document)
      : variable_(variable), value_(expressions::loose_value(document, memory_)) {}

  result<cel::value> ask(const cel::program& p) {
    cel::bindings with(p);
    with.set(variable_, value_);
    auto ran = cel::run(p, with, memory_, expressions::call_budget);
    if (ran.result) return *ran.result;
    return fail(errc::unauthenticated,
                fmt::format("expression '{}' resulted in error: {}", p.text(), ran.result.error().message));
  }

  // A text, or a list of texts of which the empty ones don't count. Nothing at all, too.
  result<std::vector<std::string>> ask_texts(const cel::program& p) {
    KEDGE_TRY(auto said, ask(p));
    std::vector<std::string> out;
    auto add = [&](const cel::value& one) {
      if (!one.is(cel::kind::string)) return false;
      if (!one.as_text().empty() && out.size() < user_groups_max) out.emplace_back(one.as_text());
      return true;
    };
    bool good = said.is(cel::kind::null) || add(said);
    if (said.is(cel::kind::list)) {
      good = true;
      for (std::size_t i = 0; good && i < *said.size(); ++i) good = add(said.at(i, memory_));
    }
    if (!good) return fail(errc::unauthenticated, "expression must return a string or a list of strings");
    return out;
  }

  result<void> hold(const std::vector<claim_rule>& rules) {
    for (auto& rule : rules) {
      KEDGE_TRY(auto said, ask(*rule.holds));
      if (!said.is(cel::kind::boolean))
        return fail(errc::unauthenticated, "validation expression must return a boolean");
      if (!said.is_true())
        return fail(errc::unauthenticated,
                    fmt::format("validation expression '{}' failed: {}", rule.holds->text(), rule.message));
    }
    return {};
  }

 private:
  std::string_view variable_;
  cel::arena memory_;
  cel::value value_;
};

result<std::string> mapped_name(const json::value& claims, const claim_mapping& by, asked_document& asked) {
  if (by.expression) {
    auto said = asked.ask(*by.expression);
    if (!said) return refuse("error evaluating username claim expression: " + said.error().message);
    if (!said->is(cel::kind::string))
      return refuse("error evaluating username claim expression: username claim expression must return a string");
    if (said->as_text().empty()) return refuse("empty username via CEL expression is not allowed");
    return std::string(said->as_text());
  }
  auto name = text_claim(claims, by.claim);
  if (!name) return refuse(fmt::format("parse username claims {}: {}", quote(by.claim), name.error().message));
  if (by.claim == "email")
    if (auto verified = claims.find("email_verified")) {
      if (!verified->is_bool())
        return refuse(fmt::format("parse 'email_verified' claim: json: cannot unmarshal {} into Go value of type bool",
                                  kind_name(*verified)));
      if (!verified->as_bool()) return refuse("email not verified");
    }
  return by.prefix + *name;
}

result<std::vector<std::string>> mapped_groups(const json::value& claims, const claim_mapping& by,
                                               asked_document& asked) {
  if (by.expression) {
    auto said = asked.ask_texts(*by.expression);
    if (!said) return refuse("error evaluating group claim expression: " + said.error().message);
    return said;
  }
  std::vector<std::string> out;
  auto groups = by.claim.empty() ? nullptr : claims.find(by.claim);
  if (!groups) return out;
  auto add = [&](const json::value& one) {
    if (one.is_string() && out.size() < user_groups_max) out.push_back(by.prefix + std::string(one.as_string()));
    return one.is_string();
  };
  bool good = groups->is_null() || add(*groups);
  if (auto list = groups->array()) good = std::ranges::all_of(*list, add);
  if (!good)
    return refuse(fmt::format("parse groups claim {}: json: cannot unmarshal {} into Go value of type string",
                              quote(by.claim), kind_name(*groups)));
  return out;
}

result<std::string> mapped_uid(const json::value& claims, const claim_mapping& by, asked_document& asked) {
  if (by.expression) {
    auto said = asked.ask(*by.expression);
    if (!said) return refuse("error evaluating uid claim expression: " + said.error().message);
    if (!said->is(cel::kind::string))
      return refuse("error evaluating uid claim expression: uid claim expression must return a string");
    return std::string(said->as_text());
  }
  if (by.claim.empty()) return std::string();
  auto uid = text_claim(claims, by.claim);
  if (!uid) return refuse(fmt::format("parse uid claim {}: {}", quote(by.claim), uid.error().message));
  return uid;
}

json::value texts(const std::vector<std::string>& list) {
  json::array out;
  for (auto& text : list) out.emplace_back(text);
  return out;
}

// As expressions see it: every field is there.
json::value document_of(const user_info& user) {
  json::value extra{json::object{}};
  for (auto& [key, values] : user.extra) extra.set(key, texts(values));
  return json::object{
      {"username", user.name}, {"uid", user.uid}, {"groups", texts(user.groups)}, {"extra", std::move(extra)}};
}

}  // namespace

std::string quoted_list(const std::vector<std::string>& list) {
  std::vector<std::string> out;
  for (auto& text : list) out.push_back(quote(text));
  return "[" + join(out, " ") + "]";
}

result<void> check_claims(const json::value& claims, const jwt_issuer_settings& by, wall_time now) {
  auto& aud = claims["aud"];
  std::vector<std::string> audiences;
  if (aud.is_string()) audiences.emplace_back(aud.as_string());
  for (std::size_t i = 0; aud.is_array() && i < aud.size(); ++i) audiences.emplace_back(aud[i].as_string());
  if (std::ranges::none_of(audiences,
                           [&](auto& a) { return std::ranges::find(by.audiences, a) != by.audiences.end(); }))
    return refuse(by.audiences.size() == 1 ? fmt::format("verify token: oidc: expected audience {} got {}",
                                                         quote(by.audiences.front()), quoted_list(audiences))
                                           : fmt::format("verify token: oidc: expected audience in {} got {}",
                                                         quoted_list(by.audiences), quoted_list(audiences)));
  const auto ends = time_of(claims["exp"]).value_or(wall_time{});
  if (ends < now) return refuse("verify token: oidc: token is expired (Token Expiry: " + format_rfc3339(ends) + ")");
  if (auto begins = time_of(claims["nbf"]); begins && now + oidc_not_before_leeway < *begins)
    return refuse(fmt::format("verify token: oidc: current time {} before the nbf (not before) time: {}",
                              format_rfc3339(now), format_rfc3339(*begins)));
  return {};
}

result<user_info> user_of_claims(const json::value& claims, const jwt_issuer_settings& by) {
  asked_document asked("claims", claims);
  user_info user;
  KEDGE_TRY(user.name, mapped_name(claims, by.username, asked));
  KEDGE_TRY(user.groups, mapped_groups(claims, by.groups, asked));
  KEDGE_TRY(user.uid, mapped_uid(claims, by.uid, asked));
  if (auto id = claims["jti"].as_string(); !id.empty())
    user.extra["authentication.kubernetes.io/credential-id"] = {"JTI=" + std::string(id)};
  for (auto& mapping : by.extra) {
    auto values = asked.ask_texts(*mapping.values);
    if (!values)
      return refuse(fmt::format("error evaluating extra claim expression: {}: {}", mapping.values->text(),
                                values.error().message));
    if (!values->empty()) user.extra[mapping.key] = *std::move(values);
  }
  for (auto& [claim, value] : by.required_claims) {
    if (!claims.find(claim)) return refuse(fmt::format("required claim {} not present in ID token", claim));
    auto given = text_claim(claims, claim);
    if (!given) return refuse(fmt::format("parse claim {}: {}", claim, given.error().message));
    if (*given != value)
      return refuse(fmt::format("required claim {} value does not match. Got = {}, want = {}", claim, *given, value));
  }
  if (auto held = asked.hold(by.claim_rules); !held)
    return refuse("error evaluating claim validation expression: " + held.error().message);
  if (by.user_rules.empty()) return user;
  const auto made = document_of(user);
  if (auto held = asked_document("user", made).hold(by.user_rules); !held)
    return refuse("error evaluating user info validation rule: " + held.error().message);
  return user;
}

}  // namespace kedge::api
