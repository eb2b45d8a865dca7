#include "api/answer/gzip.h"

#include <zlib.h>

namespace kedge::api {

struct gzip_writer::state {
  z_stream z{};
  bool ready = false;
};

gzip_writer::gzip_writer() : state_(std::make_unique<state>()) {
  constexpr int gzip_format = 16;
  state_->ready = deflateInit2(&state_->z, 1, Z_DEFLATED, 15 + gzip_format, 8, Z_DEFAULT_STRATEGY) == Z_OK;
}

gzip_writer::~gzip_writer() {
  if (state_->ready) deflateEnd(&state_->z);
}

result<void> gzip_writer::add(std::string_view piece, bool last, std::string& out) {
  if (!state_->ready) return fail(errc::internal, "zlib can't start");
  auto& z = state_->z;
  z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(piece.data()));
  z.avail_in = static_cast<uInt>(piece.size());
  char buffer[16 * 1024];
  for (;;) {
    z.next_out = reinterpret_cast<Bytef*>(buffer);
    z.avail_out = sizeof buffer;
    auto code = deflate(&z, last ? Z_FINISH : Z_NO_FLUSH);
    if (code == Z_STREAM_ERROR) return fail(errc::internal, "zlib failed");
    out.append(buffer, sizeof buffer - z.avail_out);
    if (last ? code == Z_STREAM_END : z.avail_out != 0) return {};
  }
}

}  // namespace kedge::api
