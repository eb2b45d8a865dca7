// encode.h: objects to the bytes of an answer: JSON, YAML, protobuf; whole, as Table rows, or as metadata only.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "api/registry/registry.h"
#include "api/request/negotiate.h"
#include "store/store.h"

namespace kedge::api {

enum class include_object : unsigned char { metadata, object, none };
api_result<include_object> parse_include_object(std::string_view text);

// What a client wants to see of each object.
struct view {
  media as;
  include_object include = include_object::metadata;
};

// Any value with apiVersion and kind as text. JSON ends with a newline, as kube-apiserver answers.
std::string encode_value(const json::value& v, const media& as);

// The stored object in the served version, as a value with kind, apiVersion and resourceVersion.
api_result<json::value> served_value(const served& s, const store::object& o);
// Whether the object's own bytes are what a client of this version sees.
bool is_ready(const served& s, const store::object& o) noexcept;
// A value in the stored version brought to the served one.
void to_served(const served& s, json::value& v);

// One object in the wanted shape. `stored_form`: the value in the stored version.
json::value shape_object(const served& s, json::value stored_form, const view& v, wall_time now,
                         bool with_columns = true);
json::value partial_metadata(const json::value& object, bool v1beta1);

// Tables are put together row by row.
json::value table_head(const served& s, bool v1beta1, bool with_columns);
json::value table_row_of(const served& s, const json::value& stored_form, const view& v, wall_time now);

// One event's frame for a watch in this view; `type` is "ADDED" … JSON lines end with a newline. Shared by all watchers
// of this core that look at the same event in the same way. `shown`: a revision instead of the object's own, always the
// same one with this object and type; 0: none.
std::shared_ptr<const std::string> watch_frame(const served& s, std::string_view type, const store::object_ref& o,
                                               const view& v, wall_time now, bool with_columns,
                                               store::revision shown = 0);
// A frame of any value: BOOKMARK, ERROR.
std::string watch_frame_of(std::string_view type, const json::value& object, const media& as);

// The stored object's value, from this core's small cache of what was looked at last.
std::shared_ptr<const json::value> parsed(const store::object_ref& o);

}  // namespace kedge::api
