// admin.h: one request of a small command to a running server, as the cluster's administrator or as another server.
#pragma once

#include <string>

#include "base/error.h"
#include "cli/flags.h"
#include "cli/machine.h"

namespace kedge::cli::commands {

// Where the server is, and who asks. Secrets: never printed.
struct admin_access {
  std::string url;                       // https://127.0.0.1:6443
  std::string ca_pem;                    // whom to believe; empty: the system's store
  std::string certificate_pem, key_pem;  // a client certificate, or empty
  std::string authorization;             // a header's value, or empty
};

// The current context of a kubeconfig; certificates stand in it or in files that it names (relative to its folder).
// Errors name the file and what it lacks.
result<admin_access> read_kubeconfig(const std::string& path);

// The data directory by --data-dir, $K3S_DATA_DIR and the default.
std::string data_dir_of(const scanned& given, const machine& here);

// The administrator's access: --kubeconfig, else $KUBECONFIG (unless --data-dir is given), else the data directory's.
result<admin_access> administrator(const scanned& given, const machine& here);

// Another server's access, by the cluster's token: --token, $K3S_TOKEN, else the data directory's; at --server,
// $K3S_URL, else the data directory's server. Its CA is checked by the token.
result<admin_access> as_server(const scanned& given, const machine& here);

struct admin_request {
  std::string method = "GET";
  std::string path;
  std::string body;  // JSON, or empty
};
// The body of a 2xx answer, on a loop of its own: blocks for at most request_time. An answer that refuses is an error
// with the server's message; without an answer the error says how the server was looked for.
result<std::string> ask(const admin_access& a, const admin_request& r);

// What the server hands out as its CA at /cacerts, from whoever answers there: only good once its hash has been
// checked.
result<std::string> fetch_unverified_ca(const std::string& url);

}  // namespace kedge::cli::commands
