// server_names.h: what stands for the API servers themselves. Whoever has the join token may have a certificate signed
// by the server CA for his node's names (K3s's agents rely on it); it shall not be one under which clients know a
// server.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "api/objects.h"
#include "supervisor/config.h"

namespace kedge::supervisor {

// Whether a node may not be called so: the names of the Service kubernetes, localhost, and what --tls-san names. A
// server's own node may have the server's name.
bool is_server_name(const config& settings, api::objects& objects, std::string_view node);

// Of the addresses that a node says are its own, those that its serving certificate may name: no server's, unless the
// node asks from there, as a server's own node does.
std::vector<std::string> certified_addresses(const config& settings, api::objects& objects,
                                             const std::vector<std::string>& asked, std::string_view peer);

}  // namespace kedge::supervisor
