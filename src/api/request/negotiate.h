// negotiate.h: which form of an answer a client accepts (facts: content negotiation). Sans-I/O.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "meta/status.h"

namespace kedge::api {

enum class wire : unsigned char { json, yaml, protobuf };
enum class shape : unsigned char { whole, table, partial, partial_list };

struct media {
  wire format = wire::json;
  shape as = shape::whole;
  bool v1beta1 = false;  // the Table or PartialObjectMetadata asked for is meta.k8s.io/v1beta1
  bool pretty = false;
  bool watch = false;  // reply types of a stream

  bool plain_json() const noexcept { return format == wire::json && as == shape::whole && !pretty; }
  std::string content_type() const;
};

struct media_choices {
  bool protobuf = true;
  bool shapes = true;   // Table and PartialObjectMetadata may be asked for
  bool stream = false;  // a watch: JSON and protobuf frames only
};

// One clause of an Accept header: type/subtype and parameters, names in lower case.
struct media_clause {
  std::string type;  // "application/json"
  std::vector<std::pair<std::string, std::string>> parameters;
  int quality = 1000;
  std::string_view parameter(std::string_view name) const noexcept;
};
// In order of preference; q=0 clauses are left out.
std::vector<media_clause> parse_accept(std::string_view accept);

// 406 when nothing is acceptable. `pretty` is not set here.
api_result<media> negotiate(std::string_view accept, const media_choices& choices);

// `pretty=` of the query (empty view and absent: by user agent, for curl, wget and browsers).
bool wants_pretty(bool has_pretty, bool pretty, std::string_view user_agent) noexcept;

// A request body's Content-Type: JSON when there is none; 415.
api_result<wire> body_format(std::string_view content_type, bool protobuf_served);

}  // namespace kedge::api
