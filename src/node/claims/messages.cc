#include "node/claims/messages.h"

#include <fmt/format.h>

#include "base/protobuf_wire.h"
#include "json/utf8.h"
#include "node/claims/limits.h"

namespace kedge::node {

namespace {

using answers = std::map<std::string, claim_answer, std::less<>>;

// All of it is text: it is kept in a checkpoint that has to be read again.
bool decode_device(std::string_view message, prepared_device& out, std::size_t& items) {
  wire::fields f(message);
  while (f.next()) {
    if (f.field() >= 1 && f.field() <= 5 && !json::is_utf8(f.bytes())) return false;
    switch (f.field()) {
      case 1: out.requests.emplace_back(f.bytes()); break;
      case 2: out.pool = f.bytes(); break;
      case 3: out.name = f.bytes(); break;
      case 4: out.cdi_devices.emplace_back(f.bytes()); break;
      case 5: out.share_id = std::string(f.bytes()); break;
      default: continue;
    }
    if (++items > claim_answer_items_max) return false;
  }
  return f.ok();
}

// In the answer to one call devices come first, in that to the other there are none.
bool decode_answer(std::string_view message, bool has_devices, claim_answer& out, std::size_t& items) {
  const int error_field = has_devices ? 2 : 1;
  wire::fields f(message);
  while (f.next()) {
    if (f.field() == error_field) {
      out.error = f.bytes();
    } else if (has_devices && f.field() == 1) {
      if (++items > claim_answer_items_max || !decode_device(f.bytes(), out.devices.emplace_back(), items))
        return false;
    }
  }
  return f.ok();
}

result<answers> decode(std::string_view message, bool has_devices) {
  std::size_t items = 0;
  auto malformed = [&] {
    if (items > claim_answer_items_max)
      return fail(errc::too_large,
                  fmt::format("the driver's answer tells of more than {} things", claim_answer_items_max));
    return fail(errc::protocol, "the driver's answer is malformed");
  };
  answers out;
  wire::fields f(message);
  while (f.next()) {
    if (f.field() != 1) continue;
    std::string uid;
    claim_answer one;
    wire::fields entry(f.bytes());
    while (entry.next()) {
      if (entry.field() == 1) uid = entry.bytes();
      if (entry.field() == 2 && !decode_answer(entry.bytes(), has_devices, one, items)) return malformed();
    }
    if (!entry.ok()) return malformed();
    out.insert_or_assign(std::move(uid), std::move(one));
  }
  if (!f.ok()) return malformed();
  return out;
}

}  // namespace

std::string encode_claims(const std::vector<claim_id>& claims) {
  wire::writer w;
  for (auto& c : claims) w.message(1, wire::writer().text(1, c.ns).text(2, c.uid).text(3, c.name).take());
  return w.take();
}

result<answers> decode_prepared(std::string_view message) { return decode(message, true); }
result<answers> decode_unprepared(std::string_view message) { return decode(message, false); }

}  // namespace kedge::node
