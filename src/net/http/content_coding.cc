#include "net/http/content_coding.h"

#include <zlib.h>

#include "base/strings.h"

namespace kedge::net::http {

namespace {

constexpr std::size_t step_bytes = 64 * 1024;

class plain_decoder final : public content_decoder {
 public:
  result<void> next(bytes& piece, std::string& out) override {
    out += as_text(piece);
    piece = {};
    return {};
  }
  bool complete() const noexcept override { return true; }
};

class zlib_decoder final : public content_decoder {
 public:
  explicit zlib_decoder(bool gzip) : gzip_(gzip) {}
  ~zlib_decoder() override {
    if (ready_) inflateEnd(&z_);
  }
  zlib_decoder(const zlib_decoder&) = delete;
  zlib_decoder& operator=(const zlib_decoder&) = delete;

  result<void> next(bytes& piece, std::string& out) override {
    if (piece.empty() && !ready_) return {};
    if (!ready_) KEDGE_CHECK(begin(piece));
    if (ended_) {  // what follows a body's end is nothing
      piece = {};
      return {};
    }
    z_.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(piece.data()));
    z_.avail_in = static_cast<uInt>(piece.size());
    const auto before = out.size();
    out.resize(before + step_bytes);
    z_.next_out = reinterpret_cast<Bytef*>(out.data() + before);
    z_.avail_out = step_bytes;
    const int code = inflate(&z_, Z_NO_FLUSH);
    out.resize(before + step_bytes - z_.avail_out);
    piece = piece.last(z_.avail_in);
    ended_ = code == Z_STREAM_END;
    if (ended_ || code == Z_OK || code == Z_BUF_ERROR) return {};
    return fail(errc::protocol, std::string("a compressed body is damaged: ") + (z_.msg ? z_.msg : "zlib"));
  }
  bool complete() const noexcept override { return ended_ || !ready_; }

 private:
  // zlib's frame begins with 0x.8, and its first two bytes are a multiple of 31.
  result<void> begin(bytes first) {
    const auto at = [&](std::size_t i) { return i < first.size() ? std::to_integer<unsigned>(first[i]) : 0u; };
    const bool framed = (at(0) & 0x0f) == 8 && (first.size() < 2 || (at(0) << 8 | at(1)) % 31 == 0);
    const int format = gzip_ ? MAX_WBITS + 16 : framed ? MAX_WBITS : -MAX_WBITS;
    if (inflateInit2(&z_, format) != Z_OK) return fail(errc::internal, "zlib can't start");
    ready_ = true;
    return {};
  }

  const bool gzip_;
  z_stream z_{};
  bool ready_ = false, ended_ = false;
};

}  // namespace

std::unique_ptr<content_decoder> content_decoder::make(std::string_view coding) {
  coding = trim(coding);
  if (coding.empty() || iequals(coding, "identity")) return std::make_unique<plain_decoder>();
  if (iequals(coding, "gzip") || iequals(coding, "x-gzip")) return std::make_unique<zlib_decoder>(true);
  if (iequals(coding, "deflate")) return std::make_unique<zlib_decoder>(false);
  return nullptr;
}

}  // namespace kedge::net::http
