// request.h: PKCS#10 certificate requests, of agents (raw DER) and of the CSR API (PEM).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/error.h"
#include "crypto/certificate.h"
#include "crypto/key.h"

namespace kedge::crypto {

struct certificate_request {
  crypto::subject subject;
  std::vector<std::string> dns_names;
  std::vector<std::string> addresses;  // in inet_ntop's form
  std::vector<std::string> emails;
  std::vector<std::string> uris;
  public_key key;
};

// The public key of an agent's request. K3s uses nothing else of it: neither subject nor extensions nor signature are
// looked at, since who asks is known from the credentials. errc::invalid: not PKCS#10 (an old agent without a body).
result<public_key> public_key_of_request(bytes der);

// spec.request of a CertificateSigningRequest: one "CERTIFICATE REQUEST" block whose signature is checked (proof that
// the requester holds the key), with its subject and names.
result<certificate_request> parse_request(std::string_view pem);

// A request in DER. Agents leave the subject empty; kubelets that go through the CSR API name themselves.
struct request_options {
  std::string common_name;
  std::vector<std::string> organizations;
  std::vector<std::string> dns_names;
  std::vector<std::string> addresses;
};
result<std::string> make_request(const private_key& key, const request_options& options = {});
std::string request_pem(bytes der);

}  // namespace kedge::crypto
