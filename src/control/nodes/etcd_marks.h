// etcd_marks.h: what a Node says of the member of the cluster's own etcd that runs on its machine, in K3s's words.
#pragma once

namespace kedge::control::etcd_marks {

inline constexpr const char* role = "node-role.kubernetes.io/etcd";  // a label
// Annotations.
inline constexpr const char* member_name = "etcd.k3s.cattle.io/node-name";
inline constexpr const char* address = "etcd.k3s.cattle.io/node-address";
inline constexpr const char* remove = "etcd.k3s.cattle.io/remove";              // "true": take the member out
inline constexpr const char* removed = "etcd.k3s.cattle.io/removed-node-name";  // which was taken out
inline constexpr const char* finalizer = "wrangler.cattle.io/managed-etcd-controller";
inline constexpr const char* condition = "EtcdIsVoter";

}  // namespace kedge::control::etcd_marks
