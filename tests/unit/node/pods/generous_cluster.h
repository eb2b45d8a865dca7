// generous_cluster.h: a pod_cluster that has what pods usually need; tests make of it what they are about.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "json/parse.h"
#include "node/pods/cluster.h"

namespace kedge::node {

// Has every ConfigMap and Secret that is asked for.
class generous_cluster : public pod_cluster {
 public:
  task<result<std::optional<json::value>>> config_map(std::string, std::string, time_point) override {
    co_return std::optional(*json::parse(R"({"data":{"k":"v"}})"));
  }
  task<result<std::optional<json::value>>> secret(std::string, std::string, time_point) override {
    co_return std::optional(*json::parse(R"({"data":{"k":"dg=="}})"));
  }
  task<result<std::vector<json::value>>> services(std::string, time_point) override {
    co_return std::vector<json::value>();
  }
  task<result<json::value>> token(std::string, std::string, json::value) override {
    co_return *json::parse(R"({"token":"t","expirationTimestamp":"2100-01-01T00:00:00Z"})");
  }
  task<result<json::value>> request_certificate(std::string, json::value) override {
    co_return fail(errc::unsupported, "none");
  }
  task<result<std::optional<json::value>>> certificate_request(std::string, std::string) override {
    co_return std::optional<json::value>();
  }
  task<result<std::optional<json::value>>> object(std::string) override { co_return std::optional<json::value>(); }
  task<result<json::value>> patch_status(const json::value&, json::value) override {
    co_return fail(errc::unsupported, "none");
  }
  task<result<json::value>> patch_claim_status(const json::value&, json::value) override {
    co_return fail(errc::unsupported, "none");
  }
  task<result<void>> remove(const json::value&) override { co_return result<void>(); }
  task<result<json::value>> create(json::value) override { co_return fail(errc::unsupported, "none"); }
  void tell(const json::value&, std::string, bool, std::string, std::string) override {}
};

}  // namespace kedge::node
