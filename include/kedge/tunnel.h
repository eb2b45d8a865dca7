// kedge/tunnel.h: streams from a server to a node over a websocket that the node opened (remotedialer's protocol, as
// K3s speaks it).
//
//   node:   tunnel::client    keeps one tunnel to each of set_servers(); `allow` says where servers may connect to from
//   the node server: tunnel::server    serve(exchange, name) takes a node's websocket, whoever has authenticated it;
//   dial(name, "tcp", "host:port")
//                             gives a stream to there, as seen from the node
//   tunnel::splice            carries bytes between two streams until either ends
//
// A session that misses pings is doubted first, and given up after a minute. Several sessions of a node may stand; the
// oldest is used.
#pragma once

#include "kedge/http.h"
#include "tunnel/client.h"
#include "tunnel/dial.h"
#include "tunnel/server.h"
