// Two JSON documents, one a line: the first as FieldsV1 (read, written, read back the same) and both as what two
// managers apply to a Deployment, one of them twice: refused, or merged without conflict, since it is forced.
#include <cstddef>
#include <cstdint>

#include "base/assert.h"
#include "json/parse.h"
#include "json/write.h"
#include "schema/apply/managed.h"
#include "schema/decode.h"

namespace {

using namespace kedge;
using namespace kedge::schema;

void fields(const json::value& v) {
  auto set = apply::from_fields_v1(v);
  if (!set) return;
  auto written = apply::to_fields_v1(*set);
  auto back = apply::from_fields_v1(written);
  kedge_assert(back.has_value());
  kedge_assert(*back == *set);
  set->for_each([](const apply::field_path& p) { (void)apply::path_text(p); });
}

json::value applied(const json::value& live, const json::value& config, std::string manager) {
  auto& type = *find_kind("apps/v1", "Deployment");
  apply::writer w{
      .shape = type, .api_version = "apps/v1", .manager = std::move(manager), .now = "2026-01-01T00:00:00Z"};
  auto done = apply::apply(w, live, config, true);
  if (!done) return live;
  kedge_assert(done->conflicts.empty());
  auto next = std::move(done->object);
  next.member("metadata").set("managedFields", std::move(done->managed));
  return next;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view text(reinterpret_cast<const char*>(data), size);
  auto end = text.find('\n');
  auto one = json::parse(text.substr(0, end));
  if (!one || !one->is_object()) return 0;
  fields(*one);
  auto live = applied(json::value(), *one, "a");
  auto two = end == std::string_view::npos ? result<json::value>(json::value(json::object()))
                                           : json::parse(text.substr(end + 1));
  if (!two || !two->is_object()) return 0;
  live = applied(live, *two, "b");
  // The same again: merging into what was merged must hold as well.
  auto again = applied(live, *two, "b");
  (void)decode(*find_kind("apps/v1", "Deployment"), again);
  return 0;
}
