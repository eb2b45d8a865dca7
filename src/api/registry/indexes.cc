#include "api/registry/indexes.h"

#include <cstring>
#include <string>

#include "api/registry/field_text.h"
#include "store/history.h"
#include "store/text.h"

namespace kedge::api {
namespace {

using store::value_visitor;

// Under "" are those that lack it.
store::index of_field(std::string_view name, std::string_view prefix) {
  auto values = [path = name.substr(prefix.size())](const store::object& o, const value_visitor& give) {
    std::string buffer;
    give(field_text(o.bytes(), path, buffer));
  };
  return {std::string(name), std::string(prefix), values};
}

void owners(const store::object& o, const value_visitor& give) {
  auto metadata = store::member_at(o.bytes(), "metadata");
  // Most objects have none. (The word is long: a search for it looks at every twentieth byte.)
  constexpr std::string_view word = "\"ownerReferences\":[";
  if (metadata.empty() || !::memmem(metadata.data(), metadata.size(), word.data(), word.size())) return;
  store::each_element(store::member_at(metadata, "ownerReferences"), [&](std::string_view reference) {
    std::string buffer;
    if (auto uid = store::string_in(store::member_at(reference, "uid"), buffer); !uid.empty()) give(uid);
    return true;
  });
}

void claims(const store::object& o, const value_visitor& give) {
  auto text = o.bytes();
  if (text.find("\"persistentVolumeClaim\":{") == text.npos && text.find("\"ephemeral\":{") == text.npos) return;
  store::each_element(store::member_at(text, "spec.volumes"), [&](std::string_view volume) {
    std::string buffer, of_pod;
    if (auto name = store::string_in(store::member_at(volume, "persistentVolumeClaim.claimName"), buffer);
        !name.empty())
      give(name);
    else if (!store::member_at(volume, "ephemeral").empty())
      give(std::string(store::string_in(store::member_at(text, "metadata.name"), of_pod)) + "-" +
           std::string(store::string_in(store::member_at(volume, "name"), buffer)));
    return true;
  });
}

void each_text(const store::object& o, std::string_view list, std::string_view member, const value_visitor& give) {
  store::each_element(store::member_at(o.bytes(), list), [&](std::string_view one) {
    std::string buffer;
    if (auto name = store::string_in(store::member_at(one, member), buffer); !name.empty()) give(name);
    return true;
  });
}

void device_claims(const store::object& o, const value_visitor& give) {
  if (o.bytes().find("\"resourceClaims\":[") == std::string_view::npos) return;
  each_text(o, "spec.resourceClaims", "resourceClaimName", give);
  each_text(o, "status.resourceClaimStatuses", "resourceClaimName", give);
}

void claim_templates(const store::object& o, const value_visitor& give) {
  if (o.bytes().find("\"resourceClaimTemplateName\":") == std::string_view::npos) return;
  each_text(o, "spec.resourceClaims", "resourceClaimTemplateName", give);
}

void pod_addresses(const store::object& o, const value_visitor& give) {
  auto text = o.bytes();
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

void node_addresses(const store::object& o, const value_visitor& give) {
  store::each_element(store::member_at(o.bytes(), "status.addresses"), [&](std::string_view one) {
    std::string type, address;
    if (store::string_in(store::member_at(one, "type"), type) != "Hostname")
      if (auto a = store::string_in(store::member_at(one, "address"), address); !a.empty()) give(a);
    return true;
  });
}

}  // namespace

std::vector<store::index> builtin_indexes() {
  return {
      of_field(pods_by_node, "/registry/pods/"),
      of_field(events_by_object, "/registry/events/"),
      of_field(attachments_by_node, "/registry/volumeattachments/"),
      of_field(attachments_by_volume, "/registry/volumeattachments/"),
      of_field(resource_slices_by_node, "/registry/resourceslices/"),
      {std::string(pods_by_claim), "/registry/pods/", &claims},
      {std::string(pods_by_device_claim), "/registry/pods/", &device_claims},
      {std::string(pods_by_claim_template), "/registry/pods/", &claim_templates},
      {std::string(pods_by_address), "/registry/pods/", &pod_addresses},
      {std::string(nodes_by_address), "/registry/minions/", &node_addresses},
      {std::string(objects_by_owner), "/registry/", &owners},
  };
}

std::size_t resource_size(std::string_view key) noexcept {
  // The one pair of resources that shares a first segment without being a group.
  for (std::string_view prefix : {"/registry/services/specs/", "/registry/services/endpoints/"})
    if (key.starts_with(prefix)) return prefix.size();
  return store::resource_size(key);
}

}  // namespace kedge::api
