// protobuf.h: objects as Kubernetes' protobuf, driven by the table (no generated code).
//
//   bytes on the wire or in the log:  "k8s\0" + runtime.Unknown{ typeMeta{apiVersion, kind}, raw } ── raw: the object's
//   message
//
// Encoding gives the bytes that gogo/protobuf gives for the Go struct; decoding accepts any valid encoding, drops
// unknown fields, and is bounded in depth and in the number of values. Values come out as schema::decode leaves them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "json/value.h"
#include "schema/types.h"

namespace kedge::schema {

inline constexpr std::string_view protobuf_magic{"k8s\0", 4};
inline constexpr std::string_view protobuf_content_type = "application/vnd.kubernetes.protobuf";

inline bool is_protobuf(std::string_view data) noexcept { return data.starts_with(protobuf_magic); }

// runtime.Unknown. The views point into the data that was opened.
struct envelope {
  std::string_view api_version, kind, raw, content_encoding, content_type;
};
result<envelope> open_envelope(std::string_view data);  // errc::invalid
std::string seal_envelope(std::string_view api_version, std::string_view kind, std::string_view raw);

// One message (no envelope). The value has no apiVersion and kind; add them.
result<json::value> from_protobuf(const type_info& type, std::string_view message);
// Of a value as schema::decode leaves it; errc::invalid for one that doesn't fit the type.
result<std::string> to_protobuf(const type_info& type, const json::value& v);

// Envelope and message at once, the type found by apiVersion and kind, which are set in the value (list items carry
// none). `otherwise`: the type for an envelope that names none. errc::unsupported: not a built-in kind.
result<json::value> decode_object(std::string_view data, const type_info* otherwise = nullptr);
result<std::string> encode_object(const json::value& v);

// A list in pieces: all lists are {metadata = 1, repeated items = 2}. The answer is list_opening(…, size of all items),
// the items, list_closing(). Appends one item. errc::invalid for a value that doesn't fit the type.
result<void> put_list_item(const type_info& type, const json::value& v, std::string& out);
std::string list_opening(std::string_view api_version, std::string_view list_kind, const json::value& list_metadata,
                         std::size_t item_bytes);
std::string list_closing();

// One frame of a protobuf watch stream: 4 bytes length (big-endian) + WatchEvent{type, object}. `object` is an encoded
// object with its envelope.
std::string watch_frame(std::string_view event_type, std::string_view object);

}  // namespace kedge::schema
