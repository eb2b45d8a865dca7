// content_coding.h: bodies as their Content-Encoding has them, decoded in pieces.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/error.h"

namespace kedge::net::http {

class content_decoder {
 public:
  // For "", "identity", "gzip" and "deflate" (as RFC 9110 has it, or without zlib's frame, as some send it). Null for
  // others.
  static std::unique_ptr<content_decoder> make(std::string_view coding);
  virtual ~content_decoder() = default;

  // Decodes from the front of `piece` and takes away what it used. Appends at most some 64 KiB to `out`, so that a
  // small piece that becomes a large body takes many calls. Nothing appended, and nothing left of `piece`: more is
  // needed.
  virtual result<void> next(bytes& piece, std::string& out) = 0;
  // Whether the body may end here.
  virtual bool complete() const noexcept = 0;
};

}  // namespace kedge::net::http
