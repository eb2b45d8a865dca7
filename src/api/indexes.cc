#include "api/indexes.h"

#include <string>

#include "store/text.h"

namespace kedge::api {
namespace {

using store::value_visitor;

store::index of_field(std::string_view name, std::string_view prefix, bool with_empty) {
  auto values = [path = name.substr(prefix.size()), with_empty](std::string_view text, const value_visitor& give) {
    std::string buffer;
    auto value = store::string_in(store::member_at(text, path), buffer);
    if (with_empty || !value.empty()) give(value);
  };
  return {std::string(name), std::string(prefix), values};
}

void owners(std::string_view text, const value_visitor& give) {
  // Most objects have none, and a search for the word costs a tenth of the way through metadata.
  if (text.find("\"ownerReferences\":[") == std::string_view::npos) return;
  store::each_element(store::member_at(text, "metadata.ownerReferences"), [&](std::string_view reference) {
    std::string buffer;
    if (auto uid = store::string_in(store::member_at(reference, "uid"), buffer); !uid.empty()) give(uid);
    return true;
  });
}

void claims(std::string_view text, const value_visitor& give) {
  if (text.find("\"persistentVolumeClaim\":{") == text.npos && text.find("\"ephemeral\":{") == text.npos) return;
  store::each_element(store::member_at(text, "spec.volumes"), [&](std::string_view volume) {
    std::string buffer, of_pod;
    if (auto name = store::string_in(store::member_at(volume, "persistentVolumeClaim.claimName"), buffer); !name.empty())
      give(name);
    else if (!store::member_at(volume, "ephemeral").empty())
      give(std::string(store::string_in(store::member_at(text, "metadata.name"), of_pod)) + "-" +
           std::string(store::string_in(store::member_at(volume, "name"), buffer)));
    return true;
  });
}

void pod_addresses(std::string_view text, const value_visitor& give) {
  auto status = store::member_at(text, "status");
  if (status.find("\"podIP") == status.npos || store::member_at(text, "spec.hostNetwork") == "true") return;
  std::string buffer;
  if (auto ip = store::string_in(store::member_at(status, "podIP"), buffer); !ip.empty()) give(ip);
  store::each_element(store::member_at(status, "podIPs"), [&](std::string_view one) {
    std::string own;
    if (auto ip = store::string_in(store::member_at(one, "ip"), own); !ip.empty()) give(ip);
    return true;
  });
}

void node_addresses(std::string_view text, const value_visitor& give) {
  store::each_element(store::member_at(text, "status.addresses"), [&](std::string_view one) {
    std::string type, address;
    if (store::string_in(store::member_at(one, "type"), type) != "Hostname")
      if (auto a = store::string_in(store::member_at(one, "address"), address); !a.empty()) give(a);
    return true;
  });
}

}  // namespace

std::vector<store::index> builtin_indexes() {
  return {
      of_field(pods_by_node, "/registry/pods/", true),
      of_field(events_by_object, "/registry/events/", false),
      of_field(resource_slices_by_node, "/registry/resourceslices/", false),
      {std::string(pods_by_claim), "/registry/pods/", &claims},
      {std::string(pods_by_address), "/registry/pods/", &pod_addresses},
      {std::string(nodes_by_address), "/registry/minions/", &node_addresses},
      {std::string(objects_by_owner), "/registry/", &owners},
  };
}

}  // namespace kedge::api
