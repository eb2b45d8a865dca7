// trust.cc: whether a chain leads to an anchor.
#include "base/strings.h"
#include "crypto/certificate.h"
#include "crypto/openssl.h"
#include "crypto/x509_parts.h"

namespace kedge::crypto {

namespace {

struct check {
  int purpose = 0;        // X509_PURPOSE_*, 0 for none
  std::string_view name;  // a SAN that must be there; empty for none
  wall_time now;
};

ossl::certificate_stack stack_of(std::span<const certificate> certificates) {
  ossl::certificate_stack stack(sk_X509_new_null());
  for (auto& one : certificates)
    if (stack) sk_X509_push(stack.get(), one.native());
  return stack;
}

// What may lead from a certificate to an anchor. A root among it never does: one that is trusted is an anchor. It can
// hide its cross-signed twin, which would: OpenSSL tries one of several issuers only, Go all (K3s's rotated CAs have
// both in the bundle).
ossl::certificate_stack intermediates_of(std::span<const certificate> certificates) {
  ossl::certificate_stack stack(sk_X509_new_null());
  for (auto& one : certificates)
    if (stack && X509_self_signed(one.native(), 0) != 1) sk_X509_push(stack.get(), one.native());
  return stack;
}

bool is_time_error(int code) { return code == X509_V_ERR_CERT_HAS_EXPIRED || code == X509_V_ERR_CERT_NOT_YET_VALID; }

bool set_name(X509_VERIFY_PARAM* param, std::string_view name) {
  if (name.empty()) return true;
  if (ossl::canonical_address(name)) return X509_VERIFY_PARAM_set1_ip_asc(param, std::string(name).c_str()) == 1;
  // Only SANs count, as in Go: a CN is no host name.
  X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
  return X509_VERIFY_PARAM_set1_host(param, name.data(), name.size()) == 1;
}

result<void> verify(X509_STORE_CTX* context, const check& c) {
  auto* param = X509_STORE_CTX_get0_param(context);
  X509_VERIFY_PARAM_set_time(
      param, static_cast<time_t>(std::chrono::floor<std::chrono::seconds>(c.now).time_since_epoch().count()));
  // Any anchor ends the chain, an intermediate too: that is how Go treats its pools.
  X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_PARTIAL_CHAIN);
  if (c.purpose) X509_VERIFY_PARAM_set_purpose(param, c.purpose);
  if (!set_name(param, c.name)) return fail(ossl::last_error(errc::invalid, "can't verify the name " + quote(c.name)));
  if (X509_verify_cert(context) == 1) return {};
  int code = X509_STORE_CTX_get_error(context);
  (void)ossl::last_error(errc::internal, {});  // empties the queue
  return fail(is_time_error(code) ? errc::expired : errc::unauthenticated, X509_verify_cert_error_string(code));
}

result<void> verify_chain(X509_STORE* store, std::span<const certificate> chain, const check& c) {
  if (chain.empty()) return fail(errc::unauthenticated, "no certificate was presented");
  auto others = intermediates_of(chain.subspan(1));
  ossl::x509_store_context context(X509_STORE_CTX_new());
  if (!others || !context || !X509_STORE_CTX_init(context.get(), store, chain.front().native(), others.get()))
    return fail(ossl::last_error(errc::internal, "prepare to verify a certificate"));
  auto done = verify(context.get(), c);
  if (!done) return fail(std::move(done).error().with("certificate " + quote(chain.front().subject().user) + ": "));
  return done;
}

}  // namespace

result<trust> trust::from_bundle(std::span<const certificate> anchors) {
  std::shared_ptr<X509_STORE> store(X509_STORE_new(), X509_STORE_free);
  for (auto& anchor : anchors)
    if (!store || !X509_STORE_add_cert(store.get(), anchor.native()))
      return fail(ossl::last_error(errc::internal, "add a trust anchor"));
  return trust(std::move(store));
}

result<void> trust::verify_client(std::span<const certificate> chain, wall_time now) const {
  return verify_chain(store_.get(), chain, {X509_PURPOSE_SSL_CLIENT, {}, now});
}

result<void> trust::verify_server(std::span<const certificate> chain, std::string_view name, wall_time now) const {
  if (name.empty()) return fail(errc::invalid, "a server's name is needed to verify it");
  return verify_chain(store_.get(), chain, {X509_PURPOSE_SSL_SERVER, name, now});
}

bool leads_to(std::span<const certificate> bundle, std::span<const certificate> anchors, wall_time now) {
  if (bundle.empty()) return false;
  auto trusted = trust::from_bundle(anchors);
  return trusted && verify_chain(trusted->native(), bundle, {0, {}, now}).has_value();
}

std::optional<certificate> root_of(std::span<const certificate> bundle, wall_time now) {
  if (bundle.size() < 2) return std::nullopt;
  std::vector<certificate> roots, intermediates;
  for (auto& one : bundle.subspan(1)) {
    bool root = one.authority_key_id().empty() || one.authority_key_id() == one.subject_key_id();
    (root ? roots : intermediates).push_back(one);
  }
  auto anchors = trust::from_bundle(roots);
  if (!anchors) return std::nullopt;
  auto others = stack_of(intermediates);
  ossl::x509_store_context context(X509_STORE_CTX_new());
  if (!others || !context ||
      !X509_STORE_CTX_init(context.get(), anchors->native(), bundle.front().native(), others.get()))
    return std::nullopt;
  // No purpose: OpenSSL's "server" one asks a leaf's key usage, which a CA at the front need not have. Extended key
  // usages are looked at here instead, as Go nests them along the chain.
  if (!verify(context.get(), {0, {}, now})) return std::nullopt;
  auto* chain = X509_STORE_CTX_get0_chain(context.get());
  std::optional<certificate> last;
  for (int i = 0; i < sk_X509_num(chain); ++i) {
    auto one = certificate::from_der(as_bytes(ossl::to_der(i2d_X509, sk_X509_value(chain, i))));
    if (!one || !one->for_server()) return std::nullopt;
    last = std::move(*one);
  }
  return last;
}

}  // namespace kedge::crypto
