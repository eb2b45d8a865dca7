#include "base/random.h"

#include <sys/random.h>

#include <cstring>
#include <span>

#include "base/assert.h"
#include "base/strings.h"

namespace kedge {

namespace {

class os_random final : public random_source {
  // Names and ids need a few bytes each: one system call fills 512 of them.
  void fill(mutable_bytes out) override {
    if (out.size() > sizeof pool_) return fetch(out.data(), out.size());
    if (out.size() > left_) {
      fetch(pool_, sizeof pool_);
      left_ = sizeof pool_;
    }
    auto* from = pool_ + sizeof pool_ - left_;
    std::memcpy(out.data(), from, out.size());
    std::memset(from, 0, out.size());  // handed out once only
    left_ -= out.size();
  }
  static void fetch(std::byte* to, std::size_t n) {
    while (n) {
      auto got = getrandom(to, n, 0);
      kedge_assert(got > 0);
      to += got;
      n -= static_cast<std::size_t>(got);
    }
  }
  std::byte pool_[512];
  std::size_t left_ = 0;
};

std::uint64_t rotl(std::uint64_t x, int k) { return x << k | x >> (64 - k); }

}  // namespace

std::uint64_t random_source::next() {
  std::uint64_t v;
  fill({reinterpret_cast<std::byte*>(&v), sizeof v});
  return v;
}

std::uint64_t random_source::below(std::uint64_t bound) {
  kedge_assert(bound > 0);
  std::uint64_t limit = -bound % bound;  // reject the incomplete last range
  for (;;)
    if (auto v = next(); v >= limit) return v % bound;
}

std::string random_source::hex_text(std::size_t n) {
  std::string raw(n, '\0');
  fill({reinterpret_cast<std::byte*>(raw.data()), raw.size()});
  return hex(as_bytes(raw));
}

std::string random_source::uuid() {
  static constexpr char digits[] = "0123456789abcdef";
  unsigned char raw[16];
  fill(std::as_writable_bytes(std::span(raw)));
  raw[6] = static_cast<unsigned char>(0x40 | (raw[6] & 0x0f));  // version 4
  raw[8] = static_cast<unsigned char>(0x80 | (raw[8] & 0x3f));  // RFC 9562's variant
  std::string out(36, '-');
  std::size_t at = 0;
  for (std::size_t i = 0; i < sizeof raw; ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) ++at;
    out[at++] = digits[raw[i] >> 4];
    out[at++] = digits[raw[i] & 15];
  }
  return out;
}

std::string random_source::name_suffix(std::size_t length) {
  static constexpr std::string_view alphabet = "bcdfghjklmnpqrstvwxz2456789";
  std::string out;
  while (out.size() < length) out += alphabet[below(alphabet.size())];
  return out;
}

random_source& system_random() {
  thread_local os_random source;
  return source;
}

seeded_random::seeded_random(std::uint64_t seed) {
  for (auto& s : state_) {  // splitmix64
    seed += 0x9e3779b97f4a7c15;
    auto z = seed;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    s = z ^ z >> 31;
  }
}

std::uint64_t seeded_random::step() {
  auto out = rotl(state_[1] * 5, 7) * 9;
  auto t = state_[1] << 17;
  state_[2] ^= state_[0];
  state_[3] ^= state_[1];
  state_[1] ^= state_[2];
  state_[0] ^= state_[3];
  state_[2] ^= t;
  state_[3] = rotl(state_[3], 45);
  return out;
}

void seeded_random::fill(mutable_bytes out) {
  while (!out.empty()) {
    auto v = step();
    auto n = out.size() < sizeof v ? out.size() : sizeof v;
    std::memcpy(out.data(), &v, n);
    out = out.subspan(n);
  }
}

}  // namespace kedge
