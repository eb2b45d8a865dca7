// priority_level_configuration.cc: PriorityLevelConfiguration.
#include <fmt/format.h>

#include <cmath>

#include "api/kinds/flowcontrol/mandatory.h"
#include "api/registry/kind_rules.h"
#include "meta/internal_form.h"

namespace kedge::api {
namespace {

constexpr std::int64_t queues_max = 10'000'000;
constexpr int hash_bits_max = 60;  // of a flow's hash, from which its hand is dealt
constexpr std::string_view zero_shares_note = "flowcontrol.k8s.io/v1beta3-preserve-zero-concurrency-shares";

void check_percent(causes& out, const json::value& n, const place& at) {
  if (n.is_integer() && (n.as_integer() < 0 || n.as_integer() > 100))
    out.push_back(invalid_value(at, n, "must be between 0 and 100, inclusive"));
}

void check_shares(causes& out, const json::value& n, const place& at) {
  if (n.as_integer() < 0) out.push_back(invalid_value(at, n, "must be a non-negative integer"));
}

void check_queuing(causes& out, const json::value& q, const place& at) {
  auto queues = q["queues"].as_integer(), hand = q["handSize"].as_integer(),
       length = q["queueLengthLimit"].as_integer();
  const place of_queues(at, "queues"), of_hand(at, "handSize");
  if (length <= 0) out.push_back(invalid_value(place(at, "queueLengthLimit"), length, "must be positive"));
  if (queues <= 0)
    out.push_back(invalid_value(of_queues, queues, "must be positive"));
  else if (queues > queues_max)
    out.push_back(invalid_value(of_queues, queues, fmt::format("must not be greater than {}", queues_max)));
  if (hand <= 0)
    out.push_back(invalid_value(of_hand, hand, "must be positive"));
  else if (hand > queues)
    out.push_back(invalid_value(of_hand, hand, fmt::format("should not be greater than queues ({})", queues)));
  else if (std::ceil(std::log2(static_cast<double>(queues)) * static_cast<double>(hand)) > hash_bits_max)
    out.push_back(
        invalid_value(of_hand, hand,
                      fmt::format("required entropy bits of deckSize {} and handSize {} should not be greater than {}",
                                  queues, hand, hash_bits_max)));
}

void check_limited(causes& out, const json::value& limited, const place& at) {
  const place of_response(at, "limitResponse");
  auto& response = limited["limitResponse"];
  auto type = response["type"].as_string();
  check_shares(out, limited["nominalConcurrencyShares"], place(at, "nominalConcurrencyShares"));
  if (type == "Queue") {
    if (response["queuing"].is_object()) check_queuing(out, response["queuing"], place(of_response, "queuing"));
  } else if (type != "Reject" && !type.empty()) {
    out.push_back(not_supported(place(of_response, "type"), type, {"Queue", "Reject"}));
  }
  check_percent(out, limited["lendablePercent"], place(at, "lendablePercent"));
  if (auto& n = limited["borrowingLimitPercent"]; n.as_integer() < 0)
    out.push_back(invalid_value(place(at, "borrowingLimitPercent"), n, "if specified, must be a non-negative integer"));
}

void check_spec(causes& out, const json::value& spec, std::string_view name, const place& at) {
  auto type = spec["type"].as_string();
  const place of_exempt(at, "exempt");
  if ((name == "exempt") != (type == "Exempt"))
    out.push_back(invalid_value(place(at, "type"), type, "must be 'Exempt' if and only if `name` is 'exempt'"));
  if (type == "Limited") {
    if (spec["limited"].is_object()) check_limited(out, spec["limited"], place(at, "limited"));
  } else if (type == "Exempt") {
    check_shares(out, spec["exempt"]["nominalConcurrencyShares"], place(of_exempt, "nominalConcurrencyShares"));
    check_percent(out, spec["exempt"]["lendablePercent"], place(of_exempt, "lendablePercent"));
  } else if (!type.empty()) {
    out.push_back(not_supported(place(at, "type"), type, {"Exempt", "Limited"}));
  }
}

// What may be changed of the mandatory levels: how much exempt lends, nothing else.
void check_mandatory(causes& out, const json::value& spec, std::string_view name, const place& at) {
  auto fixed = mandatory_spec("prioritylevelconfigurations", name);
  if (!fixed.is_object()) return;
  const bool exempt = name == "exempt";
  auto compared = spec;
  if (exempt) compared.set("exempt", fixed["exempt"]);
  if (compared == fixed) return;
  out.push_back(invalid_value(
      at, internal_form("flowcontrol/v1.PriorityLevelConfigurationSpec", spec),
      fmt::format("spec of '{}'{} must equal the fixed value", name, exempt ? " except the 'spec.exempt' field" : "")));
}

// A union's member that isn't the type's is forbidden, and the type's own needed: declared with the types, so it comes
// last.
void check_declared(causes& out, const json::value& spec, const place& at) {
  auto type = spec["type"].as_string();
  if (type == "Limited" && !spec["limited"].is_object()) out.push_back(required(place(at, "limited")));
  if (type != "Limited" && spec["limited"].is_object()) out.push_back(forbidden_value(place(at, "limited"), ""));
  if (type != "Exempt" && spec["exempt"].is_object()) out.push_back(forbidden_value(place(at, "exempt"), ""));
  if (type.empty()) out.push_back(required(place(at, "type")));
  if (!spec["limited"].is_object()) return;
  const place of_limited(at, "limited"), here(of_limited, "limitResponse");
  auto& response = spec["limited"]["limitResponse"];
  auto answer = response["type"].as_string();
  if (answer == "Queue" && !response["queuing"].is_object()) out.push_back(required(place(here, "queuing")));
  if (answer != "Queue" && response["queuing"].is_object()) out.push_back(forbidden_value(place(here, "queuing"), ""));
  if (answer.empty()) out.push_back(required(place(here, "type")));
}

void validate(causes& out, const json::value& o) {
  auto& spec = o["spec"];
  auto name = o["metadata"]["name"].as_string();
  const place at("spec");
  if (o["metadata"]["annotations"].find(zero_shares_note))
    out.push_back(
        forbidden_value("metadata.annotations", fmt::format("annotation '{}' is forbidden", zero_shares_note)));
  check_spec(out, spec, name, at);
  check_mandatory(out, spec, name, at);
  check_condition_types(out, o["status"]["conditions"], "status.conditions");
  check_declared(out, spec, at);
}

void validate_part(causes& out, const json::value& o, const json::value&, std::string_view) {
  check_condition_types(out, o["status"]["conditions"], "status.conditions");
}

}  // namespace

const kind_rules kinds::priority_level_configurations{.group = "flowcontrol.apiserver.k8s.io",
                                                      .resource = "prioritylevelconfigurations",
                                                      .generation = true,
                                                      .metadata_stands = true,
                                                      .validate = validate,
                                                      .validate_part = validate_part};

}  // namespace kedge::api
