#include "schema/protobuf.h"

#include <doctest/doctest.h>

#include "base/protobuf_wire.h"
#include "base/strings.h"
#include "json/parse.h"
#include "json/write.h"
#include "k3s_rows.h"
#include "schema/decode.h"
#include "schema/time_text.h"

using namespace kedge;
using namespace kedge::schema;

TEST_CASE("rows of a K3s database decode to what K3s showed, and encode to the same bytes") {
  for (auto& row : k3s_rows) {
    CAPTURE(row.key);
    auto data = *unbase64(row.base64);
    auto v = decode_object(data);
    REQUIRE_MESSAGE(v, v.error().message);
    auto encoded = encode_object(*v);
    REQUIRE_MESSAGE(encoded, encoded.error().message);
    CHECK(*encoded == data);
    // What protobuf gave is what JSON would have given.
    auto copy = *v;
    unknown_list unknown;
    CHECK(decode(*find_kind((*v)["apiVersion"].as_string(), (*v)["kind"].as_string()), copy, &unknown));
    CHECK(unknown.empty());
    CHECK(json::write(copy) == json::write(*v));
    if (!*row.json) continue;
    v->member("metadata").erase("managedFields");
    auto shown = json::parse(row.json);
    REQUIRE(shown);
    shown->member("metadata").erase("resourceVersion");
    CHECK(*v == *shown);
  }
}

namespace {
// Through protobuf and back.
std::string round(std::string_view api_version, std::string_view kind, std::string_view text) {
  auto v = json::parse(text);
  REQUIRE_MESSAGE(v, text);
  auto type = find_kind(api_version, kind);
  auto decoded = decode(*type, *v);
  REQUIRE_MESSAGE(decoded, decoded.error().message);
  auto raw = to_protobuf(*type, *v);
  REQUIRE_MESSAGE(raw, raw.error().message);
  auto back = from_protobuf(*type, *raw);
  REQUIRE_MESSAGE(back, back.error().message);
  return json::write(*back);
}
}  // namespace

TEST_CASE("special forms survive the wire") {
  struct {
    std::string_view api_version, kind, json;
  } cases[] = {
      {"v1", "Pod",
       R"({"metadata":{},"spec":{"containers":[{"name":"c","resources":{"limits":{"cpu":"500m"}},"livenessProbe":{"httpGet":{"port":"web"},"initialDelaySeconds":-1}},{"name":"d","resources":{},"readinessProbe":{"tcpSocket":{"port":80}}}],"securityContext":{"runAsUser":-1,"runAsNonRoot":false}},"status":{}})"},
      {"coordination.k8s.io/v1", "Lease", R"({"metadata":{},"spec":{"renewTime":"2026-11-21T04:50:38.000123Z"}})"},
      {"v1", "Secret", R"({"metadata":{},"data":{"a":"","b":"AP8="}})"},
      {"v1", "ConfigMap", R"({"metadata":{},"data":{"a":"é\n"},"binaryData":{"b":"AP8="}})"},
      {"apps/v1", "ControllerRevision",
       R"({"metadata":{},"data":{"spec":{"x":[1,null]}},"revision":9007199254740993})"},
      {"authorization.k8s.io/v1", "SubjectAccessReview",
       R"({"metadata":{},"spec":{"user":"u","extra":{"a":["b","c"],"d":[]}},"status":{"allowed":false}})"},
      {"apiextensions.k8s.io/v1", "CustomResourceDefinition",
       R"({"metadata":{},"spec":{"group":"g","names":{"plural":"p","kind":"K"},"scope":"Cluster","versions":[{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":{"maximum":1.5,"enum":[1,"x",null,{"a":1}],"items":{"type":"string"},"additionalProperties":{"type":"object"},"dependencies":{"a":["b"],"c":{"type":"string"}}}}},{"name":"v2","served":true,"storage":false,"schema":{"openAPIV3Schema":{"default":{"a":[]},"items":[{"type":"a"},{"type":"b"}],"properties":{"x":{"additionalProperties":false,"x-kubernetes-preserve-unknown-fields":true}},"additionalProperties":true}}}]},"status":{"conditions":null,"acceptedNames":{"plural":"","kind":""},"storedVersions":null}})"},
      {"v1", "APIResourceList",
       R"({"groupVersion":"v1","resources":[{"name":"pods","singularName":"","namespaced":true,"kind":"Pod","verbs":["get","list"]}]})"},
      {"v1", "PodList",
       R"({"metadata":{"resourceVersion":"7","remainingItemCount":0},"items":[{"metadata":{"name":"a"},"spec":{"containers":null},"status":{}}]})"},
      {"meta.k8s.io/v1", "PartialObjectMetadataList", R"({"metadata":{},"items":[{"metadata":{"name":"a"}}]})"},
      {"v1", "Status",
       R"({"metadata":{},"status":"Failure","message":"m","reason":"NotFound","details":{"name":"x","causes":[{"reason":"r"}]},"code":404})"},
      {"v1", "DeleteOptions",
       R"({"gracePeriodSeconds":0,"preconditions":{"uid":"u"},"propagationPolicy":"Orphan","dryRun":["All"]})"},
  };
  for (auto& c : cases) {
    CAPTURE(c.kind);
    CHECK(round(c.api_version, c.kind, c.json) == c.json);
  }
}

TEST_CASE("embedded structs are messages of their own") {
  CHECK(
      round(
          "v1", "Pod",
          R"({"spec":{"volumes":[{"name":"v","configMap":{"name":"c"}}],"ephemeralContainers":[{"name":"e","targetContainerName":"t"}]}})") ==
      R"({"metadata":{},"spec":{"volumes":[{"name":"v","configMap":{"name":"c"}}],"containers":null,"ephemeralContainers":[{"name":"e","resources":{},"targetContainerName":"t"}]},"status":{}})");
  CHECK(round("v1", "PersistentVolume", R"({"spec":{"capacity":{"storage":"1Gi"},"hostPath":{"path":"/x"}}})") ==
        R"({"metadata":{},"spec":{"capacity":{"storage":"1Gi"},"hostPath":{"path":"/x"}},"status":{}})");
}

TEST_CASE("options are known in every group version; an unknown kind is told") {
  auto raw = *to_protobuf(*find_kind("v1", "DeleteOptions"), *json::parse(R"({"gracePeriodSeconds":5})"));
  auto v = decode_object(seal_envelope("apps/v1", "DeleteOptions", raw), find_kind("v1", "DeleteOptions"));
  REQUIRE(v);
  CHECK((*v)["gracePeriodSeconds"].as_integer() == 5);
  CHECK(decode_object(seal_envelope("apps/v1", "Nothing", raw)).error().code == errc::unsupported);
  CHECK(decode_object(seal_envelope("apps/v1", "Deployment", raw), find_kind("v1", "DeleteOptions")).has_value() ==
        false);
  CHECK(decode_object("{}").error().code == errc::invalid);
}

TEST_CASE("a raw extension may hold an encoded object") {
  auto pod = *encode_object(*json::parse(R"({"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"}})"));
  auto frame = watch_frame("ADDED", pod);
  CHECK(frame.size() == 4 + load_be32(as_bytes(frame).data()));
  auto event = from_protobuf(*find_kind("v1", "WatchEvent"), std::string_view(frame).substr(4));
  REQUIRE_MESSAGE(event, event.error().message);
  CHECK((*event)["type"].as_string() == "ADDED");
  CHECK((*event)["object"]["metadata"]["name"].as_string() == "a");
}

TEST_CASE("a list made of encoded items is the list") {
  auto type = find_kind("v1", "ConfigMap");
  std::string items;
  REQUIRE(put_list_item(*type, *json::parse(R"({"metadata":{"name":"a"}})"), items));
  REQUIRE(put_list_item(*type, *json::parse(R"({"data":{"x":"y"}})"), items));
  auto list =
      decode_object(list_opening("v1", "ConfigMapList", *json::parse(R"({"resourceVersion":"12"})"), items.size()) +
                    items + list_closing());
  REQUIRE(list);
  CHECK(
      json::write(*list) ==
      R"({"kind":"ConfigMapList","apiVersion":"v1","metadata":{"resourceVersion":"12"},"items":[{"metadata":{"name":"a"}},{"metadata":{},"data":{"x":"y"}}]})");
}

TEST_CASE("unknown fields and groups are skipped, packed numbers are read") {
  std::string raw;
  wire::put_bytes(1, {}, raw);
  wire::put_number(1000, 7, raw);
  wire::put_fixed64(1001, 7, raw);
  wire::put_tag(1002, wire::kind::group, raw);
  wire::put_tag(3, wire::kind::group, raw);
  wire::put_tag(3, wire::kind::group_end, raw);
  wire::put_tag(1002, wire::kind::group_end, raw);
  auto v = from_protobuf(*find_kind("v1", "ConfigMap"), raw);
  REQUIRE(v);
  CHECK(json::write(*v) == R"({"metadata":{}})");
  std::string context;
  wire::put_bytes(4, std::string_view("\x01\x02\xac\x02", 4), context);  // supplementalGroups, packed
  auto packed = from_protobuf(*find_type("core/v1.PodSecurityContext"), context);
  REQUIRE(packed);
  CHECK(json::write(*packed) == R"({"supplementalGroups":[1,2,300]})");
}

TEST_CASE("malformed and hostile messages are errors") {
  auto type = find_kind("v1", "Pod");
  using namespace std::literals;
  for (auto raw : {"\x0a"sv,
                   "\x0a\x05"
                   "ab"sv,
                   "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"sv, "\x00"sv, "\x0c"sv, "\x0a\x02\x0a\x05"sv,
                   "\x08\x01"sv, "\x0f"sv, "\x0b\x0b\x0b"sv, "\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f"sv}) {
    CAPTURE(hex(as_bytes(raw)));
    CHECK_FALSE(from_protobuf(*type, raw));
  }
  auto whole = *unbase64(k3s_rows[6].base64);
  for (std::size_t n = 0; n < whole.size(); ++n) (void)decode_object(std::string_view(whole).substr(0, n));
  auto schema = find_type("apiextensions/v1.JSONSchemaProps");
  auto nested = [&](int levels) {
    std::string message;
    for (int i = 0; i < levels; ++i) {
      std::string outer;
      wire::put_bytes(schema->find("not")->proto(), message, outer);
      message = std::move(outer);
    }
    return from_protobuf(*schema, message);
  };
  CHECK(nested(200));
  CHECK_FALSE(nested(300));
  CHECK_FALSE(nested(5000));
  std::string many;
  for (int i = 0; i < 1'100'000; ++i) many += std::string_view("\x12\x00", 2);
  auto refused = from_protobuf(*find_kind("v1", "PodList"), many);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == errc::too_large);
}

TEST_CASE("a time that its text cannot hold reads back as it was written") {
  auto type = find_type("coordination/v1.LeaseSpec");  // acquireTime = 3, a MicroTime
  auto object = find_type("meta/v1.ObjectMeta");       // creationTimestamp = 8, a Time
  REQUIRE(type);
  REQUIRE(object);
  struct {
    std::uint64_t seconds, nanos;
    std::string_view micro, whole;  // as JSON
  } cases[] = {
      {0, 0x18181818, R"("1970-01-01T00:00:00.404232Z")", "null"},
      {0, 999, "null", "null"},
      {1, 999'999'999, R"("1970-01-01T00:00:01.999999Z")", R"("1970-01-01T00:00:01Z")"},
      {7, static_cast<std::uint64_t>(-5), R"("1970-01-01T00:00:07.000000Z")", R"("1970-01-01T00:00:07Z")"},
      {static_cast<std::uint64_t>(zero_time_seconds), 0, "null", "null"},
  };
  for (auto& c : cases) {
    CAPTURE(c.seconds);
    CAPTURE(c.nanos);
    for (bool micro : {true, false}) {
      std::string message;
      wire::put_message(micro ? 3 : 8, message, [&] {
        wire::put_number(1, c.seconds, message);
        wire::put_number(2, c.nanos, message);
        return true;
      });
      auto& t = micro ? *type : *object;
      auto v = from_protobuf(t, message);
      REQUIRE(v);
      CHECK(json::write((*v)[micro ? "acquireTime" : "creationTimestamp"]) == (micro ? c.micro : c.whole));
      auto back = from_protobuf(t, *to_protobuf(t, *v));
      REQUIRE(back);
      CHECK(json::write(*back) == json::write(*v));
    }
  }
}

TEST_CASE("a fuzzer's time whose nanoseconds came as fixed32 is written back the same") {
  constexpr std::string_view found = "\x2a\x05\x15\x18\x18\x18\x18";
  for (std::size_t i = 0; i < kind_count(); ++i) {
    auto kind = kind_at(i);
    CAPTURE(kind.kind);
    auto v = from_protobuf(*kind.type, found);
    if (!v) continue;
    auto raw = to_protobuf(*kind.type, *v);
    REQUIRE(raw);
    auto back = from_protobuf(*kind.type, *raw);
    REQUIRE(back);
    CHECK(json::write(*back) == json::write(*v));
  }
}
