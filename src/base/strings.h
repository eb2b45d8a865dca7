// strings.h: small text functions that the standard library lacks.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/error.h"

namespace kedge {

std::string hex(bytes data);                             // lower-case
result<std::string> unhex(std::string_view text);        // either case; even length
std::string base64(bytes data);                          // RFC 4648 §4, padded
std::string base64_unpadded(bytes data);                 // the same without '='
std::string base64url(bytes data);                       // RFC 4648 §5, unpadded
result<std::string> unbase64(std::string_view text);     // standard alphabet, padding optional, no white space
result<std::string> unbase64url(std::string_view text);  // URL alphabet, padding optional

std::string_view trim(std::string_view text);                                // ASCII white space at both ends
std::vector<std::string_view> split(std::string_view text, char separator);  // "a,,b" → "a" "" "b"; "" → ""
std::string lower(std::string_view text);                                    // ASCII
bool iequals(std::string_view a, std::string_view b);                        // ASCII, ignoring case
std::string join(const std::vector<std::string>& parts, std::string_view separator);

// Whole-string decimal; nullopt for anything else (sign only where the type has one, no white space, no overflow).
std::optional<std::int64_t> parse_int(std::string_view text);
std::optional<std::uint64_t> parse_uint(std::string_view text);

// percent-decoding of a URL path or (plus_is_space) query component; fails on a bad escape.
result<std::string> percent_decode(std::string_view text, bool plus_is_space);
std::string percent_encode(std::string_view text);  // all but RFC 3986 unreserved

// Go's strconv.Quote, which Kubernetes' messages use.
std::string quote(std::string_view text);

// Constant time for equal lengths.
bool equal_secret(std::string_view a, std::string_view b);

// Heterogeneous lookup for unordered containers keyed by std::string.
struct string_hash {
  using is_transparent = void;
  std::size_t operator()(std::string_view s) const noexcept { return std::hash<std::string_view>{}(s); }
};

}  // namespace kedge
