// kubelet_arguments.cc: --kubelet-arg, as far as Kedge's node knows the kubelet's own flags.
#include <fmt/format.h>

#include "base/strings.h"
#include "cli/options_load.h"

namespace kedge::cli {

result<kubelet_arguments> read_kubelet_arguments(std::span<const std::string> arguments,
                                                 std::vector<std::string>& warnings) {
  kubelet_arguments read;
  for (std::string_view text : arguments) {
    while (text.starts_with('-')) text.remove_prefix(1);
    const auto equals = text.find('=');
    const auto name = text.substr(0, equals), value = text.substr(equals + 1);
    if (name != "port") {
      warnings.push_back(
          fmt::format("--kubelet-arg={} has no effect: Kedge's node does not know this setting yet", name));
      continue;
    }
    const auto port = parse_uint(value);
    if (!port || *port == 0 || *port > 65535)
      return fail(errc::invalid, fmt::format("--kubelet-arg=port: {} is not a port (1-65535)", quote(value)));
    read.port = static_cast<std::uint16_t>(*port);
  }
  return read;
}

}  // namespace kedge::cli
