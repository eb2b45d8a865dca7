// usage_samples_fuzz.cc: what a node says that its pods use: read the same in pieces of any size, and what is told of
// two such answers is within what any machine can use.
#include <cstddef>
#include <cstdint>

#include "api/usage/limits.h"
#include "api/usage/usage.h"
#include "base/assert.h"

namespace {

using namespace kedge;

constexpr std::int64_t now_ms = 1'800'000'000'000;

result<api::node_sample> read(std::string_view text, std::size_t piece) {
  api::sample_reader r(now_ms);
  for (; text.size() > piece; text.remove_prefix(piece)) KEDGE_CHECK(r.feed(text.substr(0, piece)));
  KEDGE_CHECK(r.feed(text));
  return r.finish();
}

void check(const api::usage& u) {
  kedge_assert(u.nanocores <= api::usage_cores_max * 1'000'000'000);
  kedge_assert(u.window_ms > 0 && u.at_ms > 0);
}

bool same(const api::usage_point& a, const api::usage_point& b) {
  return a.at_ms == b.at_ms && a.started_ms == b.started_ms && a.cpu_nanoseconds == b.cpu_nanoseconds &&
         a.memory_bytes == b.memory_bytes && a.complete() == b.complete();
}

}  // namespace

// The first byte: how large the pieces are. Then two answers, which a line of its own ("--") divides.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  const auto middle = text.find("\n--\n");
  api::usage_record record;
  for (auto part : {text.substr(0, middle), middle == text.npos ? std::string_view() : text.substr(middle + 4)}) {
    auto whole = read(part, part.size() + 1), pieces = read(part, std::size_t(data[0]) + 1);
    kedge_assert(whole.has_value() == pieces.has_value());
    if (!whole) return 0;
    kedge_assert(same(whole->node, pieces->node) && whole->pods.size() == pieces->pods.size());
    for (auto& [pod, containers] : whole->pods) {
      auto& others = pieces->pods.at(pod);
      kedge_assert(containers.size() == others.size());
      for (auto& [name, point] : containers) kedge_assert(same(point, others.at(name)));
    }
    record.take(*std::move(whole));
  }
  const auto told = record.told();
  if (told.node) check(*told.node);
  for (auto& [pod, containers] : told.pods) {
    kedge_assert(!containers.empty());
    for (auto& [name, u] : containers) check(u);
    (void)api::pod_metrics("ns", "name", "", containers, wall_time(std::chrono::milliseconds(now_ms)));
  }
  return 0;
}
