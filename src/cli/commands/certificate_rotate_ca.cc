// certificate_rotate_ca.cc: `kedge certificate rotate-ca`: sends a folder's authorities and service account keys to a
// server, in K3s's request.
#include <fmt/format.h>

#include "base/strings.h"
#include "cli/checks.h"
#include "cli/commands/admin.h"
#include "cli/commands/commands.h"
#include "cli/commands/common_flags.h"
#include "crypto/bootstrap_record.h"
#include "supervisor/bootstrap_data.h"
#include "supervisor/ca_rotation.h"

namespace kedge::cli::commands {
namespace {

constexpr flag flags_of_rotate_ca[] = {
    data_dir_flag,
    token_flag,
    server_flag,
    {.name = "path",
     .who = audience::both,
     .help = "Folder with tls/server-ca.crt and .key, tls/client-ca.*, tls/request-header-ca.*, tls/service.key; what "
             "is missing stays as it is"},
    {.name = "force",
     .who = audience::both,
     .kind = value_kind::boolean,
     .help =
         "Also authorities that the present ones don't lead to: the server then signs a bridge from these to those"},
};

result<void> rotate(const scanned& given, const machine& here) {
  const auto folder = given.value("path");
  if (folder.empty()) return fail(errc::invalid, "--path is missing: the folder that has the new authorities in tls/");
  KEDGE_TRY(auto files, supervisor::read_bootstrap_files(folder));
  std::erase_if(files, [](const auto& f) { return !supervisor::is_rotated(f.first); });
  if (files.empty())
    return fail(errc::not_found, fmt::format("{}/tls has none of server-ca.crt, client-ca.crt, request-header-ca.crt, "
                                             "their .key files, and service.key",
                                             folder));
  KEDGE_TRY(const auto access, as_server(given, here));
  const bool force = given.value("force", "false") == "true";
  KEDGE_TRY(const auto answer, ask(access, {.method = "PUT",
                                            .path = fmt::format("/v1-k3s/cert/cacerts?force={}", force),
                                            .body = crypto::write_bootstrap_files(files)}));
  fmt::print(
      "The cluster has the new authorities. Servers go by them at once and agents within a minute; what the old ones "
      "signed stays good until the same authorities are given once more without the old ones in their bundles.\n");
  return {};
}

}  // namespace

std::span<const flag> certificate_rotate_ca_flags() { return flags_of_rotate_ca; }

int certificate_rotate_ca(const invocation& call) {
  constexpr std::string_view name = "certificate rotate-ca";
  const auto given = scan_flags_only(flags_of_rotate_ca, call.arguments);
  if (!given) return report(name, given.error());
  const auto done = rotate(*given, call.here);
  return done ? 0 : report(name, done.error());
}

}  // namespace kedge::cli::commands
