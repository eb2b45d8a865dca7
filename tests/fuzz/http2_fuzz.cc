// http2_fuzz.cc: HTTP/2 frames from a hostile client (even first byte; its preface is there already) or a hostile
// server.
#include "http_peer.h"

#include <memory>

using namespace kedge;
using namespace kedge::net::http;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  fuzz::script what(data + 1, size - 1);
  const bool requests = (data[0] & 1) == 0;
  constexpr std::string_view empty_settings("\0\0\0\4\0\0\0\0\0", 9);
  what.bytes.insert(
      0, requests ? "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + std::string(empty_settings) : std::string(empty_settings));
  if (requests)
    fuzz::attack_server(
        what, [](std::unique_ptr<reactor::stream> s) { return fuzz::serve_connection(std::move(s), serve_h2); });
  else
    fuzz::attack_client(what,
                        [](reactor::network& n, reactor::endpoint at) { return fuzz::ask(n, std::move(at), true); });
  return 0;
}
