// gzip.h: compression in pieces (zlib level 1, as kube-apiserver), so that a loop's turn stays short.
#pragma once

#include <memory>
#include <string>

#include "base/bytes.h"
#include "base/error.h"

namespace kedge::api {

class gzip_writer {
 public:
  gzip_writer();
  ~gzip_writer();
  gzip_writer(const gzip_writer&) = delete;
  gzip_writer& operator=(const gzip_writer&) = delete;
  // Compresses `piece`; appends what is ready to `out`. `last` ends the stream.
  result<void> add(std::string_view piece, bool last, std::string& out);

 private:
  struct state;
  std::unique_ptr<state> state_;
};

}  // namespace kedge::api
