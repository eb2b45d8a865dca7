#include "datastore/etcd/members.h"

#include <utility>

#include "base/protobuf_wire.h"
#include "datastore/etcd/limits.h"
#include "reactor/sync.h"

namespace kedge::datastore::etcd {

namespace {

constexpr const char* list_method = "/etcdserverpb.Cluster/MemberList";
constexpr const char* add_method = "/etcdserverpb.Cluster/MemberAdd";
constexpr const char* promote_method = "/etcdserverpb.Cluster/MemberPromote";
constexpr const char* remove_method = "/etcdserverpb.Cluster/MemberRemove";
constexpr const char* update_method = "/etcdserverpb.Cluster/MemberUpdate";

// etcd may never answer: Raft drops a change of members that comes while another one is on its way, and etcd goes on
// waiting for it as long as its client does.
task<result<std::string>> ask(const connection& c, const char* method, std::string message) {
  co_return co_await reactor::with_deadline(c.ask(method, std::move(message), false),
                                            reactor::loop::current().now() + members_timeout);
}

bool read_member(std::string_view message, cluster_member& out) {
  wire::fields m(message);
  while (m.next()) switch (m.field()) {
      case 1: out.id = m.number(); break;
      case 2: out.name = m.bytes(); break;
      case 3: out.peer_urls.emplace_back(m.bytes()); break;
      case 4: out.client_urls.emplace_back(m.bytes()); break;
      case 5: out.learner = m.number() != 0; break;
      default: break;
    }
  return m.ok();
}

// MemberListResponse has the members as field 2, MemberAddResponse as field 3 (2 is the new one).
result<std::vector<cluster_member>> read_members(std::string_view message, int field) {
  std::vector<cluster_member> out;
  wire::fields m(message);
  while (m.next())
    if (m.field() == field && !read_member(m.bytes(), out.emplace_back()))
      return fail(errc::protocol, "etcd's answer is no list of members");
  if (!m.ok()) return fail(errc::protocol, "etcd's answer is no list of members");
  return out;
}

}  // namespace

result<std::vector<cluster_member>> decode_members(std::string_view message) { return read_members(message, 2); }

task<result<std::vector<cluster_member>>> list_members(const connection& c) {
  auto text = co_await ask(c, list_method, {});
  if (!text) co_return fail(std::move(text).error());
  co_return decode_members(*text);
}

task<result<std::vector<cluster_member>>> add_learner(const connection& c, std::string peer_url) {
  auto text = co_await ask(c, add_method, wire::writer().text(1, peer_url).number(2, 1).take());
  if (!text) co_return fail(std::move(text).error());
  co_return read_members(*text, 3);
}

task<result<void>> promote_member(const connection& c, std::uint64_t id) {
  KEDGE_CO_CHECK(co_await ask(c, promote_method, wire::writer().number(1, id).take()));
  co_return result<void>();
}

task<result<void>> remove_member(const connection& c, std::uint64_t id) {
  auto done = co_await ask(c, remove_method, wire::writer().number(1, id).take());
  if (!done && done.error().message.find("member not found") == std::string::npos)
    co_return fail(std::move(done).error());
  co_return result<void>();
}

task<result<void>> move_member(const connection& c, std::uint64_t id, std::string peer_url) {
  KEDGE_CO_CHECK(co_await ask(c, update_method, wire::writer().number(1, id).text(2, peer_url).take()));
  co_return result<void>();
}

}  // namespace kedge::datastore::etcd
