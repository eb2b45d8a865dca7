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
  std::string subject_der;  // the whole subject as a certificate gets it: Go's attributes in Go's order, others dropped
};

// The public key of an agent's request. K3s uses nothing else of it: neither subject nor extensions nor signature are
// looked at, since who asks is known from the credentials. errc::invalid: not PKCS#10 (an old agent without a body).
result<public_key> public_key_of_request(bytes der);

// spec.request of a CertificateSigningRequest: one "CERTIFICATE REQUEST" block whose signature is checked (proof that
// the requester holds the key), with its subject and names.
result<certificate_request> parse_request(std::string_view pem);

// What a signer of the CSR API gives, whatever else was asked for.
struct signing_terms {
  bool client = false, server = false;  // EKU
  bool digital_signature = false, key_encipherment = false;
  duration lifetime = leaf_lifetime;
};

// The request's subject, names and key, signed as kube-controller-manager does: from five minutes before now, so that a
// holder who renews after a part of the lifetime counts from then, and no longer than the authority. errc::expired: the
// authority has ended.
result<certificate> sign_request(const authority& ca, const certificate_request& request, const signing_terms& terms,
                                 wall_time now, random_source& random);

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
