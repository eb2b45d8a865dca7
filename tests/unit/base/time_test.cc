#include "base/time.h"

#include <doctest/doctest.h>

using namespace kedge;
using namespace std::chrono_literals;

TEST_CASE("RFC 3339 times round-trip at each of Kubernetes' precisions") {
  auto t = parse_rfc3339("2026-11-21T04:50:38.123456789Z").value();
  CHECK(format_rfc3339(t) == "2026-11-21T04:50:38Z");
  CHECK(format_rfc3339_micro(t) == "2026-11-21T04:50:38.123456Z");
  CHECK(format_rfc3339_nano(t) == "2026-11-21T04:50:38.123456789Z");
  CHECK(parse_rfc3339("2026-11-21T06:50:38+02:00").value() == parse_rfc3339("2026-11-21T04:50:38Z").value());
  for (auto bad : {"", "2026-11-21", "2026-13-21T04:50:38Z", "2026-11-21T04:50:38", "2026-11-21T04:50:38.Z",
                   "2026-02-30T00:00:00Z"})
    CHECK_FALSE(parse_rfc3339(bad));
}

TEST_CASE("durations read and print as Go's") {
  CHECK(parse_duration("1h30m").value() == 90min);
  CHECK(parse_duration("1.5s").value() == 1500ms);
  CHECK(parse_duration("250ms").value() == 250ms);
  CHECK(parse_duration("-5m").value() == -5min);
  for (auto bad : {"", "5", "h", "1x", "1h 5m"}) CHECK_FALSE(parse_duration(bad));
  CHECK(format_duration(90min) == "1h30m0s");
  CHECK(format_duration(1500ms) == "1.5s");
  CHECK(format_duration(0s) == "0s");
}
