#include "net/http/connection.h"

namespace kedge::net::http {
task<void> serve_h2(reactor::stream&, connection_context) { co_return; }
}  // namespace kedge::net::http
