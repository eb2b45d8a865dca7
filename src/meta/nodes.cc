#include "meta/nodes.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "base/strings.h"

namespace kedge::meta {

namespace {

constexpr std::size_t label_value_max_bytes = 63;

constexpr std::string_view allowed_domains[] = {"kubelet.kubernetes.io", "node.kubernetes.io"};
constexpr std::string_view allowed_labels[] = {"beta.kubernetes.io/arch",
                                               "beta.kubernetes.io/instance-type",
                                               "beta.kubernetes.io/os",
                                               "failure-domain.beta.kubernetes.io/region",
                                               "failure-domain.beta.kubernetes.io/zone",
                                               "kubernetes.io/arch",
                                               "kubernetes.io/hostname",
                                               "kubernetes.io/os",
                                               "node.kubernetes.io/instance-type",
                                               "topology.kubernetes.io/region",
                                               "topology.kubernetes.io/zone"};

bool is_in(std::string_view domain, std::string_view parent) {
  return domain == parent || (domain.ends_with(parent) && domain[domain.size() - parent.size() - 1] == '.');
}

bool is_name_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }

template <typename Range>
std::string listed(const Range& all) {
  std::vector<std::string> texts(std::begin(all), std::end(all));
  return join(texts, ", ");
}

}  // namespace

bool is_node_name(std::string_view name) {
  if (name.empty() || name.size() > label_value_max_bytes) return false;
  for (auto part : split(name, '.')) {
    if (part.empty() || part.front() == '-' || part.back() == '-') return false;
    if (!std::all_of(part.begin(), part.end(), [](char c) { return is_name_letter(c) || c == '-'; })) return false;
  }
  return true;
}

std::string usable_node_name(std::string_view name) {
  std::string out;
  for (char c : lower(name.substr(0, label_value_max_bytes))) {
    if (c == '.') {
      while (out.ends_with('-')) out.pop_back();
      if (!out.empty() && !out.ends_with('.')) out += c;
    } else if (is_name_letter(c)) {
      out += c;
    } else if (!out.empty() && !out.ends_with('.')) {
      out += '-';
    }
  }
  while (out.ends_with('-') || out.ends_with('.')) out.pop_back();
  return out;
}

std::string node_name_problem(std::string_view name) {
  if (is_node_name(name)) return {};
  auto text = fmt::format(
      "node name {} can't be used: at most {} lower-case letters, digits, '-' and '.', with a letter or digit at both "
      "ends of each part",
      quote(name), label_value_max_bytes);
  if (auto usable = usable_node_name(name); !usable.empty()) text += fmt::format("; --node-name {} would do", usable);
  return text;
}

bool node_may_set_label(std::string_view key) {
  const auto slash = key.find('/');
  if (slash == key.npos) return true;
  const auto domain = key.substr(0, slash);
  if (!is_in(domain, "kubernetes.io") && !is_in(domain, "k8s.io")) return true;
  return std::find(std::begin(allowed_labels), std::end(allowed_labels), key) != std::end(allowed_labels) ||
         std::any_of(std::begin(allowed_domains), std::end(allowed_domains),
                     [&](std::string_view d) { return is_in(domain, d); });
}

std::string node_labels_problem(std::span<const std::string> labels) {
  std::set<std::string> refused;
  for (std::string_view label : labels)
    if (auto key = label.substr(0, label.find('=')); !node_may_set_label(key)) refused.emplace(key);
  if (refused.empty()) return {};
  std::vector<std::string> keys(refused.begin(), refused.end());
  return fmt::format(
      "unknown 'kubernetes.io' or 'k8s.io' labels specified with --node-labels: [{}]\n"
      "--node-labels in the 'kubernetes.io' namespace must begin with an allowed prefix ({}) or be in the specifically "
      "allowed set ({})",
      join(keys, " "), listed(allowed_domains), listed(allowed_labels));
}

}  // namespace kedge::meta
