// storage_view.h: claims, volumes and what else says where a pod's data is, as the scheduler sees them. Objects are
// immutable and replaced whole, so that a plan may hold them while the view goes on.
//
//   events ─▶ set_…, remove_… ─▶ view ◀─ assume(plan) │ revert(plan): what is decided and not yet written
//
// Invariant: the view is what the newest events say, with the assumed objects in place of those that they were made
// from; an event of such an object ends the assumption. Pure: no store, no clock, one thread.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/strings.h"
#include "control/scheduler/placement.h"
#include "schema/quantity.h"

namespace kedge::control::scheduler {

struct claim_view {
  std::string ns, name, uid;
  std::string storage_class;                 // empty: none
  std::string volume;                        // spec.volumeName; empty: none
  std::optional<std::string> selected_node;  // a pod there is the first consumer
  std::string attributes_class, mode;        // mode: Filesystem, Block
  std::string owner;                         // uid of the controlling owner
  std::vector<std::string> access_modes;
  std::optional<schema::quantity> request;
  api::label_selector selector;
  bool selects = false;         // it has a selector
  bool bind_completed = false;  // the binder has done its part
  bool lost = false, terminating = false;

  std::string key() const { return ns + "/" + name; }
  bool fully_bound() const noexcept { return !volume.empty() && bind_completed; }
  bool single_pod() const noexcept;  // ReadWriteOncePod
};
using claim_ref = std::shared_ptr<const claim_view>;

struct volume_view {
  std::string name, storage_class, attributes_class, mode;
  label_set labels;
  std::vector<std::string> access_modes;
  schema::quantity capacity;
  std::optional<node_selector> nodes;  // required node affinity
  struct claim {
    std::string ns, name, uid;  // uid: empty when a user has set it aside
  };
  std::optional<claim> claimed;
  std::string driver, handle;  // CSI; empty: another kind of volume
  bool available = false;      // status.phase
  bool terminating = false;

  // By the node's labels alone, as kube-scheduler does: what a volume says of the node's name field goes unheard.
  bool reachable_from(const label_set& node_labels) const noexcept { return !nodes || nodes->matches({}, node_labels); }
  bool claimed_by(const claim_view& c) const noexcept;
};
using volume_ref = std::shared_ptr<const volume_view>;

struct storage_class_view {
  std::string provisioner;
  bool waits = false;  // WaitForFirstConsumer
  struct term {
    std::vector<std::pair<std::string, std::vector<std::string>>> labels;
  };
  std::vector<term> topologies;  // none: everywhere
  bool allows(const label_set& node_labels) const noexcept;
};

struct csi_node_view {
  std::map<std::string, std::optional<std::int64_t>, std::less<>> drivers;  // with how many volumes they take
};

struct csi_driver_view {
  bool tracks_capacity = false;
  bool must_be_installed = false;  // spec.preventPodSchedulingIfMissing
};

struct capacity_view {
  std::string storage_class;
  std::optional<schema::quantity> volume_max;  // of one new volume
  std::int64_t capacity = 0;                   // bytes
  std::optional<api::label_selector> nodes;    // none: nowhere
};

// What is to be done about a pod's volumes on a node.
struct volume_plan {
  struct binding {
    claim_ref claim;
    volume_ref volume;
  };
  struct provision {
    claim_ref claim;
    std::optional<std::int64_t> capacity;  // of the node, when the driver tells
  };
  std::vector<binding> bindings;
  std::vector<provision> provisions;
  bool empty() const noexcept { return bindings.empty() && provisions.empty(); }
};

class storage_view {
 public:
  void set_claim(const json::value& claim);
  void remove_claim(std::string_view ns, std::string_view name);
  claim_ref find_claim(std::string_view ns, std::string_view name) const;

  void set_volume(const json::value& volume);
  void remove_volume(std::string_view name);
  volume_ref find_volume(std::string_view name) const;
  // Those of a class, by name.
  const std::map<std::string, volume_ref>& volumes_of(std::string_view storage_class) const;

  void set_class(const json::value& storage_class);
  void remove_class(std::string_view name);
  const storage_class_view* find_class(std::string_view name) const;

  void set_csi_node(const json::value& node);
  void remove_csi_node(std::string_view name);
  const csi_node_view* find_csi_node(std::string_view name) const;

  void set_csi_driver(const json::value& driver);
  void remove_csi_driver(std::string_view name);
  const csi_driver_view* find_csi_driver(std::string_view name) const;

  void set_capacity(const json::value& capacity);
  void remove_capacity(std::string_view ns, std::string_view name);
  const std::map<std::string, capacity_view>& capacities() const noexcept { return capacities_; }

  void set_attachment(const json::value& attachment);
  void remove_attachment(std::string_view name);
  struct attachment {
    std::string attacher, node, volume;
  };
  // Of a node, in no order.
  std::vector<const attachment*> attachments_of(std::string_view node) const;

  // What stands in for what.
  struct assumption {
    std::vector<std::pair<volume_ref, volume_ref>> volumes;  // as it was, as it will be
    std::vector<std::pair<claim_ref, claim_ref>> claims;
  };
  // Takes the plan for written; it stays until the objects' events come.
  assumption assume(const volume_plan& plan, std::string_view node);
  // Takes back what no event has replaced.
  void revert(const assumption& a);

  void forget_claims() { claims_.clear(); }
  void forget_volumes();
  void forget_classes() { classes_.clear(); }
  void forget_csi_nodes() { csi_nodes_.clear(); }
  void forget_csi_drivers() { csi_drivers_.clear(); }
  void forget_capacities() { capacities_.clear(); }
  void forget_attachments();

 private:
  template <typename T>
  using by_name = std::unordered_map<std::string, T, string_hash, std::equal_to<>>;
  void put(volume_ref v);

  by_name<claim_ref> claims_;  // by key()
  by_name<volume_ref> volumes_;
  by_name<std::map<std::string, volume_ref>> volumes_of_class_;
  by_name<storage_class_view> classes_;
  by_name<csi_node_view> csi_nodes_;
  by_name<csi_driver_view> csi_drivers_;
  std::map<std::string, capacity_view> capacities_;  // by namespace/name
  by_name<attachment> attachments_;
  by_name<std::vector<std::string>> attached_;  // names of attachments, by node
};

}  // namespace kedge::control::scheduler
