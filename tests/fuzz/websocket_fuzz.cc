// websocket_fuzz.cc: frames of either side, at once and byte by byte: the same messages, and the same end.
#include <algorithm>
#include <utility>
#include <vector>

#include "base/assert.h"
#include "net/websocket/frame.h"

using namespace kedge;
using namespace kedge::net::websocket;

namespace {

struct reading {
  std::string messages;  // kinds and payloads, in order
  std::uint16_t error = 0;
  bool operator==(const reading&) const = default;
};

reading read(side own, std::string text, std::size_t piece) {
  frame_parser p(own, 4096);
  reading r;
  bool fresh = true;
  for (std::size_t at = 0; at < text.size();) {
    const auto end = std::min(text.size(), at + piece);
    while (at < end) {
      const auto e = p.next({reinterpret_cast<std::byte*>(text.data()) + at, end - at});
      if (!e) {
        r.error = p.error_code();
        kedge_assert(valid_close_code(r.error) || r.error == close_internal);
        return r;
      }
      kedge_assert(e->consumed <= end - at);
      at += e->consumed;
      using kind = frame_parser::event::kind;
      if (e->what == kind::need_more) {
        kedge_assert(at == end);
        break;
      }
      if (e->what == kind::data) {
        if (std::exchange(fresh, e->final)) r.messages += e->message == opcode::text ? " t:" : " b:";
      } else {
        kedge_assert(e->payload.size() <= 125);
        r.messages += e->what == kind::ping   ? " ping:"
                      : e->what == kind::pong ? " pong:"
                                              : " close:" + std::to_string(e->code) + ":";
      }
      r.messages += as_text(e->payload);
      if (e->what == kind::close) return r;  // nothing counts after it
    }
  }
  return r;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const auto own = data[0] & 1 ? side::client : side::server;
  const std::string text(reinterpret_cast<const char*>(data + 1), size - 1);
  const auto at_once = read(own, text, text.size() + 1), in_bytes = read(own, text, 1);
  kedge_assert(at_once.error == in_bytes.error);
  if (at_once.error == 0) kedge_assert(at_once == in_bytes);

  utf8_checker whole, bytewise;
  bool good = true;
  const auto raw = as_bytes(text);
  for (std::size_t i = 0; i < raw.size() && good; ++i) good = bytewise.feed(raw.subspan(i, 1));
  kedge_assert(whole.feed(raw) == good);
  if (good) kedge_assert(whole.complete() == bytewise.complete());
  return 0;
}
