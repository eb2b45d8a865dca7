// discovery.h: what the server serves: /api, /apis and below, plain and aggregated. Made from one registry.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/registry/registry.h"

namespace kedge::api {

struct api_group {
  std::string name;                   // "" for core
  std::vector<std::string> versions;  // preferred first
};

// One that another server answers for. It stands before what this server has under the same name.
struct other_version {
  std::string group, version;
  std::int64_t group_priority = 0, version_priority = 0;
  json::array resources;  // in the aggregated form
  bool fresh = false;     // whoever serves it said so when he was asked last
};

class discovery {
 public:
  explicit discovery(std::shared_ptr<const registry> r, std::vector<other_version> others = {});

  json::value api_versions(std::string_view server_address) const;  // /api
  json::value group_list() const;                                   // /apis
  std::optional<json::value> group(std::string_view name) const;    // /apis/{group}
  std::optional<json::value> resources(std::string_view group,
                                       std::string_view version) const;  // /api/v1, /apis/{g}/{v}

  // application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList of /api (core) or /apis, and its ETag with
  // quotes.
  const json::value& aggregated(bool core) const { return core ? core_ : named_; }
  const std::string& etag(bool core) const { return core ? core_etag_ : named_etag_; }

  const std::vector<api_group>& groups() const noexcept { return groups_; }  // in the order of /apis, core first
  bool has_version(std::string_view group, std::string_view version) const noexcept;

 private:
  json::value group_value(const api_group& g, bool with_type) const;
  json::value aggregate(bool core) const;
  const other_version* other(std::string_view group, std::string_view version) const noexcept;
  std::shared_ptr<const registry> registry_;
  std::vector<other_version> others_;
  std::vector<api_group> groups_;
  json::value core_, named_;
  std::string core_etag_, named_etag_;
};

}  // namespace kedge::api
