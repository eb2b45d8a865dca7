// sysctl.h: the kernel's switches of the calling thread's network namespace. Blocks.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"

namespace kedge::node {

// `name` below /proc/sys/net: "ipv4/ip_forward". One that this kernel doesn't have is left alone.
result<void> write_sysctl(const std::string& name, std::string_view value);
bool has_sysctl(const std::string& name);
// nullopt: it isn't there, or no number.
std::optional<std::uint64_t> read_sysctl(const std::string& name);

}  // namespace kedge::node
