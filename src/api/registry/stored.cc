#include "api/registry/stored.h"

#include <fmt/format.h>

#include "json/parse.h"
#include "json/write.h"
#include "schema/decode.h"

namespace kedge::api {
namespace {

// kube-apiserver's extensions store JSON.
bool is_stored_as_protobuf(const served& s) {
  return s.group != "apiextensions.k8s.io" && s.group != "apiregistration.k8s.io";
}

}  // namespace

std::string stored_text(const served& s, json::value& o) {
  auto& m = o.member("metadata");
  m.erase("resourceVersion");
  m.erase("selfLink");
  o.set("kind", s.stored->kind);
  o.set("apiVersion", s.stored->api_version);
  if (s.custom)
    normalise(*s.stored, o);
  else
    schema::normalise(s.stored->type(), o, is_stored_as_protobuf(s));
  // The store expects kind, apiVersion, metadata in front; the table's types declare them so.
  std::string out;
  out.reserve(2048);
  json::write(o, out);
  return out;
}

bool same_as_stored(const store::object& object, std::string_view text) noexcept {
  constexpr std::string_view opening = "\"metadata\":{";
  constexpr std::string_view member = "\"resourceVersion\":\"";
  auto bytes = object.bytes();
  auto at = bytes.find(opening);
  if (at == std::string_view::npos) return false;
  at += opening.size();
  if (text.substr(0, at) != bytes.substr(0, at)) return false;
  auto rest = bytes.substr(at);
  if (!rest.starts_with(member)) return false;
  auto end = rest.find('"', member.size());
  if (end == std::string_view::npos) return false;
  rest.remove_prefix(end + 1);
  if (rest.starts_with(',')) rest.remove_prefix(1);
  return text.substr(at) == rest;
}

api_result<json::value> value_of(const store::object& object) {
  auto v = json::parse(object.bytes());
  if (!v)
    return fail(internal_error(fmt::format("the stored object {} can't be read: {}", object.key(), v.error().message)));
  return *std::move(v);
}

}  // namespace kedge::api
