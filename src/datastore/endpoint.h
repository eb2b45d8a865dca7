// endpoint.h: from K3s's --datastore-endpoint and its TLS flags to a log.
//
//   ""                                     SQLite in the data directory
//   sqlite:///path/to/state.db             SQLite there
//   postgres://user:pw@host:port/db?…      also postgresql://; several hosts with commas; what libpq takes after `?`
//   mysql://user:pw@tcp(host:port)/db?…    also unix(/path); what K3s takes (mysql/settings.h)
//   redis://[[user]:pw@]host:port/[db]     rediss:// with TLS
//   https://[user:pw@]host:port,https://…  etcd's members; or http://
#pragma once

#include <string>

#include "datastore/log.h"
#include "datastore/sqlite/database.h"

namespace kedge::datastore {

struct endpoint_options {
  std::string endpoint;
  std::string ca_file, certificate_file, key_file;  // --datastore-cafile, -certfile, -keyfile; or empty
  sqlite_options sqlite;                            // its path is used when the endpoint names none
  // open() waits for nobody, and makes no database: errc::not_found where there is none yet.
  bool looks_only = false;
};

// Whether servers share it: several can run, and they elect leaders.
bool is_shared_endpoint(std::string_view endpoint);

// The file of a datastore that is one.
std::string sqlite_path(const endpoint_options& options);

// errc::invalid and errc::unsupported name the flag, and never show a password. Nothing is connected or opened yet.
result<std::unique_ptr<log>> make_log(const endpoint_options& options);

}  // namespace kedge::datastore
