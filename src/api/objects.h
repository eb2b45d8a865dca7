// objects.h: the API without HTTP, for what runs inside the server (controllers, supervisor, bootstrap): the same
// decoding, defaulting, admission, validation and storage as a client's request, as a given user, without
// authorization.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "json/value.h"
#include "meta/selector.h"
#include "store/store.h"

namespace kedge::api {

class registry;

// A resource by its group, version and plural: {"apps", "v1", "deployments"}; the core group is "".
struct resource_id {
  std::string group, version, plural;
  friend bool operator==(const resource_id&, const resource_id&) = default;
};

struct delete_options {
  std::string propagation_policy;   // "", "Background", "Foreground", "Orphan"
  std::string uid;                  // precondition; empty: none
  std::string resource_version;     // precondition; empty: none
  std::int64_t grace_seconds = -1;  // -1: the kind's default
};

enum class patch_kind : unsigned char { json, merge, strategic };

// A request, and an answer as it came.
struct raw_request {
  std::string path, method = "GET", body = {}, content_type = "application/json", accept = "application/json";
};
struct raw_answer {
  int code = 0;
  std::string body;
};

class objects {
 public:
  virtual ~objects() = default;

  // The values have apiVersion and kind. `ns` is empty for cluster-scoped resources; for list: all namespaces.
  virtual api_result<json::value> get(const resource_id& r, std::string_view ns, std::string_view name) = 0;
  virtual std::vector<json::value> list(const resource_id& r, std::string_view ns = {}) = 0;
  // One object after the other, of those that the selector finds, until `visit` gives false: for kinds of which there
  // are many.
  virtual void each(const resource_id& r, std::string_view ns, const label_selector& which,
                    const std::function<bool(const json::value&)>& visit) = 0;

  virtual task<api_result<json::value>> create(resource_id r, std::string ns, json::value object) = 0;
  // `object` must carry the resourceVersion it was read at (or none: unconditional). subresource: "" or "status" …
  virtual task<api_result<json::value>> update(resource_id r, std::string ns, json::value object,
                                               std::string subresource = {}) = 0;
  virtual task<api_result<json::value>> patch(resource_id r, std::string ns, std::string name, patch_kind how,
                                              json::value patch, std::string subresource = {}) = 0;
  // Server-side apply of what `object` says, as field manager `manager`, with force.
  virtual task<api_result<json::value>> apply(resource_id r, std::string ns, json::value object,
                                              std::string manager) = 0;
  virtual task<api_result<void>> remove(resource_id r, std::string ns, std::string name,
                                        delete_options options = {}) = 0;

  // Gives the pod its node, as a POST of its binding does: 409 when it has one already, is another (`uid`), or is being
  // deleted.
  virtual task<api_result<void>> bind(std::string ns, std::string name, std::string uid, std::string node) = 0;

  // Reads, lets `change` edit a copy, updates; again from the start on a conflict (5 tries). `change` gives false to
  // leave it.
  virtual task<api_result<json::value>> modify(resource_id r, std::string ns, std::string name,
                                               std::function<bool(json::value&)> change,
                                               std::string subresource = {}) = 0;

  // A request for what isn't objects of this store: "/apis/metrics.k8s.io/…". An error: nobody answered. 404 for all of
  // them without a server around.
  virtual task<result<raw_answer>> ask(raw_request q);

  // The etcd key prefix of a resource (in a namespace), for store::watch and snapshot::scan.
  virtual std::string prefix(const resource_id& r, std::string_view ns = {}) const = 0;
  virtual store::store& objects_store() noexcept = 0;
  // The resources that are served now, custom ones too.
  virtual std::shared_ptr<const registry> resources() const;
};

}  // namespace kedge::api
