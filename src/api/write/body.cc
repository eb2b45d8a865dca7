#include "api/write/body.h"

#include <fmt/format.h>

#include "api/custom/codec.h"
#include "base/strings.h"
#include "schema/decode.h"
#include "schema/defaults.h"
#include "schema/protobuf.h"

namespace kedge::api {
namespace {

std::string go_name(const expected_body& what) {
  auto version = schema::split_api_version(what.api_version);
  return fmt::format(
      "{}", what.type ? std::string(what.type->go_name()) : std::string(what.kind) + std::string(version.version));
}

api_result<json::value> parse_protobuf(std::string_view text, const expected_body& what) {
  auto v = schema::decode_object(text, what.type);
  if (!v) {
    if (v.error().code == errc::unsupported) return fail(bad_request(v.error().message));
    return fail(bad_request(
        fmt::format("the object provided is unrecognized (must be of type {}): {}", go_name(what), v.error().message)));
  }
  return *std::move(v);
}

std::string kind_mismatch(std::string_view kind, std::string_view version, const expected_body& what) {
  return fmt::format("{} in version {} cannot be handled as a {}", kind,
                     quote(schema::split_api_version(version).version), what.kind);
}

std::vector<std::string> findings(const schema::unknown_list& unknown, const json::duplicate_list& duplicates) {
  std::vector<std::string> out;
  for (auto& u : unknown) out.push_back(fmt::format("unknown field {}", quote(u)));
  for (auto& d : duplicates) out.push_back(fmt::format("duplicate field {}", quote(d)));
  return out;
}

}  // namespace

expected_body own_body(const served& s) { return {s.api_version, s.kind, &s.type(), s.custom ? &s : nullptr}; }

api_result<json::value> parse_body(std::string_view text, wire format, const expected_body& what,
                                   json::duplicate_list* duplicates) {
  if (format == wire::protobuf) return parse_protobuf(text, what);
  json::parse_options options;
  options.duplicates = duplicates;
  auto v = format == wire::yaml ? json::parse_yaml(text, options) : json::parse(text, options);
  if (!v)
    return fail(bad_request(fmt::format(
        "the object provided is unrecognized (must be of type {}): couldn't get version/kind; json parse error: {}",
        what.kind, v.error().message)));
  if (!v->is_object())
    return fail(bad_request(fmt::format(
        "the object provided is unrecognized (must be of type {}): couldn't get version/kind; json parse error: json: "
        "cannot unmarshal {} into Go value of type struct {{ APIVersion string; Kind string }}",
        what.kind,
        v->is_array()    ? "array"
        : v->is_string() ? "string"
        : v->is_bool()   ? "bool"
        : v->is_null()   ? "null"
                         : "number")));
  return *std::move(v);
}

api_result<json::value> decode_body(json::value v, const expected_body& what, field_validation validation,
                                    json::duplicate_list duplicates, std::vector<std::string>& warnings,
                                    bool for_patch) {
  // An empty list asks for a reset, which decoding would not tell from none; an empty entry asks for the same.
  if (auto& owners = v["metadata"]["managedFields"]; owners.is_array() && owners.empty())
    v.member("metadata").set("managedFields", json::array{json::object()});
  if (what.custom)
    return custom::decode(*what.custom, std::move(v), validation, std::move(duplicates), warnings, for_patch);
  auto version = std::string(v["apiVersion"].as_string());
  auto kind = std::string(v["kind"].as_string());
  if (!kind.empty() && kind != what.kind)
    return fail(bad_request(kind_mismatch(kind, version.empty() ? what.api_version : version, what)));
  if (!version.empty() && version != what.api_version)
    return fail(bad_request(fmt::format("the API version in the data ({}) does not match the expected API version ({})",
                                        version, what.api_version)));
  v.set("apiVersion", what.api_version);
  v.set("kind", what.kind);
  schema::unknown_list unknown;
  auto in_version = quote(schema::split_api_version(what.api_version).version);
  if (auto ok = schema::decode(*what.type, v, validation == field_validation::ignore ? nullptr : &unknown); !ok) {
    if (for_patch)
      return fail(invalid("", "", "", {invalid_value("patch", v["metadata"]["name"], ok.error().message)}));
    return fail(bad_request(fmt::format("{} in version {} cannot be handled as a {}: {}", what.kind, in_version,
                                        what.kind, ok.error().message)));
  }
  if (validation == field_validation::ignore) return v;
  auto found = findings(unknown, duplicates);
  if (found.empty()) return v;
  if (validation == field_validation::warn) {
    for (auto& f : found) warnings.push_back(std::move(f));
    return v;
  }
  auto text = "strict decoding error: " + join(found, ", ");
  if (for_patch) {
    auto s = invalid("", "", "", {});
    s.causes = {cause{"FieldValueInvalid", fmt::format("Invalid value: {}: {}", quote("patch"), text), "patch"}};
    s.message = text;
    return fail(std::move(s));
  }
  return fail(bad_request(
      fmt::format("{} in version {} cannot be handled as a {}: {}", what.kind, in_version, what.kind, text)));
}

api_result<json::value> read_object(std::string_view text, wire format, const expected_body& what,
                                    field_validation validation, std::vector<std::string>& warnings) {
  json::duplicate_list duplicates;
  KEDGE_TRY(auto raw, parse_body(text, format, what, validation == field_validation::ignore ? nullptr : &duplicates));
  KEDGE_TRY(auto v, decode_body(std::move(raw), what, validation, std::move(duplicates), warnings));
  if (what.custom)
    apply_defaults(*what.custom, v);
  else
    schema::apply_defaults(*what.type, v);
  return v;
}

}  // namespace kedge::api
