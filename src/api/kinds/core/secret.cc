// secret.cc: Secret; stringData has been merged into data.
#include "api/kind_rules.h"
#include "api/limits.h"
#include "base/strings.h"
#include "json/parse.h"

namespace kedge::api {
namespace {

// stringData is written to and never read.
void fold_string_data(json::value& o) {
  if (auto given = o["stringData"].object())
    for (auto m : *given) o.member("data").set(m.name, base64(as_bytes(m.value.as_string())));
  o.erase("stringData");
}

void prepare_update(json::value& o, const json::value& old, const kind_context&) {
  if (o["type"].as_string().empty()) o.set("type", old["type"]);
}

void need_json(causes& out, const json::value& o, const char* key) {
  auto field = at_key("data", key);
  if (!o["data"].find(key)) {
    out.push_back(required(field));
    return;
  }
  auto text = unbase64(o["data"][key].as_string());
  if (!text || !json::parse(*text)) out.push_back(invalid_value(field, "<secret contents redacted>", "invalid character in JSON"));
}

void validate(causes& out, const json::value& o) {
  std::size_t total = 0;
  if (auto data = o["data"].object())
    for (auto& m : *data) {
      add_problems(out, at_key("data", m.name), m.name, check_config_map_key(m.name));
      total += m.value.as_string().size() / 4 * 3;
    }
  if (total > data_max_bytes) out.push_back(too_long("data", data_max_bytes));
  auto type = o["type"].as_string();
  auto has = [&](const char* key) { return o["data"].find(key) != nullptr; };
  if (type == "kubernetes.io/service-account-token") {
    if (o["metadata"]["annotations"]["kubernetes.io/service-account.name"].as_string().empty())
      out.push_back(required("metadata.annotations[kubernetes.io/service-account.name]"));
  } else if (type == "kubernetes.io/dockercfg") {
    need_json(out, o, ".dockercfg");
  } else if (type == "kubernetes.io/dockerconfigjson") {
    need_json(out, o, ".dockerconfigjson");
  } else if (type == "kubernetes.io/basic-auth") {
    if (!has("username") && !has("password")) {
      out.push_back(required("data[username]"));
      out.push_back(required("data[password]"));
    }
  } else if (type == "kubernetes.io/ssh-auth") {
    if (o["data"]["ssh-privatekey"].as_string().empty()) out.push_back(required("data[ssh-privatekey]"));
  } else if (type == "kubernetes.io/tls") {
    if (!has("tls.crt")) out.push_back(required("data[tls.crt]"));
    if (!has("tls.key")) out.push_back(required("data[tls.key]"));
  }
}

void validate_update(causes& out, const json::value& o, const json::value& old) {
  validate(out, o);
  immutable(out, o["type"], old["type"], "type");
  if (!old["immutable"].as_bool()) return;
  if (!o["immutable"].as_bool()) out.push_back(forbidden_value("immutable", "field is immutable when `immutable` is set"));
  if (!(o["data"] == old["data"])) out.push_back(forbidden_value("data", "field is immutable when `immutable` is set"));
}

}  // namespace

const kind_rules kinds::secrets{.group = "",
                                .resource = "secrets",
                                .convert = fold_string_data,
                                .prepare_update = prepare_update,
                                .validate = validate,
                                .validate_update = validate_update};

}  // namespace kedge::api
