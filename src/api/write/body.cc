#include "api/write/body.h"

#include <fmt/format.h>

#include <algorithm>

#include "api/custom/codec.h"
#include "api/registry/registry.h"
#include "base/strings.h"
#include "json/value.h"
#include "schema/decode.h"
#include "schema/defaults.h"
#include "schema/protobuf.h"

namespace kedge::api {
namespace {

// The beginning of what was sent, as kube-apiserver adds it to what it can't make anything of.
std::string summary(std::string_view text) {
  constexpr std::size_t most = 30;
  if (text.empty()) return "<empty>";
  auto begin = text.substr(0, most);
  auto out = begin[0] == '{' ? std::string(begin) : hex(as_bytes(begin));
  return text.size() > most ? out + " ..." : out;
}

status unrecognized(const expected_body& what, std::string_view why, std::string_view text) {
  return bad_request(
      fmt::format("the object provided is unrecognized (must be of type {}): {} ({})", what.kind, why, summary(text)));
}

api_result<json::value> parse_protobuf(std::string_view text, const expected_body& what) {
  auto v = schema::decode_object(text, what.type);
  if (!v) {
    if (v.error().code == errc::unsupported) return fail(bad_request(v.error().message));
    return fail(unrecognized(what, v.error().message, text));
  }
  return *std::move(v);
}

// Where kube-apiserver's types are registered, as its messages name it.
constexpr std::string_view scheme = "pkg/runtime/scheme.go:111";

// The Go package of a group's internal types: apps, rbac.
std::string_view package_of(std::string_view group) {
  return group.empty() || group == "events.k8s.io" ? "core" : group.substr(0, group.find('.'));
}

// Of what says that it is something else than belongs here.
status another_object(std::string_view kind, std::string_view version, const expected_body& what) {
  const auto said = schema::split_api_version(version);
  auto here = fmt::format("{} in version {} cannot be handled as a {}: ", kind, quote(said.version), what.kind);
  if (!builtin_registry().find_kind(version, kind))
    return bad_request(fmt::format("{}no kind {} is registered for version {} in scheme {}", here, quote(kind),
                                   quote(version), quote(scheme)));
  if (kind == what.kind)
    return bad_request(fmt::format("the API version in the data ({}) does not match the expected API version ({})",
                                   version, what.api_version));
  return bad_request(fmt::format("{}converting ({}.{}) to ({}.{}): unknown conversion", here, said.version, kind,
                                 package_of(schema::split_api_version(what.api_version).group), what.kind));
}

// Why kind and version can't be read of it; nullopt when they can.
std::optional<std::string> no_type_meta(const json::value& v) {
  constexpr std::string_view reading = "couldn't get version/kind; json parse error: ";
  if (!v.is_object())
    return fmt::format(
        R"({}json: cannot unmarshal {} into Go value of type struct {{ APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }})",
        reading, json::kind_name(v));
  for (auto name : {"apiVersion", "kind"})
    if (auto& m = v[name]; !m.is_null() && !m.is_string())
      return fmt::format("{}json: cannot unmarshal {} into Go struct field .{} of type string", reading,
                         json::kind_name(m), name);
  if (auto version = v["apiVersion"].as_string(); std::ranges::count(version, '/') > 1)
    return fmt::format("unexpected GroupVersion string: {}", version);
  return std::nullopt;
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
  if (!v) {
    auto why = v.error().message;
    if (format != wire::yaml) why.insert(0, "couldn't get version/kind; json parse error: ");
    return fail(unrecognized(what, why, text));
  }
  // As Go has it, null leaves all that it is decoded into as it is.
  if (v->is_null() && !what.custom) return json::object();
  if (auto why = no_type_meta(*v)) return fail(unrecognized(what, *why, text));
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
  if (version.empty()) version = what.api_version;
  if (kind.empty()) kind = what.kind;
  if (kind != what.kind || version != what.api_version) return fail(another_object(kind, version, what));
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
