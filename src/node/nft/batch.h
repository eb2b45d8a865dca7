// batch.h: changes of one table of nftables that the kernel takes together or not at all.
//
//   batch b(NFPROTO_IPV4, "kedge");
//   b.table();  b.chain("services");  b.rule("services", std::move(rule().…));  b.element("service-ips", key,
//   verdict::go_to("…")); commit(socket, b)
//
// Order is the caller's: what is named must have been added before, in this batch or an earlier one.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "node/nft/expression.h"
#include "reactor/task.h"

namespace kedge::node::nft {

// The types of keys and values, by nft's own numbers, so that `nft list` can print them.
enum class datatype : std::uint32_t { mark = 19, ipv4 = 7, ipv6 = 8, protocol = 12, port = 13, integer = 4 };
// A key of several parts, each padded to whole registers.
struct key_type {
  std::vector<datatype> parts;
  std::uint32_t number() const;  // as the kernel stores it for nft
  std::uint32_t length() const;  // bytes
};
// A set's key: one value, or all from `from` to `to` in each of its parts.
struct key_span {
  std::string_view from, to = {};  // to: empty of one value
};

struct set_options {
  key_type key;
  key_type value;  // of a map; empty: a set, or with `verdicts` a map of verdicts
  bool verdicts = false;
  bool dynamic = false;  // rules add to it
  bool spans = false;    // its elements are spans, none of which overlaps another; keys of two parts at least
  std::uint64_t timeout_ms = 0;
};

struct base_chain {
  std::string name;
  std::string type;        // "filter", "nat"
  std::uint32_t hook = 0;  // NF_INET_…
  std::int32_t priority = 0;
};

class batch {
 public:
  // `family`: NFPROTO_IPV4, NFPROTO_IPV6 or NFPROTO_INET.
  batch(std::uint8_t family, std::string table);

  void table();         // made if it isn't there
  void remove_table();  // with all that is in it; its not being there is fine
  void chain(const std::string& name);
  void chain(const base_chain& c);
  void flush(const std::string& chain);
  void remove_chain(const std::string& name);
  void rule(const std::string& chain, nft::rule&& r) { raw_rule(chain, r.take()); }
  void raw_rule(const std::string& chain, std::string_view expressions);  // as rule::take gave them
  void set(const std::string& name, const set_options& o);
  void remove_set(const std::string& name);
  void element(const std::string& set, key_span key);
  void element(const std::string& map, key_span key, std::string_view value);
  void element(const std::string& map, key_span key, const verdict& v);
  void remove_element(const std::string& set, key_span key);

  bool empty() const noexcept { return changes_ == 0; }
  std::size_t bytes() const noexcept { return writer_.size(); }

 private:
  friend result<void> commit(netlink::socket& s, batch& b);
  void begin(std::uint16_t type, std::uint16_t flags);
  template <typename F>
  void put_element(const std::string& set, key_span key, F value, bool removes);

  netlink::writer writer_;
  std::uint8_t family_;
  std::string table_;
  std::uint32_t changes_ = 0, sets_ = 0;
};

// Sends it. The batch is empty afterwards, whatever became of it.
result<void> commit(netlink::socket& s, batch& b);

// The same on the pool. `s`, which outlives the call, is opened where there is none yet, and kept.
task<result<void>> commit_apart(std::shared_ptr<netlink::socket>& s, batch b);

// The elements of a set of a table: key, and value (empty for sets and verdict maps).
struct element {
  std::string key, value;
};
result<std::vector<element>> read_elements(netlink::socket& s, std::uint8_t family, const std::string& table,
                                           const std::string& set);
// The names of all tables of that family.
result<std::vector<std::string>> list_tables(netlink::socket& s, std::uint8_t family);
// Whether the table is there.
result<bool> has_table(netlink::socket& s, std::uint8_t family, const std::string& table);
// Whether that chain of it is there and has rules, or is led to: a table that another program emptied has chains only.
result<bool> is_in_use(netlink::socket& s, std::uint8_t family, const std::string& table, const std::string& chain);

}  // namespace kedge::node::nft
