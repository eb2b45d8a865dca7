// type.h: the types that an expression's parts have when it is checked.
//
// A type is a small handle on an immutable description and is copied freely between cores. `dyn` is what is known only
// when it runs; a parameter ("T") stands in declarations for whatever fits. Objects have a name, and a provider
// (environment.h) says which fields. Opaque types (an IP, a set of T) are known only to the functions that take them.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace kedge::cel {

enum class type_kind : std::uint8_t {
  dyn,
  error,  // of a part that didn't check: fits everything, so that one mistake is told once
  null,
  boolean,
  integer,
  unsigned_integer,
  real,
  string,
  bytes,
  duration,
  timestamp,
  list,    // one parameter
  map,     // two: keys, values
  type,    // none or one: the type of which it is the name
  opaque,  // any number
  object,
  parameter,
};

class type {
 public:
  type() : type(dyn()) {}
  static const type& dyn();
  static const type& error();
  static const type& null();
  static const type& boolean();
  static const type& integer();
  static const type& unsigned_integer();
  static const type& real();
  static const type& string();
  static const type& bytes();
  static const type& duration();
  static const type& timestamp();
  static type list(type items);
  static type map(type keys, type values);
  static type type_of(type named);
  static type optional(type of);
  static type opaque(std::string name, std::vector<type> parameters = {});
  static type object(std::string name);
  static type parameter(std::string name);

  type_kind kind() const noexcept { return data_->kind; }
  // As an expression names it: "int", "google.protobuf.Duration", an object's name.
  const std::string& name() const noexcept { return data_->name; }
  std::span<const type> parameters() const noexcept { return data_->parameters; }
  bool is(type_kind k) const noexcept { return data_->kind == k; }
  bool is_dyn() const noexcept { return is(type_kind::dyn); }
  bool is_optional() const noexcept { return is(type_kind::opaque) && data_->name == "optional_type"; }
  // bool, int, uint, double, string, bytes: and nothing that has parts.
  bool is_scalar() const noexcept;

  // As messages tell it: "list(int)", "map(string, dyn)", "timestamp".
  std::string text() const;

  // The same in every part.
  friend bool operator==(const type& a, const type& b) noexcept;

 private:
  struct data {
    type_kind kind;
    std::string name;
    std::vector<type> parameters;
  };
  explicit type(std::shared_ptr<const data> d) : data_(std::move(d)) {}
  static type simple(type_kind kind, std::string_view name);
  std::shared_ptr<const data> data_;
};

}  // namespace kedge::cel
