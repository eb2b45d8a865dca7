#include "cel/functions/libraries.h"
#include "cel/literals.h"

namespace kedge::cel {

namespace {

using args = std::span<const value>;

value encode(args a, arena& memory) { return value::string(memory.copy(encode_base64(a[0].as_text()))); }

value decode(args a, arena& memory) {
  auto out = decode_base64(a[0].as_text());
  return out ? value::bytes(memory.copy(*out)) : value::error(memory, "illegal base64 data at input byte 0");
}

}  // namespace

void add_encoders(environment::builder& b) {
  b.function({"base64.decode", {global("base64_decode_string", {type::string()}, type::bytes(), decode)}});
  b.function({"base64.encode", {global("base64_encode_bytes", {type::bytes()}, type::string(), encode)}});
}

}  // namespace kedge::cel
