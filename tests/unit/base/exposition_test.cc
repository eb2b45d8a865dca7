#include "base/exposition.h"

#include <doctest/doctest.h>

namespace kedge {

TEST_CASE("exposition: families, samples and histograms in Prometheus' text") {
  exposition out;
  out.family("a_total", "counter", "As.");
  out.family("b", "gauge", "Bs.");
  out.sample("", 1.5);
  out.sample(label_text({{"x", "a\"b\\c\nd"}, {"y", ""}}), 3, wall_time(std::chrono::milliseconds(12)));
  histogram h;
  h.observe(std::chrono::milliseconds(7));
  h.observe(std::chrono::seconds(100));
  out.family("t_seconds", "histogram", "Ts.");
  h.write(out, "z=\"1\"");
  auto text = out.take();
  CHECK(text.starts_with("# HELP b Bs.\n# TYPE b gauge\nb 1.5\nb{x=\"a\\\"b\\\\c\\nd\",y=\"\"} 3 12\n"));
  CHECK(text.contains("\nt_seconds_bucket{z=\"1\",le=\"0.005\"} 0\n"));
  CHECK(text.contains("\nt_seconds_bucket{z=\"1\",le=\"0.01\"} 1\n"));
  CHECK(text.contains("\nt_seconds_bucket{z=\"1\",le=\"10\"} 1\n"));
  CHECK(text.contains("\nt_seconds_bucket{z=\"1\",le=\"+Inf\"} 2\n"));
  CHECK(text.contains("\nt_seconds_count{z=\"1\"} 2\n"));
}

}  // namespace kedge
