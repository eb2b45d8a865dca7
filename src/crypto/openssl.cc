#include "crypto/openssl.h"

#include <openssl/err.h>

namespace kedge::crypto::ossl {

error last_error(errc code, std::string_view context) {
  std::string text(context);
  if (auto number = ERR_peek_last_error()) {
    char reason[256];
    ERR_error_string_n(number, reason, sizeof reason);
    text += ": ";
    // "error:0D0680A8:asn1 encoding routines:…:wrong tag": the reason is what a person can use.
    std::string_view all = reason;
    text += all.substr(all.find_last_of(':') + 1);
  }
  ERR_clear_error();
  return {code, std::move(text)};
}

}  // namespace kedge::crypto::ossl
