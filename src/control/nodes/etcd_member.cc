// etcd_member.cc: a Node that goes takes the member of the cluster's own etcd with it that runs on its machine; and who
// asks for that by an annotation is obeyed, too (K3s's managed-etcd-controller, with its finalizer).
//
//   Node deleted ─▶ (finalizer) ─▶ member removed ─▶ finalizer off: the Node goes
//   remove: "true" ─▶ member removed ─▶ removed-node-name: which ─▶ the machine joins as another member ─▶ remove:
//   "false"
//
// etcd refuses what would cost it the majority: then the Node stays, and it is tried again.
#include <fmt/format.h>

#include <memory>
#include <string>
#include <utility>

#include "base/log.h"
#include "base/strings.h"
#include "control/controllers.h"
#include "control/finalizers.h"
#include "control/nodes/etcd_marks.h"
#include "control/owners.h"
#include "control/resources.h"
#include "control/settings.h"

namespace kedge::control {
namespace {

constexpr auto retry_time = std::chrono::seconds(3);

std::string note(const json::value& node, const char* name) {
  return std::string(node["metadata"]["annotations"][name].as_string());
}

class etcd_member final : public controller {
 public:
  explicit etcd_member(const settings& s) : remove_(s.remove_etcd_member) {}

  std::vector<source> sources() override { return {{nodes, living_key}}; }

  task<api::api_result<void>> work(shell& s, std::string key) override {
    const auto now = s.now();
    auto* found = now.get(nodes, key);
    if (!found) co_return api::api_result<void>();
    json::value node = *found;
    const auto name = note(node, etcd_marks::member_name), removed = note(node, etcd_marks::removed);
    const bool is_member = !node["metadata"]["labels"][etcd_marks::role].is_null() && !name.empty() && name != removed;
    if (is_deleting(node)) {
      if (!has_finalizer(node, etcd_marks::finalizer)) co_return api::api_result<void>();
      if (is_member && !co_await take_out(s, node)) co_return later(s, key);
      remove_finalizer(node, etcd_marks::finalizer);
      co_return co_await s.write(updating(std::move(node)), key);
    }
    auto& notes = node.member("metadata").member("annotations");
    if (!removed.empty() && is_member) {  // it is here again
      notes.erase(etcd_marks::removed);
      notes.set(etcd_marks::remove, "false");
      co_return co_await s.write(updating(std::move(node)), key);
    }
    if (!is_member || lower(note(node, etcd_marks::remove)) != "true") co_return api::api_result<void>();
    if (!co_await take_out(s, node)) co_return later(s, key);
    notes.set(etcd_marks::removed, name);
    notes.erase(etcd_marks::member_name);
    notes.erase(etcd_marks::address);
    co_return co_await s.write(updating(std::move(node)), key);
  }

 private:
  static plan updating(json::value node) {
    plan p;
    p.write(update_of(nodes, std::move(node)));
    return p;
  }
  static api::api_result<void> later(shell& s, const std::string& key) {
    s.queue().add_after(key, retry_time);
    return {};
  }

  // Whether it is gone; else its Node is told why.
  task<bool> take_out(shell& s, const json::value& node) {
    if (!remove_) co_return true;  // this cluster's etcd isn't managed, or is none
    auto about = reference_to(node);
    auto name = note(node, etcd_marks::member_name);
    auto done = co_await remove_(name, note(node, etcd_marks::address));
    // A Node comes again; its server's etcd, which is all there is, would not.
    if (done || (is_deleting(node) && done.error().code == errc::unsupported)) co_return true;
    log::debug("etcd: member {}: {}", name, done.error().message);
    s.recorder().tell({about, true, "EtcdMemberNotRemoved",
                       fmt::format("etcd member {} isn't removed yet: {}", name, done.error().message)});
    co_return false;
  }

  std::function<task<result<void>>(std::string name, std::string address)> remove_;
};

}  // namespace

std::unique_ptr<controller> make_etcd_member(const settings& s) { return std::make_unique<etcd_member>(s); }

}  // namespace kedge::control
