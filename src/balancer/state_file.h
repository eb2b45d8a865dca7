// state_file.h: K3s's record of the servers that an agent knows, byte for byte:
//   {
//     "ServerURL": "https://fixed.example:6443",
//     "ServerAddresses": [
//       "10.0.0.1:6443"
//     ]
//   }                                            (two spaces, no newline at the end, mode 0644)
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace kedge::balancer {

std::string state_text(std::string_view server_url, const std::vector<std::string>& addresses);
// The addresses when the text was written for this default URL, else none. Fails on what isn't such a text.
result<std::vector<std::string>> parse_state(std::string_view text, std::string_view server_url);

// Blocking: on the offload pool. A missing file is no addresses. Written whole or not at all.
result<std::vector<std::string>> read_state_file(const std::string& path, std::string_view server_url);
result<void> write_state_file(const std::string& path, std::string_view text);

// The default server of a --server URL: "https://a" → "a:443" (not 6443), "http://a" → "a:80".
result<std::string> default_address(std::string_view server_url);

}  // namespace kedge::balancer
