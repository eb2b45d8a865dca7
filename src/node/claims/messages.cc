#include "node/claims/messages.h"

#include "base/protobuf_wire.h"

namespace kedge::node {

namespace {

using answers = std::map<std::string, claim_answer, std::less<>>;

bool decode_device(std::string_view message, prepared_device& out) {
  wire::fields f(message);
  while (f.next()) switch (f.field()) {
      case 1: out.requests.emplace_back(f.bytes()); break;
      case 2: out.pool = f.bytes(); break;
      case 3: out.name = f.bytes(); break;
      case 4: out.cdi_devices.emplace_back(f.bytes()); break;
      case 5: out.share_id = std::string(f.bytes()); break;
      default: break;
    }
  return f.ok();
}

// In the answer to one call devices come first, in that to the other there are none.
bool decode_answer(std::string_view message, bool has_devices, claim_answer& out) {
  const int error_field = has_devices ? 2 : 1;
  wire::fields f(message);
  while (f.next()) {
    if (f.field() == error_field) {
      out.error = f.bytes();
    } else if (has_devices && f.field() == 1) {
      if (!decode_device(f.bytes(), out.devices.emplace_back())) return false;
    }
  }
  return f.ok();
}

result<answers> decode(std::string_view message, bool has_devices) {
  auto malformed = [] { return fail(errc::protocol, "the driver's answer is malformed"); };
  answers out;
  wire::fields f(message);
  while (f.next()) {
    if (f.field() != 1) continue;
    std::string uid;
    claim_answer one;
    wire::fields entry(f.bytes());
    while (entry.next()) {
      if (entry.field() == 1) uid = entry.bytes();
      if (entry.field() == 2 && !decode_answer(entry.bytes(), has_devices, one)) return malformed();
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
