// message.h: DNS messages (RFC 1035, RFC 6891), without I/O: a query from bytes, an answer to bytes. Input is hostile:
// whatever comes, nothing is read beyond it, and nothing takes more than its length.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/ip.h"

namespace kedge::node::dns {

enum class type : std::uint16_t {
  a = 1,
  ns = 2,
  cname = 5,
  soa = 6,
  ptr = 12,
  hinfo = 13,
  txt = 16,
  aaaa = 28,
  srv = 33,
  opt = 41,
  any = 255
};
enum class rcode : std::uint8_t {
  no_error = 0,
  format = 1,
  server_failure = 2,
  no_name = 3,
  not_implemented = 4,
  refused = 5
};

// "web.default.svc.cluster.local", lower-case, without the last dot; the root is empty. A label with a dot in it can't
// be told apart, and matches nothing of ours, since such labels are escaped ("\.").
struct name {
  static std::optional<std::string> to_wire(std::string_view text);  // nullopt: too long, an empty label
};

struct query {
  std::uint16_t id = 0;
  bool recursion_desired = false, checking_disabled = false;
  std::string asked;  // the name, lower-case
  dns::type type = dns::type::a;
  std::string question;  // as it came: name, type, class
  bool edns = false, dnssec_ok = false;
  std::size_t udp_bytes = 512;  // what the client takes
};
struct parsed {
  std::optional<dns::query> query;  // none with an error
  rcode error = rcode::no_error;
  std::uint16_t id = 0;
  bool answer_it = false;  // false: not even worth an answer (an answer itself, a fragment)
};
parsed parse_query(bytes message);

struct record {
  std::string owner;  // empty: the question's name
  dns::type type = dns::type::a;
  std::uint32_t ttl = 0;
  std::string data;  // as on the wire, names uncompressed
};
record address_record(std::string owner, const ip_address& a, std::uint32_t ttl);
record name_record(std::string owner, dns::type t, std::string_view target, std::uint32_t ttl);  // CNAME, NS, PTR
record srv_record(std::string owner, std::uint16_t port, std::uint16_t weight, std::string_view target,
                  std::uint32_t ttl);
record text_record(std::string_view text, std::uint32_t ttl);
record soa_record(std::string_view zone, std::uint32_t serial, std::uint32_t ttl);

struct answer {
  rcode code = rcode::no_error;
  bool authoritative = true;
  std::vector<record> answers, authority, additional;
};
// At most `most` bytes: what doesn't fit is left out and the answer marked truncated.
std::string write_answer(const query& q, const answer& a, std::size_t most);
// For what could not be parsed.
std::string write_error(std::uint16_t id, rcode code);
// A question of our own.
std::string write_query(std::uint16_t id, std::string_view asked, dns::type t);

// What a resolver said to `q`: addresses and aliases of its answer section. nullopt: it is no answer to that.
struct reply {
  std::uint16_t id = 0;
  rcode code = rcode::no_error;
  bool truncated = false;
  std::vector<record> answers;    // A, AAAA, CNAME
  std::size_t records = 0;        // of the answer section, of any type
  std::uint32_t least_ttl = 0;    // of all records but OPT; of the SOA's minimum without answers
  std::vector<std::size_t> ttls;  // where they stand
};
std::optional<reply> parse_reply(bytes message, std::string_view question);

}  // namespace kedge::node::dns
