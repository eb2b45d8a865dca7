// kubeconfig.h: where a webhook is, and who we are to it, as a kubeconfig's current context says.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "net/http/client.h"

namespace kedge::api {

// Immutable, shared by all cores.
struct remote_server {
  net::http::target to;
  std::string path;           // of the URL, without its query
  std::string authorization;  // the header's value; empty: none
  std::string token_file;     // where the token comes from instead
  std::string tls_name;       // of the server's certificate, when it isn't its host's
};

// Blocking: it reads the files that the kubeconfig names, relative to its own folder. errc::invalid names the field;
// errc::unsupported what there is no way to do here (exec plugins, proxies).
result<std::shared_ptr<const remote_server>> parse_kubeconfig(std::string_view text, const std::string& folder);
// The same of a file. Errors name it, and the flag that it was given with.
result<std::shared_ptr<const remote_server>> read_kubeconfig(std::string_view flag, const std::string& path);

}  // namespace kedge::api
