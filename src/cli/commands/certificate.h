// certificate.h: what `kedge certificate` does, apart from printing.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/time.h"

namespace kedge::cli::commands {

// A certificate of a .crt file: the leaf and each CA that rides along are one each.
struct certificate_state {
  std::string service;  // K3s's name for what uses it: admin, kubelet …
  std::string file;
  std::string subject;  // CN=…,O=…
  std::string usages;   // ClientAuth,ServerAuth; CertSign for a CA
  wall_time expires;
  std::string_view status;  // OK, WARNING (ends within 120 days), EXPIRED, NOT YET VALID
};

// Names that --service takes; empty `services` means all. errc::invalid for another name.
result<void> check_services(std::span<const std::string> services);

// Every certificate of these services that exists below the data directory.
result<std::vector<certificate_state>> read_certificates(const std::string& data_dir,
                                                         std::span<const std::string> services, wall_time now);

// Copies server/tls and agent's certificates to a folder tls-<unix seconds> beside them, and removes those of the
// services, so that who runs, or else the next start, makes new ones. Gives the folders of the copies. errc::not_found
// when there is nothing.
result<std::vector<std::string>> set_certificates_aside(const std::string& data_dir,
                                                        std::span<const std::string> services, wall_time now);

}  // namespace kedge::cli::commands
