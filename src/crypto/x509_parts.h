// x509_parts.h: names, SANs and times of X.509 structures to and from our values; shared by certificates and requests.
// Private to this folder.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/time.h"
#include "crypto/certificate.h"
#include "crypto/openssl.h"

namespace kedge::crypto::ossl {

subject read_subject(const X509_NAME* name);
// O values share one RDN, then CN: the order and grouping that Go writes.
result<x509_name> make_name(std::string_view common_name, const std::vector<std::string>& organizations);

// The attributes that Go's pkix.Name has, in the order and grouping that it writes; others are dropped.
result<x509_name> standard_name(const X509_NAME* name);

struct alternative_names {
  std::vector<std::string> dns_names;
  std::vector<std::string> addresses;
  std::vector<std::string> emails;
  std::vector<std::string> uris;
};
alternative_names read_names(const GENERAL_NAMES* names);
// errc::invalid for an address that isn't one.
result<general_names> make_names(const alternative_names& wanted);

result<wall_time> read_time(const ASN1_TIME* time);
bool set_time(ASN1_TIME* time, wall_time t);  // to the second

// An address in inet_ntop's form, so that texts compare; nullopt when it is none.
std::optional<std::string> canonical_address(std::string_view text);

}  // namespace kedge::crypto::ossl
