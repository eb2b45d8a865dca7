// What the built-in indexes find in objects' texts.
#include <doctest/doctest.h>

#include "api/registry/indexes.h"
#include "store/object.h"

namespace kedge::api {
namespace {

using values = std::vector<std::string>;

values found(std::string_view index, std::string_view text) {
  values out;
  for (auto& i : builtin_indexes())
    if (i.name == index)
      i.values(*store::object_access::make("/registry/x", text, std::nullopt, 1, 1, 0),
               [&](std::string_view v) { out.emplace_back(v); });
  return out;
}

}  // namespace

TEST_CASE("values of the built-in indexes") {
  struct row {
    std::string_view index, text;
    values wanted;
  };
  const row rows[] = {
      {pods_by_node,
       R"({"kind":"Pod","metadata":{"spec":{"nodeName":"no"}},"spec":{"containers":[{"nodeName":"no"}],"nodeName":"edge-7"}})",
       {"edge-7"}},
      {pods_by_node, R"({"kind":"Pod","spec":{"nodeName":"a\"b"}})", {"a\"b"}},
      {pods_by_node, R"({"kind":"Pod","metadata":{},"spec":{},"status":{"nominatedNodeName":"x"}})", {""}},
      {pods_by_node, R"({"kind":"Pod","metadata":{}})", {""}},
      {events_by_object, R"({"kind":"Event","involvedObject":{"kind":"Pod","uid":"u-1"}})", {"u-1"}},
      {events_by_object, R"({"kind":"Event","involvedObject":{"kind":"Pod"}})", {""}},
      {resource_slices_by_node, R"({"spec":{"driver":"d","nodeName":"n"}})", {"n"}},
      {resource_slices_by_node, R"({"spec":{"driver":"d","allNodes":true}})", {""}},
      {objects_by_owner,
       R"({"metadata":{"name":"x","ownerReferences":[{"kind":"A","uid":"u1"},{"uid":"u2","kind":"B"},{"kind":"C"}]}})",
       {"u1", "u2"}},
      {objects_by_owner, R"({"metadata":{"name":"x"},"data":{"a":"\"ownerReferences\":[{\"uid\":\"no\"}]"}})", {}},
      {objects_by_owner,
       R"({"metadata":{"ownerReferences":[]},"spec":{"template":{"metadata":{"ownerReferences":[{"uid":"no"}]}}}})",
       {}},
      {objects_by_owner, R"({"metadata":{"ownerReferences":null},"spec":{"ownerReferences":[{"uid":"no"}]}})", {}},
      {pods_by_claim,
       R"({"metadata":{"name":"p"},"spec":{"volumes":[{"name":"a","persistentVolumeClaim":{"claimName":"data"}},{"name":"b","ephemeral":{}},{"name":"c","emptyDir":{}}]}})",
       {"data", "p-b"}},
      {pods_by_claim, R"({"metadata":{"name":"p"},"spec":{"volumes":[{"name":"c","emptyDir":{}}]}})", {}},
      {pods_by_address,
       R"({"spec":{"nodeName":"n"},"status":{"podIP":"10.42.0.3","podIPs":[{"ip":"10.42.0.3"},{"ip":"fd00::3"}]}})",
       {"10.42.0.3", "10.42.0.3", "fd00::3"}},
      {pods_by_address,
       R"({"spec":{"hostNetwork":true},"status":{"podIP":"10.0.0.1","podIPs":[{"ip":"10.0.0.1"}]}})",
       {}},
      {pods_by_address, R"({"spec":{},"status":{"phase":"Pending"}})", {}},
      {nodes_by_address,
       R"({"status":{"addresses":[{"type":"InternalIP","address":"10.0.0.1"},{"type":"Hostname","address":"edge"},{"type":"ExternalIP","address":"1.2.3.4"}]}})",
       {"10.0.0.1", "1.2.3.4"}},
      // What no API server has written, but a database may hold.
      {objects_by_owner, R"({"metadata":{"ownerReferences":[{"uid":"u1"},{"uid":)", {}},
      {pods_by_node, R"({"spec":{"nodeName":7}})", {"7"}},
      {pods_by_node, "", {""}},
  };
  for (auto& r : rows) {
    CAPTURE(r.index);
    CAPTURE(r.text);
    CHECK(found(r.index, r.text) == r.wanted);
  }
}

}  // namespace kedge::api
