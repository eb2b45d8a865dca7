#include "api/trust_config.h"

#include <doctest/doctest.h>

#include "json/parse.h"

namespace kedge::api {
namespace {

std::string certificate(std::string_view text) {
  return "-----BEGIN CERTIFICATE-----\n" + std::string(text) + "\n-----END CERTIFICATE-----\n";
}
json::value own() {
  return json::object{{"client-ca-file", certificate("own")},
                      {"requestheader-allowed-names", R"(["system:auth-proxy"])"}};
}

}  // namespace

TEST_CASE("other API servers are told of this server's authorities beside those of others") {
  json::value map = json::object{};
  CHECK(add_trust(map, own()));
  CHECK(map["data"] == own());
  CHECK_FALSE(add_trust(map, own()));
  // Another server's own come to stay.
  map.member("data").set("client-ca-file", certificate("another"));
  map.member("data").set("requestheader-allowed-names", R"(["somebody"])");
  map.member("data").set("mine", "text");
  CHECK(add_trust(map, own()));
  CHECK(map["data"]["client-ca-file"].as_string() == certificate("another") + certificate("own"));
  CHECK(map["data"]["requestheader-allowed-names"].as_string() == R"(["somebody","system:auth-proxy"])");
  CHECK(map["data"]["mine"].as_string() == "text");
  CHECK_FALSE(add_trust(map, own()));
  for (auto garbage : {"", "garbage", "{}", "-----BEGIN CERTIFICATE-----"}) {
    CAPTURE(garbage);
    map.member("data").set("client-ca-file", garbage);
    map.member("data").set("requestheader-allowed-names", garbage);
    CHECK(add_trust(map, own()));
    CHECK(map["data"]["client-ca-file"].as_string() == certificate("own"));
    CHECK(map["data"]["requestheader-allowed-names"].as_string() == R"(["system:auth-proxy"])");
  }
}

}  // namespace kedge::api
