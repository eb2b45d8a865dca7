// kedge/http.h: HTTP/1.1 and HTTP/2, both ends, with or without TLS, over any network.
//
//   net::http::handler        answers one exchange: override serve(). Bodies are read and written in pieces, with back
//   pressure net::http::server         listens and serves: spawn run(core) in a scope; ready(core) is set when it
//   listens; leave() and drain() end it net::http::client         fetch() for a whole answer, open() for one in pieces;
//   keeps connections net::tls_server_context, tls_client_context: certificates in PEM
//
// Deadlines are the caller's: reactor::with_deadline(client.fetch(…), when). Limits are in net/limits.h, each with its
// reason.
#pragma once

#include "kedge/reactor.h"
#include "net/http/client.h"
#include "net/http/handler.h"
#include "net/http/server.h"
#include "net/tls.h"
