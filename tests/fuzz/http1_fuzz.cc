// http1_fuzz.cc: HTTP/1.x from a hostile client, and from a hostile server. The parser must say the same of a message
// whether it comes at once or byte by byte: two readings of one message are what request smuggling is made of.
#include <algorithm>
#include <memory>

#include "http_peer.h"
#include "net/http/h1_parser.h"

using namespace kedge;
using namespace kedge::net::http;

namespace {

struct reading {
  bool good = true, complete = false;
  int status = 0;
  std::string method, target, body;
  std::size_t fields = 0, used = 0;
  bool operator==(const reading&) const = default;
};

reading read(h1_parser::side side, std::string text, std::size_t piece) {
  h1_parser p(side);
  reading r;
  for (std::size_t at = 0; at < text.size() && !p.complete();) {
    const auto size = std::min(piece, text.size() - at);
    auto* start = reinterpret_cast<std::byte*>(text.data()) + at;
    const auto step = p.feed({start, size});
    if (!step) {
      r.good = false;
      r.status = p.status();
      return r;
    }
    kedge_assert(step->consumed <= size && step->body <= step->consumed);
    kedge_assert(step->consumed == size || p.complete());
    r.body += as_text({start, step->body});
    at += step->consumed;
    r.used = at;
  }
  r.complete = p.complete();
  if (p.head_complete()) {
    r.method = p.head().method;
    r.target = p.head().target;
    r.status = p.head().status;
    r.fields = p.head().headers.size() + p.trailers().size();
  }
  return r;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  const fuzz::script what(data + 1, size - 1);
  const bool requests = (data[0] & 1) == 0;
  const auto side = requests ? h1_parser::side::request : h1_parser::side::response;
  const auto at_once = read(side, what.bytes, what.bytes.size() + 1), in_bytes = read(side, what.bytes, 1);
  kedge_assert(at_once.good == in_bytes.good);
  if (at_once.good) kedge_assert(at_once == in_bytes);
  if (requests)
    fuzz::attack_server(
        what, [](std::unique_ptr<reactor::stream> s) { return fuzz::serve_connection(std::move(s), serve_h1); });
  else
    fuzz::attack_client(what,
                        [](reactor::network& n, reactor::endpoint at) { return fuzz::ask(n, std::move(at), false); });
  return 0;
}
