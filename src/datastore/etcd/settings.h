// settings.h: where the members of an etcd cluster are and who asks, from an endpoint:
//
//   https://[user:password@]host:2379[,https://host:2379…]     or http://; as K3s's, and a user's name and password
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/error.h"

namespace kedge::datastore::etcd {

struct member {
  std::string host;
  std::uint16_t port = 2379;
  bool tls = false;
  std::string url() const;  // "https://host:2379"
};

struct settings {
  std::vector<member> members;                      // at least one
  std::string user, password;                       // empty: etcd asks for none, or takes the certificate's name
  std::string ca_file, certificate_file, key_file;  // read when a connection is made; empty: the system's, none
};

// The error's message holds nothing of a password.
result<settings> parse_endpoint(std::string_view endpoint);

}  // namespace kedge::datastore::etcd
