// indexes.h: sets of completion indexes as a Job's status writes them: "1,3-5,7". Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace kedge::control {

class index_set {
 public:
  // Of what can be read; nothing from `end` on.
  static index_set parse(std::string_view text, std::int64_t end);
  void add(std::int64_t index) { add({index, index}); }
  void add(const index_set& other);
  bool has(std::int64_t index) const noexcept;
  std::int64_t count() const noexcept;
  std::int64_t in_common(const index_set& other) const noexcept;
  bool empty() const noexcept { return runs_.empty(); }
  // The first `most` below `end` that aren't there.
  std::vector<std::int64_t> missing(std::int64_t end, std::size_t most) const;
  std::string text() const;
  friend bool operator==(const index_set&, const index_set&) = default;

 private:
  struct run {
    std::int64_t first, last;
    friend bool operator==(const run&, const run&) = default;
  };
  void add(run r);
  std::vector<run> runs_;  // in order, never touching each other
};

}  // namespace kedge::control
