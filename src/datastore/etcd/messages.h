// messages.h: the messages of etcd's API v3 (etcdserverpb/rpc.proto, mvccpb/kv.proto) that the log sends and reads, by
// the numbers of their published definitions. Pure; what comes is untrusted.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace kedge::datastore::etcd {

namespace method {
inline constexpr const char* range = "/etcdserverpb.KV/Range";
inline constexpr const char* txn = "/etcdserverpb.KV/Txn";
inline constexpr const char* compact = "/etcdserverpb.KV/Compact";
inline constexpr const char* watch = "/etcdserverpb.Watch/Watch";
inline constexpr const char* lease_grant = "/etcdserverpb.Lease/LeaseGrant";
inline constexpr const char* authenticate = "/etcdserverpb.Auth/Authenticate";
inline constexpr const char* status = "/etcdserverpb.Maintenance/Status";
}  // namespace method

struct header {
  std::uint64_t cluster = 0, member = 0, revision = 0, term = 0;
};

struct key_value {
  std::string key, value;
  std::uint64_t created = 0, modified = 0, version = 0, lease = 0;
};

// ---- what is asked

struct range_request {
  std::string key, end = {};  // end empty: the key alone; see end_of()
  std::uint64_t limit = 0, revision = 0;
  bool keys_only = false, count_only = false;
};
// The end of the range of all keys that begin with `prefix`; of an empty one, of all keys.
std::string end_of(std::string_view prefix);

// A condition: the key's newest change is of that revision; 0: it doesn't exist.
struct comparison {
  std::string_view key;
  std::uint64_t modified = 0;
};
// One change, if all hold; else what stands of `reads` (without values, unless `with_values`).
struct transaction {
  std::vector<comparison> when = {};
  enum class change : unsigned char { put, remove } what = change::put;
  std::string_view key, value = {};
  std::uint64_t lease = 0;
  std::vector<std::string_view> reads = {};
};

std::string encode(const range_request& r);
std::string encode(const transaction& t);
std::string encode_compaction(std::uint64_t revision);
std::string encode_lease_grant(std::uint64_t id, std::uint64_t seconds);
std::string encode_authenticate(std::string_view user, std::string_view password);
// A watch over all keys, with what each change replaced, large answers in parts.
std::string encode_watch_all(std::uint64_t first_revision);

// ---- what comes; each fails with errc::protocol when it is no such message

struct range_answer {
  header from;
  std::vector<key_value> found;
  bool more = false;
};
result<range_answer> decode_range(std::string_view message);

struct transaction_answer {
  header from;
  bool succeeded = false;
  std::vector<key_value> standing;  // of `reads`, those that exist
};
result<transaction_answer> decode_transaction(std::string_view message);

struct watch_event {
  bool removed = false;
  key_value now;     // of a removal key and revision alone
  key_value before;  // what it replaced
  bool has_before = false;
};
struct watch_answer {
  header from;
  bool created = false, cancelled = false, part = false;  // part: more of the same follows
  std::uint64_t compacted = 0;                            // of one that was cancelled, because it begins before that
  std::string reason;
  std::vector<watch_event> events;
};
result<watch_answer> decode_watch(std::string_view message);

struct status_answer {
  header from;
  std::string version;
  std::uint64_t bytes = 0, bytes_in_use = 0, leader = 0;
  std::uint64_t applied = 0;        // how far of the cluster's log this member is
  std::vector<std::string> errors;  // alarms too, in words: "memberID:… alarm:NOSPACE"
  bool learner = false;
};
result<status_answer> decode_status(std::string_view message);

result<std::string> decode_authenticate(std::string_view message);  // the token

// ---- leases tell their time to live by their number, so nobody has to ask for it

std::uint64_t lease_number(std::uint32_t seconds, std::uint32_t random);
// 0 of a lease that isn't of this making: its keys live until they are removed, by etcd.
std::uint32_t seconds_of_lease(std::uint64_t number);

}  // namespace kedge::datastore::etcd
