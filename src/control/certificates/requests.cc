#include "control/certificates/requests.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "base/strings.h"

namespace kedge::control {

namespace {

constexpr std::string_view client_auth = "client auth", server_auth = "server auth";
constexpr std::string_view digital_signature = "digital signature", key_encipherment = "key encipherment";

std::set<std::string_view> usages_of(const json::value& request) {
  std::set<std::string_view> out;
  auto& list = request["spec"]["usages"];
  for (std::size_t i = 0; i < list.size(); ++i) out.insert(list[i].as_string());
  return out;
}

// A key that can't encipher (ECDSA) is asked for without that.
std::string wrong_kubelet_usages(const json::value& request, std::string_view purpose) {
  auto usages = usages_of(request);
  usages.erase(key_encipherment);
  if (usages == std::set<std::string_view>{digital_signature, purpose}) return {};
  return purpose == client_auth ? "usages did not match [client auth digital signature key encipherment]"
                                : "usages did not match [digital signature key encipherment server auth]";
}

bool is_of_nodes(const crypto::certificate_request& r) {
  return r.subject.groups == std::vector<std::string>{"system:nodes"};
}
bool names_a_node(const crypto::certificate_request& r) { return r.subject.user.starts_with("system:node:"); }

std::string refusal_of_kubelet_client(const json::value& request, const crypto::certificate_request& r) {
  if (!is_of_nodes(r)) return "subject organization is not system:nodes";
  if (!r.dns_names.empty()) return "DNS subjectAltNames are not allowed";
  if (!r.emails.empty()) return "Email subjectAltNames are not allowed";
  if (!r.addresses.empty()) return "IP subjectAltNames are not allowed";
  if (!r.uris.empty()) return "URI subjectAltNames are not allowed";
  if (!names_a_node(r)) return "subject common name does not begin with system:node:";
  return wrong_kubelet_usages(request, client_auth);
}

std::string refusal_of_kubelet_serving(const json::value& request, const crypto::certificate_request& r) {
  if (!is_of_nodes(r)) return "subject organization is not system:nodes";
  if (r.dns_names.empty() && r.addresses.empty()) return "DNS or IP subjectAltName is required";
  if (!r.emails.empty()) return "Email subjectAltNames are not allowed";
  if (!r.uris.empty()) return "URI subjectAltNames are not allowed";
  if (auto wrong = wrong_kubelet_usages(request, server_auth); !wrong.empty()) return wrong;
  return names_a_node(r) ? "" : "subject common name does not begin with system:node:";
}

std::string refusal_of_api_client(const json::value& request) {
  bool client = false;
  auto& list = request["spec"]["usages"];
  for (std::size_t i = 0; i < list.size(); ++i) {
    auto usage = list[i].as_string();
    if (usage == client_auth)
      client = true;
    else if (usage != digital_signature && usage != key_encipherment)
      return fmt::format("invalid usage for client certificate: {}", usage);
  }
  return client ? "" : "missing required usage for client certificate: client auth";
}

}  // namespace

bool has_condition(const json::value& request, std::string_view type) {
  auto& list = request["status"]["conditions"];
  for (std::size_t i = 0; i < list.size(); ++i)
    if (list[i]["type"].as_string() == type) return true;
  return false;
}

bool has_certificate(const json::value& request) { return !request["status"]["certificate"].as_string().empty(); }

std::optional<crypto::certificate_request> request_in(const json::value& request) {
  auto pem = unbase64(request["spec"]["request"].as_string());
  if (!pem) return std::nullopt;
  auto parsed = crypto::parse_request(*pem);
  return parsed ? std::optional(*std::move(parsed)) : std::nullopt;
}

std::string refusal(std::string_view signer, const json::value& request, const crypto::certificate_request& asked) {
  if (signer == signers::kubelet_client) return refusal_of_kubelet_client(request, asked);
  if (signer == signers::kubelet_serving) return refusal_of_kubelet_serving(request, asked);
  return refusal_of_api_client(request);
}

}  // namespace kedge::control
