// secret.cc: Secret; stringData has been merged into data.
#include <fmt/format.h>

#include "api/kinds/core/data_size.h"
#include "api/kinds/limits.h"
#include "api/registry/kind_rules.h"
#include "base/strings.h"
#include "crypto/certificate.h"
#include "crypto/key.h"
#include "crypto/pem.h"
#include "json/parse.h"

namespace kedge::api {
namespace {

constexpr std::string_view account_annotation = "kubernetes.io/service-account.name";

// stringData is written to and never read.
void fold_string_data(json::value& o) {
  if (auto given = o["stringData"].object())
    for (auto m : *given) o.member("data").set(m.name, base64(as_bytes(m.value.as_string())));
  o.erase("stringData");
}

void prepare_update(json::value& o, const json::value& old, const kind_context&) {
  if (o["type"].as_string().empty()) o.set("type", old["type"]);
}

std::string text_of(const json::value& o, const char* key) {
  return unbase64(o["data"][key].as_string()).value_or(std::string());
}

// A JSON object under `key`.
void need_object(causes& out, const json::value& o, const char* key) {
  const place data("data"), here = place::of_key(data, key);
  if (!o["data"].find(key)) return out.push_back(required(here));
  auto v = json::parse(text_of(o, key));
  constexpr std::string_view hidden = "<secret contents redacted>";
  if (!v)
    out.push_back(invalid_value(here, hidden, v.error().message));
  else if (!v->is_object() && !v->is_null())
    out.push_back(invalid_value(
        here, hidden,
        fmt::format("json: cannot unmarshal {} into Go value of type map[string]interface {{}}", json::kind_name(*v))));
}

void check_type(causes& out, const json::value& o) {
  auto type = o["type"].as_string();
  const place data("data"), annotations("metadata.annotations");
  auto has = [&](const char* key) { return o["data"].find(key) != nullptr; };
  auto need_key = [&](const char* key) { out.push_back(required(place::of_key(data, key))); };
  if (type == "kubernetes.io/service-account-token") {
    if (o["metadata"]["annotations"][account_annotation].as_string().empty())
      out.push_back(required(place::of_key(annotations, account_annotation)));
  } else if (type == "kubernetes.io/dockercfg") {
    need_object(out, o, ".dockercfg");
  } else if (type == "kubernetes.io/dockerconfigjson") {
    need_object(out, o, ".dockerconfigjson");
  } else if (type == "kubernetes.io/basic-auth") {
    if (has("username") || has("password")) return;
    need_key("username");
    need_key("password");
  } else if (type == "kubernetes.io/ssh-auth") {
    if (o["data"]["ssh-privatekey"].as_string().empty()) need_key("ssh-privatekey");
  } else if (type == "kubernetes.io/tls") {
    if (!has("tls.crt")) need_key("tls.crt");
    if (!has("tls.key")) need_key("tls.key");
  }
}

void validate(causes& out, const json::value& o) {
  const place at("data");
  if (auto data = o["data"].object())
    for (auto& m : *data) add_problems(out, place::of_key(at, m.name), m.name, check_config_map_key(m.name));
  if (decoded_bytes(o["data"]) > data_max_bytes) out.push_back(too_long(at, data_max_bytes));
  check_type(out, o);
}

void validate_update(causes& out, const json::value& o, const json::value& old) {
  immutable(out, o["type"], old["type"], "type");
  if (old["immutable"].as_bool()) {
    if (!o["immutable"].as_bool())
      out.push_back(forbidden_value("immutable", "field is immutable when `immutable` is set"));
    if (!(o["data"] == old["data"]))
      out.push_back(forbidden_value("data", "field is immutable when `immutable` is set"));
  }
  validate(out, o);
}

std::vector<crypto::pem_block> blocks_of(const json::value& o, const char* key) {
  auto blocks = crypto::parse_pem(text_of(o, key));
  return blocks ? *std::move(blocks) : std::vector<crypto::pem_block>();
}

bool is_key(const crypto::pem_block& b) { return b.type == "PRIVATE KEY" || b.type.ends_with(" PRIVATE KEY"); }

// Blocks of another type are passed over; the message names them.
std::string no_block(std::string_view of, const std::vector<crypto::pem_block>& blocks, std::string_view wanted) {
  if (blocks.empty()) return fmt::format("tls: failed to find any PEM data in {} input", of);
  std::vector<std::string> types;
  for (auto& b : blocks) types.push_back(b.type);
  return fmt::format("tls: failed to find {} in {} input after skipping PEM blocks of the following types: [{}]",
                     wanted, of, join(types, " "));
}

// What Go's TLS would say of certificate and key; empty for a pair.
std::string pair_problem(const json::value& o) {
  const auto certificates = blocks_of(o, "tls.crt"), keys = blocks_of(o, "tls.key");
  const crypto::pem_block *leaf = nullptr, *key = nullptr;
  for (auto& b : certificates)
    if (b.type == "CERTIFICATE" && !leaf) leaf = &b;
  if (!leaf && certificates.size() == 1 && is_key(certificates.front()))
    return "tls: failed to find certificate PEM data in certificate input, but did find a private key; PEM inputs may "
           "have been switched";
  if (!leaf) return no_block("certificate", certificates, "\"CERTIFICATE\" PEM block");
  auto certificate = crypto::certificate::from_der(as_bytes(leaf->der));
  if (!certificate) return "x509: malformed certificate";
  for (auto& b : keys)
    if (is_key(b) && !key) key = &b;
  if (!key) {
    if (keys.size() == 1 && keys.front().type == "CERTIFICATE")
      return "tls: found a certificate rather than a key in the PEM for the private key";
    return no_block("key", keys, "PEM block with type ending in \"PRIVATE KEY\"");
  }
  auto parsed = crypto::private_key::from_pem(crypto::write_pem(key->type, as_bytes(key->der)));
  if (!parsed) return "tls: failed to parse private key";
  return parsed->public_part() == certificate->key() ? "" : "tls: private key does not match public key";
}

void warn(std::vector<std::string>& out, const json::value& o, const json::value*) {
  if (o["type"].as_string() != "kubernetes.io/tls") return;
  if (auto problem = pair_problem(o); !problem.empty()) out.push_back(problem);
}

}  // namespace

const kind_rules kinds::secrets{.group = "",
                                .resource = "secrets",
                                .convert = fold_string_data,
                                .prepare_update = prepare_update,
                                .validate = validate,
                                .validate_update = validate_update,
                                .warn = warn};

}  // namespace kedge::api
