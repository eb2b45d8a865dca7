#include "datastore/etcd/messages.h"

#include <utility>

#include "base/protobuf_wire.h"

namespace kedge::datastore::etcd {

namespace {

using wire::fields;
using wire::writer;

constexpr std::uint64_t lease_mark = 0x4b44;  // in the bits above the time to live
constexpr unsigned lease_seconds_bits = 24, lease_random_bits = 24;

std::unexpected<error> not_of(std::string_view what) {
  return fail(errc::protocol, "etcd's answer is no " + std::string(what));
}

bool read_header(std::string_view message, header& out) {
  fields m(message);
  while (m.next()) switch (m.field()) {
      case 1: out.cluster = m.number(); break;
      case 2: out.member = m.number(); break;
      case 3: out.revision = m.number(); break;
      case 4: out.term = m.number(); break;
      default: break;
    }
  return m.ok();
}

bool read_key_value(std::string_view message, key_value& out) {
  fields m(message);
  while (m.next()) switch (m.field()) {
      case 1: out.key = m.bytes(); break;
      case 2: out.created = m.number(); break;
      case 3: out.modified = m.number(); break;
      case 4: out.version = m.number(); break;
      case 5: out.value = m.bytes(); break;
      case 6: out.lease = m.number(); break;
      default: break;
    }
  return m.ok();
}

bool read_range(std::string_view message, range_answer& out) {
  fields m(message);
  while (m.next()) switch (m.field()) {
      case 1:
        if (!read_header(m.bytes(), out.from)) return false;
        break;
      case 2:
        if (!read_key_value(m.bytes(), out.found.emplace_back())) return false;
        break;
      case 3: out.more = m.number() != 0; break;
      default: break;
    }
  return m.ok();
}

bool read_event(std::string_view message, watch_event& out) {
  fields m(message);
  while (m.next()) switch (m.field()) {
      case 1: out.removed = m.number() == 1; break;
      case 2:
        if (!read_key_value(m.bytes(), out.now)) return false;
        break;
      case 3:
        if (!read_key_value(m.bytes(), out.before)) return false;
        out.has_before = true;
        break;
      default: break;
    }
  return m.ok();
}

}  // namespace

std::string end_of(std::string_view prefix) {
  std::string out(prefix);
  while (!out.empty() && out.back() == '\xff') out.pop_back();
  if (out.empty()) return std::string(1, '\0');
  out.back() = static_cast<char>(out.back() + 1);
  return out;
}

std::string encode(const range_request& r) {
  return writer()
      .text(1, r.key)
      .text(2, r.end)
      .number(3, r.limit)
      .number(4, r.revision)
      .number(8, r.keys_only)
      .number(9, r.count_only)
      .take();
}

std::string encode(const transaction& t) {
  constexpr std::uint64_t by_modification = 2;
  std::string out;
  out.reserve(t.key.size() * 3 + t.value.size() + 64 + t.when.size() * 80);
  for (auto& c : t.when)
    wire::put_message(1, out, [&] {
      wire::put_number(2, by_modification, out);
      wire::put_bytes(3, c.key, out);
      wire::put_number(6, c.modified, out);
      return true;
    });
  if (t.what == transaction::change::put) {
    auto put = writer().text(1, t.key).text(2, t.value).number(3, t.lease).take();
    wire::put_bytes(2, writer().message(2, put).take(), out);
  } else {
    wire::put_bytes(2, writer().message(3, writer().text(1, t.key).take()).take(), out);
  }
  for (auto key : t.reads)
    wire::put_bytes(3, writer().message(1, writer().text(1, key).number(8, 1).take()).take(), out);
  return out;
}

std::string encode_compaction(std::uint64_t revision) { return writer().number(1, revision).take(); }
std::string encode_lease_grant(std::uint64_t id, std::uint64_t seconds) {
  return writer().number(1, seconds).number(2, id).take();
}
std::string encode_authenticate(std::string_view user, std::string_view password) {
  return writer().text(1, user).text(2, password).take();
}
std::string encode_watch_all(std::uint64_t first_revision) {
  const std::string zero(1, '\0');
  auto create = writer().text(1, zero).text(2, zero).number(3, first_revision).number(6, true).number(8, true).take();
  return writer().message(1, create).take();
}

result<range_answer> decode_range(std::string_view message) {
  range_answer out;
  if (!read_range(message, out)) return not_of("RangeResponse");
  return out;
}

result<transaction_answer> decode_transaction(std::string_view message) {
  transaction_answer out;
  fields m(message);
  while (m.next()) switch (m.field()) {
      case 1:
        if (!read_header(m.bytes(), out.from)) return not_of("TxnResponse");
        break;
      case 2: out.succeeded = m.number() != 0; break;
      case 3:
        for (fields op(m.bytes());;) {
          if (!op.next()) {
            if (!op.ok()) return not_of("TxnResponse");
            break;
          }
          if (op.field() != 1) continue;
          range_answer read;
          if (!read_range(op.bytes(), read)) return not_of("TxnResponse");
          for (auto& kv : read.found) out.standing.push_back(std::move(kv));
        }
        break;
      default: break;
    }
  if (!m.ok()) return not_of("TxnResponse");
  return out;
}

result<watch_answer> decode_watch(std::string_view message) {
  watch_answer out;
  fields m(message);
  while (m.next()) switch (m.field()) {
      case 1:
        if (!read_header(m.bytes(), out.from)) return not_of("WatchResponse");
        break;
      case 3: out.created = m.number() != 0; break;
      case 4: out.cancelled = m.number() != 0; break;
      case 5: out.compacted = m.number(); break;
      case 6: out.reason = m.bytes(); break;
      case 7: out.part = m.number() != 0; break;
      case 11:
        if (!read_event(m.bytes(), out.events.emplace_back())) return not_of("WatchResponse");
        break;
      default: break;
    }
  if (!m.ok()) return not_of("WatchResponse");
  return out;
}

result<status_answer> decode_status(std::string_view message) {
  status_answer out;
  fields m(message);
  while (m.next()) switch (m.field()) {
      case 1:
        if (!read_header(m.bytes(), out.from)) return not_of("StatusResponse");
        break;
      case 2: out.version = m.bytes(); break;
      case 3: out.bytes = m.number(); break;
      case 4: out.leader = m.number(); break;
      case 7: out.applied = m.number(); break;
      case 8: out.errors.emplace_back(m.bytes()); break;
      case 9: out.bytes_in_use = m.number(); break;
      case 10: out.learner = m.number() != 0; break;
      default: break;
    }
  if (!m.ok()) return not_of("StatusResponse");
  return out;
}

result<std::string> decode_authenticate(std::string_view message) {
  std::string out;
  fields m(message);
  while (m.next())
    if (m.field() == 2) out = m.bytes();
  if (!m.ok() || out.empty()) return not_of("AuthenticateResponse");
  return out;
}

std::uint64_t lease_number(std::uint32_t seconds, std::uint32_t random) {
  constexpr std::uint64_t seconds_mask = (1u << lease_seconds_bits) - 1, random_mask = (1u << lease_random_bits) - 1;
  return lease_mark << (lease_seconds_bits + lease_random_bits) | (seconds & seconds_mask) << lease_random_bits |
         (random & random_mask);
}

std::uint32_t seconds_of_lease(std::uint64_t number) {
  if (number >> (lease_seconds_bits + lease_random_bits) != lease_mark) return 0;
  return static_cast<std::uint32_t>(number >> lease_random_bits & ((1u << lease_seconds_bits) - 1));
}

}  // namespace kedge::datastore::etcd
