#include "api/read/continue_token.h"

#include <fmt/format.h>

#include "base/strings.h"
#include "json/parse.h"
#include "json/write.h"

namespace kedge::api {

std::string write_continue(const continue_point& p) {
  json::value v = json::object{{"v", "meta.k8s.io/v1"}, {"rv", p.revision}, {"start", p.start}};
  return base64url(as_bytes(json::write(v)));
}

api_result<continue_point> read_continue(std::string_view token) {
  auto bad = [](std::string_view why) { return fail(bad_request(fmt::format("continue key is not valid: {}", why))); };
  auto text = unbase64url(token);
  if (!text) return bad(text.error().message);
  auto v = json::parse(*text);
  if (!v) return bad(v.error().message);
  if ((*v)["v"].as_string() != "meta.k8s.io/v1")
    return bad(fmt::format("server does not recognize this encoded version {}", quote((*v)["v"].as_string())));
  continue_point p;
  p.revision = (*v)["rv"].as_integer();
  p.start = (*v)["start"].as_string();
  if (p.revision == 0) return bad("incorrect encoded start resourceVersion (version meta.k8s.io/v1)");
  if (p.start.empty()) return bad("encoded start key empty (version meta.k8s.io/v1)");
  // Keys never climb out of their collection.
  for (auto part : split(p.start, '/'))
    if (part == "..") return bad("invalid start key");
  return p;
}

}  // namespace kedge::api
