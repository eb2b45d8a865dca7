#include "backup/s3/signature.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>

#include "base/bytes.h"
#include "base/strings.h"
#include "crypto/digest.h"

namespace kedge::backup::s3 {

namespace {

// Each part by itself: what stands between the slashes.
std::string encode_path(std::string_view path) {
  std::vector<std::string> parts;
  for (auto part : split(path, '/')) parts.push_back(percent_encode(part));
  return join(parts, "/");
}

std::string canonical_query(const request& r) {
  std::vector<std::pair<std::string, std::string>> parts;
  for (auto& [name, value] : r.query) parts.emplace_back(percent_encode(name), percent_encode(value));
  std::ranges::sort(parts);
  std::string out;
  for (auto& [name, value] : parts) out += (out.empty() ? "" : "&") + name + "=" + value;
  return out;
}

std::string hmac(std::string_view key, std::string_view text) {
  return crypto::hmac_sha256(as_bytes(key), as_bytes(text));
}

}  // namespace

std::string target_of(const request& r) {
  auto query = canonical_query(r);
  return encode_path(r.path) + (query.empty() ? "" : "?" + query);
}

std::vector<std::pair<std::string, std::string>> sign(const request& r, const credentials& who, std::string_view region,
                                                      wall_time now) {
  auto time = fmt::format("{:%Y%m%dT%H%M%SZ}", std::chrono::floor<std::chrono::seconds>(now));
  auto day = time.substr(0, 8);
  auto headers = r.headers;
  headers.emplace_back("x-amz-content-sha256", r.payload_sha256);
  headers.emplace_back("x-amz-date", time);
  if (!who.session_token.empty()) headers.emplace_back("x-amz-security-token", who.session_token);
  auto signing = headers;
  signing.emplace_back("host", r.host);
  std::ranges::sort(signing);
  std::string canonical, names;
  for (auto& [name, value] : signing) {
    canonical += name + ":" + std::string(trim(value)) + "\n";
    names += (names.empty() ? "" : ";") + name;
  }
  auto whole = fmt::format("{}\n{}\n{}\n{}\n{}\n{}", r.method, encode_path(r.path), canonical_query(r), canonical,
                           names, r.payload_sha256);
  auto scope = fmt::format("{}/{}/s3/aws4_request", day, region);
  auto text = fmt::format("AWS4-HMAC-SHA256\n{}\n{}\n{}", time, scope, crypto::sha256_hex(as_bytes(whole)));
  auto key = hmac(hmac(hmac(hmac("AWS4" + who.secret_key, day), region), "s3"), "aws4_request");
  auto mac = hmac(key, text);
  headers.emplace_back("authorization", fmt::format("AWS4-HMAC-SHA256 Credential={}/{},SignedHeaders={},Signature={}",
                                                    who.access_key, scope, names, hex(as_bytes(mac))));
  return headers;
}

}  // namespace kedge::backup::s3
