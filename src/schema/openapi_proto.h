// openapi_proto.h: parts of a Swagger 2.0 document as messages of gnostic's openapi.v2 (OpenAPIv2.proto).
//
// The whole document is never in memory as values: the caller makes one path or one definition after the other as JSON
// and has it appended here.
#pragma once

#include <string>
#include <string_view>

#include "base/error.h"
#include "json/value.h"

namespace kedge::schema {

inline constexpr std::string_view openapi_v2_proto_type = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

// Collects a Document. Order: paths before definitions, as often as needed. What the messages have no field for is left
// out.
class openapi_proto_writer {
 public:
  explicit openapi_proto_writer(const json::value& info);  // {"title":…,"version":…}
  void path(std::string_view name, const json::value& item);
  void definition(std::string_view name, const json::value& schema);
  std::string take() &&;

 private:
  std::string head_, paths_, definitions_;
};

}  // namespace kedge::schema
