// signature.h: AWS Signature Version 4 of one request, as any S3 checks it. Pure.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/time.h"

namespace kedge::backup::s3 {

struct credentials {
  std::string access_key, secret_key;
  std::string session_token;  // or empty
};

struct request {
  std::string method = "GET";
  std::string host;                                          // as in the Host header
  std::string path;                                          // decoded: "/bucket/folder/a b"
  std::vector<std::pair<std::string, std::string>> query;    // decoded
  std::vector<std::pair<std::string, std::string>> headers;  // beside those that signing adds; names in lower case
  std::string payload_sha256;                                // of the body, in hexadecimal
};
inline constexpr std::string_view empty_sha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

// The path and query as they must be sent.
std::string target_of(const request& r);
// All headers to be sent but Host: those of the request, x-amz-…, and Authorization.
std::vector<std::pair<std::string, std::string>> sign(const request& r, const credentials& who, std::string_view region,
                                                      wall_time now);

}  // namespace kedge::backup::s3
