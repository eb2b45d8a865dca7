// token.cc: `kedge token …`.
#include <fmt/format.h>

#include "base/random.h"
#include "cli/commands/commands.h"

namespace kedge::cli::commands {
namespace {

// kubeadm's form: 6 characters name the token, 16 are its secret.
std::string bootstrap_token(random_source& random) {
  constexpr std::string_view alphabet = "abcdefghijklmnopqrstuvwxyz0123456789";
  std::string token;
  for (int i = 0; i < 6 + 16; ++i) {
    if (i == 6) token += '.';
    token += alphabet[random.below(alphabet.size())];
  }
  return token;
}

}  // namespace

int token_generate(const invocation& call) {
  if (auto scanned = scan_flags_only({}, call.arguments); !scanned) return report("token generate", scanned.error());
  fmt::print("{}\n", bootstrap_token(system_random()));
  return 0;
}

}  // namespace kedge::cli::commands
