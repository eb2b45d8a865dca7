// token_fuzz.cc: join tokens, passwd and stored hashes: whatever is accepted must survive being written and read again.
#include <span>

#include "crypto/bootstrap_record.h"
#include "crypto/passwd.h"
#include "crypto/token.h"

#include "base/assert.h"
#include "base/bytes.h"

using namespace kedge;
using namespace kedge::crypto;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  auto text = as_text(std::as_bytes(std::span(data, size)));
  if (auto t = parse_token(text)) {
    kedge_assert(parse_token(t->format()).value() == *t);
    kedge_assert(t->bearer.empty() || (t->password.empty() && is_bootstrap_token(t->bearer)));
  }
  (void)normalize_token(text);
  if (auto p = passwd::parse(text)) {
    auto again = passwd::parse(p->write());
    kedge_assert(again && again->entries() == p->entries());
  }
  if (auto f = parse_bootstrap_files(text))
    kedge_assert(parse_bootstrap_files(write_bootstrap_files(*f)).value() == *f);
  return 0;
}
