// format.h: the bytes of a snapshot file (README.md), without I/O.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/random.h"
#include "base/time.h"

namespace kedge::backup {

inline constexpr std::string_view magic = "kedge-snapshot\n";
inline constexpr unsigned format_version = 1;

enum class block_kind : char { header = 'H', objects = 'O', end = 'E' };
inline constexpr std::size_t frame_head_bytes = 5, frame_sum_bytes = 32;

struct header {
  unsigned version = format_version;
  std::string kedge;  // the version of the program that wrote it
  wall_time created{};
  std::string cluster;    // the uid of its namespace kube-system
  std::string node;       // of the server that saved it
  std::string datastore;  // SQLite, PostgreSQL, MySQL, Redis: for people
  std::uint64_t revision = 0;
  std::uint64_t objects = 0;
  std::string token_id;    // which token seals it, and nothing of it
  std::string sealed_key;  // the file's key, sealed by the token's password
  // The cluster's record (crypto/bootstrap_record.h), as it stands in the datastore: CAs, tokens and keys, sealed by
  // the same. Here too, so that a file whose first blocks are lost is of use still.
  std::string identity;
};
std::string write_header(const header& h);
// errc::unsupported: a newer version; errc::corrupt for what is no header.
result<header> parse_header(std::string_view json);

struct totals {
  std::uint64_t objects = 0;
  std::uint64_t blocks = 0;  // of objects
};
// Always of end_payload_bytes.
std::string write_end(const totals& t);
result<totals> parse_end(std::string_view json);
inline constexpr std::size_t end_payload_bytes = 96;
inline constexpr std::size_t end_frame_bytes = frame_head_bytes + end_payload_bytes + frame_sum_bytes;

// The block with its head and its sum.
std::string frame(block_kind kind, std::string_view payload);
struct frame_head {
  block_kind kind = block_kind::end;
  std::size_t size = 0;  // of the payload
};
// Of frame_head_bytes. errc::corrupt: no kind that there is, or a size beyond all bounds.
result<frame_head> parse_head(std::string_view head);
bool sum_is_right(std::string_view head, std::string_view payload, std::string_view sum);

struct record {
  std::string key, value;
  std::uint32_t lease_seconds = 0;
  std::uint64_t at = 0;  // the revision that wrote it
};
void append_record(std::string& out, const record& r);
result<std::vector<record>> parse_records(std::string_view plain);

// The file's key: random; as it stands in the header, and back. errc::unauthenticated: another password.
inline constexpr std::size_t file_key_bytes = 32;
result<std::string> seal_key(std::string_view key, std::string_view password, random_source& random);
result<std::string> open_key(std::string_view sealed, std::string_view password);

// Records under the file's key. `number`: of the block, from 0; never twice with one key.
result<std::string> seal_block(std::string_view records, std::string_view key, std::uint64_t number);
result<std::string> open_block(std::string_view payload, std::string_view key, std::uint64_t number);

}  // namespace kedge::backup
