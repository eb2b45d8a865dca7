// settings.h: where a Redis is and how to talk to it, from an endpoint:
//
//   redis://[[user]:password@]host[:port][/database][?option=value&…]     rediss:// with TLS
//
//   prefix=kedge          keys begin with {prefix}: several clusters may share a database
//   replicas=1            a write is acknowledged only when so many replicas have it
//   replica_timeout=1000  … within so many milliseconds
//   skip_verify=true      TLS: the server's certificate is not checked
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "base/error.h"
#include "datastore/redis/limits.h"

namespace kedge::datastore::redis {

struct settings {
  std::string host = "localhost", user, password;
  std::uint16_t port = 6379;
  unsigned database = 0;
  std::string prefix = "kedge";
  unsigned replicas = 0;
  std::chrono::milliseconds replica_timeout = replica_timeout_default;
  bool tls = false, skip_verify = false;
  std::string ca_file, certificate_file, key_file;  // read when a connection is made; empty: the system's, none
};

// `rest` is what follows redis:// or rediss://. The error's message holds nothing of it but option names.
result<settings> parse_endpoint(std::string_view rest, bool tls);

}  // namespace kedge::datastore::redis
