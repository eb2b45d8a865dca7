#include "cel/type.h"

#include <utility>

namespace kedge::cel {

type type::simple(type_kind kind, std::string_view name) {
  return type(std::make_shared<const data>(data{kind, std::string(name), {}}));
}

const type& type::dyn() {
  static const type t = simple(type_kind::dyn, "dyn");
  return t;
}
const type& type::error() {
  static const type t = simple(type_kind::error, "*error*");
  return t;
}
const type& type::null() {
  static const type t = simple(type_kind::null, "null_type");
  return t;
}
const type& type::boolean() {
  static const type t = simple(type_kind::boolean, "bool");
  return t;
}
const type& type::integer() {
  static const type t = simple(type_kind::integer, "int");
  return t;
}
const type& type::unsigned_integer() {
  static const type t = simple(type_kind::unsigned_integer, "uint");
  return t;
}
const type& type::real() {
  static const type t = simple(type_kind::real, "double");
  return t;
}
const type& type::string() {
  static const type t = simple(type_kind::string, "string");
  return t;
}
const type& type::bytes() {
  static const type t = simple(type_kind::bytes, "bytes");
  return t;
}
const type& type::duration() {
  static const type t = simple(type_kind::duration, "google.protobuf.Duration");
  return t;
}
const type& type::timestamp() {
  static const type t = simple(type_kind::timestamp, "google.protobuf.Timestamp");
  return t;
}
type type::list(type items) {
  return type(std::make_shared<const data>(data{type_kind::list, "list", {std::move(items)}}));
}
type type::map(type keys, type values) {
  return type(std::make_shared<const data>(data{type_kind::map, "map", {std::move(keys), std::move(values)}}));
}
type type::type_of(type named) {
  return type(std::make_shared<const data>(data{type_kind::type, "type", {std::move(named)}}));
}
type type::optional(type of) { return opaque("optional_type", {std::move(of)}); }
type type::opaque(std::string name, std::vector<type> parameters) {
  return type(std::make_shared<const data>(data{type_kind::opaque, std::move(name), std::move(parameters)}));
}
type type::object(std::string name) {
  return type(std::make_shared<const data>(data{type_kind::object, std::move(name), {}}));
}
type type::parameter(std::string name) {
  return type(std::make_shared<const data>(data{type_kind::parameter, std::move(name), {}}));
}

bool type::is_scalar() const noexcept {
  switch (kind()) {
    case type_kind::boolean:
    case type_kind::integer:
    case type_kind::unsigned_integer:
    case type_kind::real:
    case type_kind::string:
    case type_kind::bytes: return true;
    default: return false;
  }
}

std::string type::text() const {
  switch (kind()) {
    case type_kind::duration: return "duration";
    case type_kind::timestamp: return "timestamp";
    case type_kind::null: return "null";
    case type_kind::error: return "!error!";
    default: break;
  }
  std::string out = name();
  if (parameters().empty()) return out;
  out += '(';
  for (std::size_t i = 0; i < parameters().size(); ++i) {
    if (i > 0) out += ", ";
    out += parameters()[i].text();
  }
  out += ')';
  return out;
}

bool operator==(const type& a, const type& b) noexcept {
  if (a.data_ == b.data_) return true;
  if (a.kind() != b.kind() || a.name() != b.name() || a.parameters().size() != b.parameters().size()) return false;
  for (std::size_t i = 0; i < a.parameters().size(); ++i)
    if (!(a.parameters()[i] == b.parameters()[i])) return false;
  return true;
}

}  // namespace kedge::cel
