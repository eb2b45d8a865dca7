#include "node/pods/trust_anchors.h"

#include <fmt/format.h>

#include <set>
#include <utility>

#include "base/strings.h"
#include "crypto/pem.h"
#include "meta/selector.h"

namespace kedge::node {

namespace {

using json::value;

constexpr std::string_view bundles_path = "/apis/certificates.k8s.io/v1/clustertrustbundles";

task<result<json::array>> bundle_named(std::string name, pod_cluster& cluster) {
  KEDGE_CO_TRY(auto found, co_await cluster.object(fmt::format("{}/{}", bundles_path, percent_encode(name))));
  json::array out;
  if (found) out.push_back(*std::move(found));
  co_return out;
}

task<result<json::array>> bundles_of(std::string signer, value selector, pod_cluster& cluster) {
  auto labels = api::label_selector::from_object(selector);
  if (labels.nothing()) co_return json::array();
  KEDGE_CO_TRY(auto list, co_await cluster.object(fmt::format("{}?fieldSelector={}&labelSelector={}", bundles_path,
                                                              percent_encode("spec.signerName=" + signer),
                                                              percent_encode(labels.text()))));
  json::array out;
  if (list)
    if (auto* items = (*list)["items"].array()) out = *items;
  co_return out;
}

}  // namespace

result<std::string> trust_anchors_of(const json::array& bundles) {
  std::set<std::string> anchors;
  for (auto& bundle : bundles) {
    KEDGE_TRY(auto blocks, crypto::parse_pem(bundle["spec"]["trustBundle"].as_string()));
    for (auto& block : blocks) anchors.insert(std::move(block.der));
  }
  std::string out;
  for (auto& anchor : anchors) out += crypto::write_pem("CERTIFICATE", as_bytes(anchor));
  return out;
}

task<result<std::string>> trust_anchors_for(value source, pod_cluster& cluster) {
  auto name = std::string(source["name"].as_string()), signer = std::string(source["signerName"].as_string());
  if (name.empty() && signer.empty())
    co_return fail(errc::invalid, "ClusterTrustBundle projection requires either name or signerName to be set");
  KEDGE_CO_TRY(auto bundles, co_await (name.empty() ? bundles_of(signer, source["labelSelector"], cluster)
                                                    : bundle_named(name, cluster)));
  if (bundles.empty() && !source["optional"].as_bool())
    co_return fail(errc::not_found, name.empty()
                                        ? "combination of signerName and labelSelector matched zero ClusterTrustBundles"
                                        : fmt::format("while getting ClusterTrustBundle: "
                                                      "clustertrustbundle.certificates.k8s.io \"{}\" not found",
                                                      name));
  auto anchors = trust_anchors_of(bundles);
  if (!anchors) co_return fail(std::move(anchors).error().with("while normalizing trust anchors: "));
  co_return anchors;
}

}  // namespace kedge::node
