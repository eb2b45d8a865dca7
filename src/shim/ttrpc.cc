#include "shim/ttrpc.h"

#include <algorithm>

#include "base/bytes.h"
#include "base/protobuf_wire.h"
#include "shim/limits.h"

namespace kedge::shim::ttrpc {

std::optional<frame> frame_reader::read(std::string_view& in) {
  if (header_.size() < header_bytes) {
    auto take = std::min(header_bytes - header_.size(), in.size());
    header_ += in.substr(0, take);
    in.remove_prefix(take);
    if (header_.size() < header_bytes) return {};
    auto* p = as_bytes(header_).data();
    length_ = load_be32(p);
    now_ = {.stream = load_be32(p + 4),
            .type = static_cast<frame_type>(p[8]),
            .flags = static_cast<unsigned char>(p[9]),
            .oversized = length_ > message_bytes_max};
    skipped_ = 0;
  }
  if (now_.oversized) {
    auto take = std::min<std::size_t>(length_ - skipped_, in.size());
    skipped_ += static_cast<std::uint32_t>(take);
    in.remove_prefix(take);
    if (skipped_ < length_) return {};
  } else {
    auto take = std::min<std::size_t>(length_ - now_.data.size(), in.size());
    now_.data += in.substr(0, take);
    in.remove_prefix(take);
    if (now_.data.size() < length_) return {};
  }
  header_.clear();
  return std::exchange(now_, {});
}

std::string encode(std::uint32_t stream, frame_type type, std::string_view data) {
  std::string out;
  out.reserve(header_bytes + data.size());
  append_be32(out, static_cast<std::uint32_t>(data.size()));
  append_be32(out, stream);
  out += static_cast<char>(type);
  out += '\0';
  out += data;
  return out;
}

// Request: service 1, method 2, payload 3, timeout_nano 4, metadata 5.
result<request> decode_request(std::string_view data) {
  request r;
  wire::fields in(data);
  while (in.next()) switch (in.field()) {
      case 1: r.service = in.bytes(); break;
      case 2: r.method = in.bytes(); break;
      case 3: r.payload = in.bytes(); break;
      case 4: r.timeout_ns = static_cast<std::int64_t>(in.number()); break;
      default: break;
    }
  if (!in.ok()) return fail(errc::invalid, "unmarshal request error: malformed");
  return r;
}

std::string encode_request(const request& r) {
  return wire::writer()
      .text(1, r.service)
      .text(2, r.method)
      .text(3, r.payload)
      .number(4, static_cast<std::uint64_t>(r.timeout_ns))
      .take();
}

namespace {

// gRPC's numbers; what a runtime says without a kind of its own is "unknown", as the Go shim has it.
struct pair {
  errc ours;
  unsigned grpc;
};
constexpr pair codes[] = {
    {errc::cancelled, 1}, {errc::invalid, 3},   {errc::timeout, 4},  {errc::not_found, 5},    {errc::already_exists, 6},
    {errc::too_large, 8}, {errc::exhausted, 8}, {errc::conflict, 9}, {errc::unsupported, 12}, {errc::unavailable, 14},
};
constexpr unsigned unknown = 2;

}  // namespace

// Response: status 1, payload 2. Status: code 1, message 2.
std::string encode_response(std::uint32_t stream, const result<std::string>& answer) {
  wire::writer out;
  if (answer) {
    out.text(2, *answer);
  } else {
    auto known = std::ranges::find(codes, answer.error().code, &pair::ours);
    out.message(1, wire::writer()
                       .number(1, known == std::end(codes) ? unknown : known->grpc)
                       .text(2, answer.error().message)
                       .take());
  }
  return encode(stream, frame_type::response, out.take());
}

result<std::string> decode_response(std::string_view data) {
  std::string payload, message;
  std::uint64_t code = 0;
  wire::fields in(data);
  while (in.next()) switch (in.field()) {
      case 1: {
        wire::fields status(in.bytes());
        while (status.next()) {
          if (status.field() == 1) code = status.number();
          if (status.field() == 2) message = status.bytes();
        }
        if (!status.ok()) return fail(errc::protocol, "a malformed status");
        break;
      }
      case 2: payload = in.bytes(); break;
      default: break;
    }
  if (!in.ok()) return fail(errc::protocol, "a malformed answer");
  if (code == 0) return payload;
  auto known = std::ranges::find(codes, code, &pair::grpc);
  return fail(known == std::end(codes) ? errc::internal : known->ours, message);
}

}  // namespace kedge::shim::ttrpc
