// nodes.h: what a Node may be called, and which labels a node may give itself, by Kubernetes' rules.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace kedge::meta {

// A DNS subdomain, of 63 bytes at most: it is the value of a label too.
bool is_node_name(std::string_view name);
// The nearest name that would do: lower-case, with '-' for what may not be there. Empty when nothing is left.
std::string usable_node_name(std::string_view name);
// Why it can't be used, and which would do: empty for a good one.
std::string node_name_problem(std::string_view name);

// Labels of Kubernetes' own domains are the cluster's to give, but for those of the kubelet's.
bool node_may_set_label(std::string_view key);
// What the kubelet says of labels, "key=value" each, that it may not set: empty when it may set all.
std::string node_labels_problem(std::span<const std::string> labels);

}  // namespace kedge::meta
