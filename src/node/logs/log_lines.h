// log_lines.h: a container's log as CRI writes it ("2026-11-30T03:05:56.123456789Z stdout F text"), as people read it.
// Sans-I/O.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/time.h"

namespace kedge::node {

struct log_options {
  bool follow = false, previous = false, timestamps = false;
  std::optional<std::int64_t> tail_lines;
  std::optional<std::uint64_t> limit_bytes;
  std::optional<wall_time> since;
  std::string stream = "All";  // Stdout, Stderr

  // Of a query that the API server makes. errc::invalid for what can't be.
  static result<log_options> parse(std::string_view query, wall_time now);
};

// Bytes of a file in, text out.
class log_reader {
 public:
  explicit log_reader(log_options o) : options_(std::move(o)), left_(options_.limit_bytes) {}

  // Appends to `out` what the whole lines so far give.
  void feed(std::string_view piece, std::string& out);
  // Whether limitBytes is reached: nothing more comes.
  bool is_full() const { return left_ && *left_ == 0; }
  // Begins at another file's first line.
  void restart() { held_.clear(); }

 private:
  void line(std::string_view text, std::string& out);
  void put(std::string_view text, std::string& out);

  log_options options_;
  std::optional<std::uint64_t> left_;
  std::string held_;
  bool too_long_ = false;  // a line without end: dropped up to its end
  bool partial_ = false;   // what came last goes on in the next line
};

// The last `lines` lines of a log's text as people read them, and of that no more than the last `bytes`.
std::string end_of_log(std::string_view text, std::int64_t lines, std::size_t bytes);

// How many bytes before the end of `text` its last `lines` lines begin; nullopt: there are not that many.
std::optional<std::size_t> tail_bytes(std::string_view text, std::int64_t lines);

}  // namespace kedge::node
