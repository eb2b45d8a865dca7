// tar.h: the entries of a tar archive (POSIX ustar and pax, GNU long names), from bytes as they come. Sans-I/O.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"

namespace kedge::node {

struct tar_entry {
  std::string name;  // as it stands there: a reader never makes a path of it
  std::string link;  // of a link: what it names
  std::uint64_t size = 0;
  bool is_file = false;
};

// Told of what is found, in the archive's order.
class tar_sink {
 public:
  virtual ~tar_sink() = default;
  virtual result<void> begin(const tar_entry& e) = 0;
  virtual result<void> data(std::string_view piece) = 0;  // of the entry that began last
  virtual result<void> end() = 0;                         // of it
};

class tar_reader {
 public:
  explicit tar_reader(tar_sink& sink) : sink_(sink) {}
  // errc::invalid: it is no tar archive; or what the sink says.
  result<void> feed(std::string_view bytes);
  // After the last byte: fails when something is missing.
  result<void> finish() const;

 private:
  result<void> header(std::string_view block);
  result<void> meta_ended();

  enum class kind : unsigned char { entry, ignored, pax, long_name, long_link };
  tar_sink& sink_;
  std::string held_;           // less than a block
  std::uint64_t left_ = 0;     // of the current entry's bytes
  std::uint64_t padding_ = 0;  // behind them
  kind kind_ = kind::ignored;
  std::string meta_;         // of pax and long names
  std::string name_, link_;  // for the next entry
  std::uint64_t size_ = 0;
  bool has_size_ = false, at_end_ = false, any_ = false;
};

}  // namespace kedge::node
