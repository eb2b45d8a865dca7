// settings.h: where a MySQL or MariaDB is and how to talk to it, from an endpoint as K3s takes it:
//
//   mysql://[user[:password]@][protocol[(address)]]/[database][?option=value&…]
//
//   root:secret@tcp(db:3306)/kubernetes?tls=true          @unix(/run/mysqld/mysqld.sock)/          @tcp([fd00::5])/x
//
//   tls=true           TLS, the server's certificate is checked; skip-verify: it isn't; preferred: TLS if there is any;
//                      false: none (--datastore-cafile and its siblings turn it on)
//   allowCleartextPasswords=true   the server may ask for the password itself (PAM, LDAP)
//   NAME=VALUE         a variable of the server's, set for each session: wsrep_sync_wait=1, sql_mode='ANSI'
//
// User and password are taken as they stand, the database's name is percent-decoded: as the Go driver does. Its options
// that only tell it how to talk to its caller are known, and nothing needs to be done for them.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"

namespace kedge::datastore::mysql {

struct settings {
  enum class tls_use : unsigned char { none, preferred, unchecked, checked };

  std::string user = "root", password;
  std::string host = "127.0.0.1";
  std::uint16_t port = 3306;
  std::string socket;  // a Unix socket's path; empty: host and port
  std::string database = "kubernetes";
  tls_use tls = tls_use::none;
  std::string ca_file, certificate_file, key_file;  // empty: the system's, none
  bool cleartext_passwords = false;
  std::vector<std::pair<std::string, std::string>> variables;
};

// `rest` is what follows mysql://. The error's message holds nothing of it but option names. `files` says whether TLS
// files are set beside it, which changes what is meant by an empty one.
result<settings> parse_dsn(std::string_view rest, bool files);

// "db:3306/kubernetes", "/run/mysqld/mysqld.sock/kubernetes"
std::string describe(const settings& s);

}  // namespace kedge::datastore::mysql
