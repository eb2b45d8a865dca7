// configuration.h: TracingConfiguration, the file of --tracing-config-file: which requests are told of, and to whom.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"
#include "net/http/client.h"

namespace kedge::api::tracing {

struct settings {
  std::string endpoint = "localhost:4317";  // as the file has it
  std::uint32_t per_million = 0;            // of new traces; those of trusted clients go on
};

// errc::invalid tells all that is wrong, in kube-apiserver's words.
result<settings> parse_configuration(std::string_view text);

// Where that is, in plain text: host:port, dns:///host:port, unix:/path or unix-abstract:name.
result<net::http::target> target_of(std::string_view endpoint);

}  // namespace kedge::api::tracing
