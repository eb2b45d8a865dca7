// certificates.h: the certificates of this machine, of a server and of an agent, in K3s's files: whose they are and
// until when. Blocking.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/time.h"
#include "crypto/certificate.h"

namespace kedge::node {

struct certificate_file {
  std::string_view service;  // K3s's name for what uses it: admin, kubelet …
  std::string_view stem;     // below the data directory, without .crt or .key
};
std::span<const certificate_file> certificate_files();

std::string subject_text(const crypto::subject& s);     // CN=…,O=…
std::string usages_text(const crypto::certificate& c);  // ClientAuth,ServerAuth; CertSign for a CA
// OK, WARNING (ends within 120 days), EXPIRED, NOT YET VALID.
std::string_view status_of(const crypto::certificate& c, wall_time now);

// What K3s's monitor says twice an hour.
struct certificate_report {
  std::vector<std::string> leaves, authorities;  // that end soon or have ended, in K3s's words
  std::string metrics;                           // k3s_certificate_expiration_seconds, in Prometheus' text
};
certificate_report report_certificates(const std::string& data_dir, wall_time now);

// Why the agent's own certificates are to be asked for again; empty: they aren't. One is missing (somebody set it
// aside), can't be read, or ends within the renewal window.
struct renewal_reason {
  std::string text;      // empty: there is none
  bool missing = false;  // the file isn't there, or can't be read
};
renewal_reason reason_to_ask_again(const std::string& data_dir, wall_time now);

}  // namespace kedge::node
