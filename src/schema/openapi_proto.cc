// openapi_proto.cc: one table row a field of OpenAPIv2.proto; one small function a form that its messages take.
//
// Only the messages that our documents use stand here. An `Any` carries YAML text, of which JSON is a subset.
#include "schema/openapi_proto.h"

#include <bit>
#include <cstdint>
#include <span>

#include "base/protobuf_wire.h"
#include "json/write.h"

namespace kedge::schema {
namespace {

enum class form : unsigned char {
  string,
  boolean,
  integer,
  number,
  any,  // Any{yaml = 2}
  strings,
  anys,
  message,
  messages,
  named,       // a message of its own around {repeated Named{name = 1, value = 2} = entries}
  type,        // TypeItem{repeated value = 1}: a string or a list of them
  items,       // ItemsItem{repeated schema = 1}: one schema or a list of them
  additional,  // AdditionalPropertiesItem{schema = 1 | boolean = 2}
  wrapped,     // {value = 1}: the first choice of a oneof, the only one that we write
  parameters,  // ParametersItem{parameter = 1{body = 1 | non body = 2{… | query = 3 | path = 4}}}
  extensions,  // all members named x-…, as NamedAny
};

struct message_table;
struct field_row {
  std::string_view name;
  int id;
  form as;
  const message_table* of = nullptr;
};
struct message_table {
  std::span<const field_row> fields;
};

extern const message_table schema_message;

constexpr field_row schema_fields[] = {
    {"$ref", 1, form::string},
    {"format", 2, form::string},
    {"title", 3, form::string},
    {"description", 4, form::string},
    {"default", 5, form::any},
    {"multipleOf", 6, form::number},
    {"maximum", 7, form::number},
    {"exclusiveMaximum", 8, form::boolean},
    {"minimum", 9, form::number},
    {"exclusiveMinimum", 10, form::boolean},
    {"maxLength", 11, form::integer},
    {"minLength", 12, form::integer},
    {"pattern", 13, form::string},
    {"maxItems", 14, form::integer},
    {"minItems", 15, form::integer},
    {"uniqueItems", 16, form::boolean},
    {"maxProperties", 17, form::integer},
    {"minProperties", 18, form::integer},
    {"required", 19, form::strings},
    {"enum", 20, form::anys},
    {"additionalProperties", 21, form::additional},
    {"type", 22, form::type},
    {"items", 23, form::items},
    {"allOf", 24, form::messages, &schema_message},
    {"properties", 25, form::named, &schema_message},
    {"discriminator", 26, form::string},
    {"readOnly", 27, form::boolean},
    {"example", 30, form::any},
    {"", 31, form::extensions},
};
const message_table schema_message{schema_fields};

constexpr field_row info_fields[] = {
    {"title", 1, form::string}, {"version", 2, form::string}, {"description", 3, form::string}};
constexpr message_table info_message{info_fields};

constexpr field_row body_fields[] = {
    {"description", 1, form::string},
    {"name", 2, form::string},
    {"in", 3, form::string},
    {"required", 4, form::boolean},
    {"schema", 5, form::message, &schema_message},
    {"", 6, form::extensions},
};
constexpr message_table body_message{body_fields};

constexpr field_row query_fields[] = {
    {"required", 1, form::boolean},
    {"in", 2, form::string},
    {"description", 3, form::string},
    {"name", 4, form::string},
    {"allowEmptyValue", 5, form::boolean},
    {"type", 6, form::string},
    {"format", 7, form::string},
    {"uniqueItems", 20, form::boolean},
    {"", 23, form::extensions},
};
constexpr message_table query_message{query_fields};

constexpr field_row path_parameter_fields[] = {
    {"required", 1, form::boolean},     {"in", 2, form::string},    {"description", 3, form::string},
    {"name", 4, form::string},          {"type", 5, form::string},  {"format", 6, form::string},
    {"uniqueItems", 19, form::boolean}, {"", 22, form::extensions},
};
constexpr message_table path_parameter_message{path_parameter_fields};

constexpr field_row response_fields[] = {
    {"description", 1, form::string}, {"schema", 2, form::wrapped, &schema_message}, {"", 5, form::extensions}};
constexpr message_table response_message{response_fields};

constexpr field_row operation_fields[] = {
    {"tags", 1, form::strings},          {"summary", 2, form::string},
    {"description", 3, form::string},    {"operationId", 5, form::string},
    {"produces", 6, form::strings},      {"consumes", 7, form::strings},
    {"parameters", 8, form::parameters}, {"responses", 9, form::named, &response_message},
    {"schemes", 10, form::strings},      {"deprecated", 11, form::boolean},
    {"", 13, form::extensions},
};
constexpr message_table operation_message{operation_fields};

constexpr field_row path_item_fields[] = {
    {"$ref", 1, form::string},
    {"get", 2, form::message, &operation_message},
    {"put", 3, form::message, &operation_message},
    {"post", 4, form::message, &operation_message},
    {"delete", 5, form::message, &operation_message},
    {"options", 6, form::message, &operation_message},
    {"head", 7, form::message, &operation_message},
    {"patch", 8, form::message, &operation_message},
    {"parameters", 9, form::parameters},
    {"", 10, form::extensions},
};
constexpr message_table path_item_message{path_item_fields};

class encoder {
 public:
  explicit encoder(std::string& out) : out_(out) {}

  void message(int id, const message_table& table, const json::value& v) {
    around(id, [&] {
      for (auto& f : table.fields) field(f, f.name.empty() ? v : v[f.name]);
    });
  }

  // Named…{name = 1, value = 2}
  void named(int id, std::string_view name, const message_table& table, const json::value& v) {
    around(id, [&] {
      wire::put_bytes(1, name, out_);
      // A response is one choice of a ResponseValue.
      if (&table == &response_message)
        around(2, [&] { message(1, table, v); });
      else
        message(2, table, v);
    });
  }

 private:
  template <typename Body>
  void around(int id, Body body) {
    wire::put_message(id, out_, [&] {
      body();
      return true;
    });
  }

  void any(int id, const json::value& v) {
    around(id, [&] { wire::put_bytes(2, json::write(v) + "\n", out_); });
  }

  // proto3: a scalar that is its type's zero is not written.
  void field(const field_row& f, const json::value& v) {
    if (v.is_null()) return;
    switch (f.as) {
      case form::string:
        if (!v.as_string().empty()) wire::put_bytes(f.id, v.as_string(), out_);
        break;
      case form::boolean:
        if (v.as_bool()) wire::put_number(f.id, 1, out_);
        break;
      case form::integer:
        if (v.as_integer() != 0) wire::put_number(f.id, static_cast<std::uint64_t>(v.as_integer()), out_);
        break;
      case form::number:
        if (v.as_number() != 0) wire::put_fixed64(f.id, std::bit_cast<std::uint64_t>(v.as_number()), out_);
        break;
      case form::any: any(f.id, v); break;
      case form::strings: each(v, [&](const json::value& e) { wire::put_bytes(f.id, e.as_string(), out_); }); break;
      case form::anys: each(v, [&](const json::value& e) { any(f.id, e); }); break;
      case form::message: message(f.id, *f.of, v); break;
      case form::messages: each(v, [&](const json::value& e) { message(f.id, *f.of, e); }); break;
      case form::named:
        around(f.id, [&] {
          if (auto o = v.object())
            for (auto& m : *o) named(1, m.name, *f.of, m.value);
        });
        break;
      case form::type:
        around(f.id, [&] {
          if (v.is_string()) wire::put_bytes(1, v.as_string(), out_);
          each(v, [&](const json::value& e) { wire::put_bytes(1, e.as_string(), out_); });
        });
        break;
      case form::items:
        around(f.id, [&] {
          if (v.is_object()) message(1, schema_message, v);
          each(v, [&](const json::value& e) { message(1, schema_message, e); });
        });
        break;
      case form::additional:
        around(f.id, [&] {
          if (v.is_object())
            message(1, schema_message, v);
          else
            wire::put_number(2, v.as_bool(), out_);
        });
        break;
      case form::wrapped: around(f.id, [&] { message(1, *f.of, v); }); break;
      case form::parameters: each(v, [&](const json::value& e) { parameter(f.id, e); }); break;
      case form::extensions:
        if (auto o = v.object())
          for (auto& m : *o)
            if (m.name.starts_with("x-"))
              around(f.id, [&] {
                wire::put_bytes(1, m.name, out_);
                any(2, m.value);
              });
        break;
    }
  }

  template <typename F>
  static void each(const json::value& v, F f) {
    if (auto a = v.array())
      for (auto& e : *a) f(e);
  }

  void parameter(int id, const json::value& v) {
    auto in = v["in"].as_string();
    around(id, [&] {
      around(1, [&] {
        if (in == "body")
          message(1, body_message, v);
        else
          around(2, [&] { in == "path" ? message(4, path_parameter_message, v) : message(3, query_message, v); });
      });
    });
  }

  std::string& out_;
};

}  // namespace

openapi_proto_writer::openapi_proto_writer(const json::value& info) {
  wire::put_bytes(1, "2.0", head_);
  encoder(head_).message(2, info_message, info);
}

// Paths{repeated NamedPathItem path = 2}, Definitions{repeated NamedSchema additional_properties = 1}
void openapi_proto_writer::path(std::string_view name, const json::value& item) {
  encoder(paths_).named(2, name, path_item_message, item);
}

void openapi_proto_writer::definition(std::string_view name, const json::value& schema) {
  encoder(definitions_).named(1, name, schema_message, schema);
}

std::string openapi_proto_writer::take() && {
  wire::put_bytes(8, paths_, head_);
  paths_ = {};
  wire::put_bytes(9, definitions_, head_);
  return std::move(head_);
}

}  // namespace kedge::schema
