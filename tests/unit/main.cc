// The main function of unit tests and simulations: doctest's, with skipping (support/skipped.h).
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <cstdio>

#include "support/skipped.h"

namespace {

constexpr int skipped_code = 77;
int skipped = 0;

}  // namespace

void kedge::tests::skip(std::string_view why) {
  ++skipped;
  MESSAGE("skipped: " << std::string(why));
}

int main(int argc, char** argv) {
  doctest::Context context(argc, argv);
  const int code = context.run();
  if (code != 0 || context.shouldExit() || skipped == 0) return code;
  std::printf("%d of the test cases can't run here\n", skipped);
  return skipped_code;
}
