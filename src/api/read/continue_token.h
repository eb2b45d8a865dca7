// continue_token.h: where a list goes on: base64url of {"v":"meta.k8s.io/v1","rv":218,"start":"c1\u0000"}.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "meta/status.h"

namespace kedge::api {

struct continue_point {
  std::int64_t revision = 0;  // -1: whatever is newest
  std::string start;          // the next key after the collection's prefix
};
std::string write_continue(const continue_point& p);
api_result<continue_point> read_continue(std::string_view token);  // 400 "continue key is not valid: …"

}  // namespace kedge::api
