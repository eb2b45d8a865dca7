// source.h: what a restore reads, whoever wrote it: a snapshot of Kedge's (reader.h) or of etcd's (etcd_snapshot.h).
// Blocking, one thread at a time.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "backup/format.h"

namespace kedge::backup {

class source {
 public:
  virtual ~source() = default;
  virtual const header& about() const noexcept = 0;
  virtual std::uint64_t bytes() const noexcept = 0;
  // The next block's records; nullopt at the end. errc::corrupt: this block is damaged; may be called again, and goes
  // on behind it while ends() is false.
  virtual result<std::optional<std::vector<record>>> next() = 0;
  // Nothing can be read any more: the end, or damage that hides where the next block begins.
  virtual bool ends() const noexcept = 0;
};

// Of a whole cluster, sealed by `password`, the token's. errc::unauthenticated: by another one; errc::invalid: it is
// nothing of the kind. `partial`: what is said to be damaged is opened all the same.
result<std::unique_ptr<source>> open_source(const std::string& path, std::string_view password, bool partial);

}  // namespace kedge::backup
