// bolt.h: etcd's database file for tests, as go.etcd.io/bbolt writes it: pages at wish, and the two meta pages.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace bolt {

constexpr std::size_t page_bytes = 4096;

struct entry {
  std::string key, value;
  bool bucket = false;
};

inline std::string number(std::uint64_t n, std::size_t bytes) {
  return std::string(reinterpret_cast<const char*>(&n), bytes);
}

inline std::string header(unsigned flags, std::size_t count) {
  return number(0, 8) + number(flags, 2) + number(count, 2) + number(0, 4);
}

inline std::string leaf(const std::vector<entry>& all) {
  auto out = header(2, all.size());
  std::string text;
  for (std::size_t i = 0; i < all.size(); ++i) {
    out += number(all[i].bucket, 4) + number((all.size() - i) * 16 + text.size(), 4) + number(all[i].key.size(), 4) +
           number(all[i].value.size(), 4);
    text += all[i].key + all[i].value;
  }
  return out + text;
}

// Of the first keys and the pages of its children.
inline std::string branch(const std::vector<std::pair<std::string, std::uint64_t>>& all) {
  auto out = header(1, all.size());
  std::string text;
  for (std::size_t i = 0; i < all.size(); ++i) {
    out += number((all.size() - i) * 16 + text.size(), 4) + number(all[i].first.size(), 4) + number(all[i].second, 8);
    text += all[i].first;
  }
  return out + text;
}

inline entry bucket_at(std::string name, std::uint64_t page) {
  return {std::move(name), number(page, 8) + number(0, 8), true};
}
inline entry bucket_of(std::string name, const std::vector<entry>& all) {
  return {std::move(name), std::string(16, '\0') + leaf(all), true};
}

inline std::string meta(std::uint64_t root, std::uint64_t transaction) {
  auto text = number(0xED0CDAED, 4) + number(2, 4) + number(page_bytes, 4) + number(0, 4) + number(root, 8) +
              number(0, 8) + number(0, 8) + number(0, 8) + number(transaction, 8);
  std::uint64_t sum = 0xcbf29ce484222325;
  for (unsigned char c : text) sum = (sum ^ c) * 0x100000001b3;
  return header(4, 0) + text + number(sum, 8);
}

// Pages from 0 on, each filled up.
inline std::string file(const std::vector<std::string>& pages) {
  std::string out;
  for (auto& p : pages) out += p + std::string(page_bytes - p.size(), '\0');
  return out;
}

}  // namespace bolt
