// Any bytes as a stored object, and (first byte: which kind) as a bare message: refused, or read, written, and read
// back the same.
#include <cstddef>
#include <cstdint>

#include "base/assert.h"
#include "json/write.h"
#include "schema/protobuf.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace kedge;
  std::string_view text(reinterpret_cast<const char*>(data), size);
  (void)schema::decode_object(text);
  if (size == 0) return 0;
  auto kind = schema::kind_at(data[0] % schema::kind_count());
  auto v = schema::from_protobuf(*kind.type, text.substr(1));
  if (!v) return 0;
  auto raw = schema::to_protobuf(*kind.type, *v);
  kedge_assert(raw.has_value());
  auto back = schema::from_protobuf(*kind.type, *raw);
  kedge_assert(back.has_value());
  kedge_assert(json::write(*back) == json::write(*v));
  return 0;
}
