// The rows of tables, for every kind that has columns.
#include <doctest/doctest.h>

#include "api/printers/printer.h"
#include "json/parse.h"
#include "json/write.h"
#include "schema/resources.h"

namespace kedge::api {

namespace {

json::array cells(std::string_view group, std::string_view resource, std::string_view object) {
  return printer_of(group, resource)(json::parse(object).value(), {}).cells;
}

}  // namespace

TEST_CASE("every kind fills the columns that it says it has") {
  const auto object =
      json::parse(R"({"metadata":{"name":"thing","creationTimestamp":"2026-01-01T00:00:00Z"}})").value();
  for (auto& r : schema::all_resources()) {
    if (r.column_count() == 0) continue;         // nothing of its kind is listed
    if (r.group() == "events.k8s.io") continue;  // stored as core events are, and printed as they are
    CAPTURE(r.group());
    CAPTURE(r.plural());
    auto row = printer_of(r.group(), r.plural())(object, {});
    CHECK(row.cells.size() == r.column_count());
    if (row.cells.size() != r.column_count()) continue;
    for (std::size_t i = 0; i < row.cells.size(); ++i) {
      auto column = r.column(i);
      CAPTURE(column.name);
      CAPTURE(json::write(row.cells[i]));
      if (column.name == "Name") CHECK(row.cells[i].as_string() == "thing");
      if (column.type == "integer") CHECK((row.cells[i].is_integer() || row.cells[i].is_null()));
      // A time stands only where one belongs.
      if (column.type == "string") CHECK(row.cells[i].as_string() != "2026-01-01T00:00:00Z");
    }
  }
}

TEST_CASE("rows of kinds that configure the cluster") {
  struct {
    const char *group, *resource, *object, *cells;
  } rows[] = {
      {"certificates.k8s.io", "clustertrustbundles",
       R"({"metadata":{"name":"a"},"spec":{"signerName":"example.com/s"}})", R"(["a","example.com/s"])"},
      {"certificates.k8s.io", "clustertrustbundles", R"({"metadata":{"name":"a"},"spec":{"trustBundle":""}})",
       R"(["a","<none>"])"},
      {"certificates.k8s.io", "podcertificaterequests",
       R"({"metadata":{"name":"a"},"spec":{"podName":"p","serviceAccountName":"s","nodeName":"n","signerName":"x/y","unverifiedUserAnnotations":{"k":"v"}},
          "status":{"conditions":[{"type":"Denied","status":"True"}]}})",
       R"(["a","p","s","n","x/y","Denied","k=v"])"},
      {"apiextensions.k8s.io", "customresourcedefinitions",
       R"({"metadata":{"name":"gizmos.example.com","creationTimestamp":"2026-01-01T00:00:00Z"},"spec":{"scope":"Namespaced","group":"example.com",
          "names":{"kind":"Gizmo","shortNames":["g","gz"]},"versions":[{"name":"v2","served":true,"storage":true},{"name":"v1","served":true},{"name":"v0"}]},
          "status":{"conditions":[{"type":"Established","status":"True"}]}})",
       R"~(["gizmos.example.com","Namespaced","v1,v2(storage)","2026-01-01T00:00:00Z","example.com","Gizmo","g,gz",true])~"},
      {"storagemigration.k8s.io", "storageversionmigrations",
       R"({"metadata":{"name":"a"},"spec":{"resource":{"group":"apps","resource":"deployments"}},
          "status":{"conditions":[{"type":"Running","status":"False"},{"type":"Succeeded","status":"True"}]}})",
       R"(["a","deployments.apps","Succeeded"])"},
      {"storagemigration.k8s.io", "storageversionmigrations",
       R"({"metadata":{"name":"a"},"spec":{"resource":{"resource":"secrets"}}})", R"(["a","secrets","Unknown"])"},
  };
  for (auto& row : rows) {
    CAPTURE(row.object);
    CHECK(json::write(json::value(cells(row.group, row.resource, row.object))) == row.cells);
  }
  auto mutating = cells("admissionregistration.k8s.io", "mutatingadmissionpolicies",
                        R"({"kind":"MutatingAdmissionPolicy","metadata":{"name":"a"},"spec":{"mutations":[{},{}]}})");
  CHECK(mutating[1].as_integer() == 2);
  CHECK(mutating[2].as_string() == "<unset>");
}

}  // namespace kedge::api
