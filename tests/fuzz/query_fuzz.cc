// query_fuzz.cc: URLs, queries, Accept headers, continue tokens, patch types and images of hostile clients: no crash,
// and limits hold.
#include <chrono>
#include <cstddef>
#include <cstdint>

#include "api/read/continue_token.h"
#include "api/request/negotiate.h"
#include "api/request/request.h"
#include "base/assert.h"
#include "meta/cron.h"
#include "node/mirror/request.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace kedge;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto mark = text.find('?');
  const auto query = api::query_values::parse(mark == std::string_view::npos ? text : text.substr(mark + 1));
  for (auto method : {"GET", "DELETE", "POST", "BREW"}) {
    const auto info = api::parse_request(method, text.substr(0, mark), query);
    kedge_assert(!info.is_resource || !info.api_version.empty() || info.malformed);
  }
  for (bool watch : {false, true})
    if (auto o = api::parse_list_options(query, watch)) kedge_assert(o->limit >= 0);
  (void)api::parse_write_options(query, "CreateOptions");
  if (auto ms = api::parse_timeout_ms(query, std::chrono::minutes(1))) kedge_assert(*ms > 0 && *ms <= 60'000);
  (void)api::parse_resource_version(text);
  (void)api::negotiate(text, {});
  (void)api::body_format(text, true);
  (void)api::cron_problem(text);
  if (auto p = api::read_continue(text)) {
    auto again = api::read_continue(api::write_continue(*p));
    kedge_assert(again && again->revision == p->revision && again->start == p->start);
  }
  if (auto asked = node::parse_mirror_request(text.substr(0, mark), mark == text.npos ? "" : text.substr(mark + 1))) {
    auto target = asked->target();
    auto middle = target.find('?');
    auto again = node::parse_mirror_request(std::string_view(target).substr(0, middle), target.substr(middle + 1));
    kedge_assert(again && again->target() == target);
  }
  return 0;
}
