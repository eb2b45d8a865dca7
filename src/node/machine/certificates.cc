#include "node/machine/certificates.h"

#include <fmt/format.h>
#include <unistd.h>

#include <map>

#include "crypto/files.h"

namespace kedge::node {

namespace {

// The k3s-server certificate itself is kept by the server in dynamic-cert.json.
constexpr certificate_file files[] = {
    {"admin", "server/tls/client-admin"},
    {"api-server", "server/tls/client-kube-apiserver"},
    {"api-server", "server/tls/serving-kube-apiserver"},
    {"auth-proxy", "server/tls/client-auth-proxy"},
    {"cloud-controller", "server/tls/client-k3s-cloud-controller"},
    {"controller-manager", "server/tls/client-controller"},
    {"controller-manager", "server/tls/kube-controller-manager/kube-controller-manager"},
    {"etcd", "server/tls/etcd/client"},
    {"etcd", "server/tls/etcd/server-client"},
    {"etcd", "server/tls/etcd/peer-server-client"},
    {"scheduler", "server/tls/client-scheduler"},
    {"scheduler", "server/tls/kube-scheduler/kube-scheduler"},
    {"supervisor", "server/tls/client-supervisor"},
    {"kube-proxy", "server/tls/client-kube-proxy"},
    {"kube-proxy", "agent/client-kube-proxy"},
    {"kubelet", "server/tls/client-kubelet"},
    {"kubelet", "server/tls/serving-kubelet"},
    {"kubelet", "agent/client-kubelet"},
    {"kubelet", "agent/serving-kubelet"},
    {"k3s-controller", "server/tls/client-k3s-controller"},
    {"k3s-controller", "agent/client-k3s-controller"},
};
constexpr auto authority_warning = std::chrono::days(365);
constexpr std::string_view agents = "agent/";

std::string warning_of(std::string_view service, std::string_view file, const crypto::certificate& c, wall_time now,
                       std::chrono::days window) {
  auto what =
      fmt::format("{}/{}: certificate {}", service, file.substr(file.rfind('/') + 1), subject_text(c.subject()));
  if (now < c.not_before()) return what + " is not valid before " + format_rfc3339(c.not_before());
  if (now > c.not_after()) return what + " expired at " + format_rfc3339(c.not_after());
  if (now + window < c.not_after()) return {};
  return fmt::format("{} will expire within {} days at {}", what, window.count(), format_rfc3339(c.not_after()));
}

}  // namespace

std::span<const certificate_file> certificate_files() { return files; }

std::string subject_text(const crypto::subject& s) {
  auto text = "CN=" + s.user;
  for (const auto& group : s.groups) text += ",O=" + group;
  return text;
}

std::string usages_text(const crypto::certificate& c) {
  if (c.is_authority()) return "CertSign";
  std::string text;
  if (c.for_client()) text = "ClientAuth";
  if (c.for_server()) text += text.empty() ? "ServerAuth" : ",ServerAuth";
  return text;
}

std::string_view status_of(const crypto::certificate& c, wall_time now) {
  if (now > c.not_after()) return "EXPIRED";
  if (now < c.not_before()) return "NOT YET VALID";
  return c.not_after() - now < crypto::renewal_window ? "WARNING" : "OK";
}

certificate_report report_certificates(const std::string& data_dir, wall_time now) {
  certificate_report out;
  std::map<std::string, std::chrono::seconds> left;  // by labels: CAs ride along in many files
  for (auto& f : files) {
    auto text = crypto::read_file(fmt::format("{}/{}.crt", data_dir, f.stem));
    auto bundle = text ? crypto::parse_bundle(*text) : result<std::vector<crypto::certificate>>(fail(text.error()));
    if (!bundle) continue;
    for (auto& c : *bundle) {
      auto labels = fmt::format("subject=\"{}\",usages=\"{}\"", subject_text(c.subject()), usages_text(c));
      bool news = left.insert_or_assign(labels, std::chrono::floor<std::chrono::seconds>(c.not_after() - now)).second;
      auto wrong = warning_of(f.service, fmt::format("{}.crt", f.stem), c, now,
                              c.is_authority() ? authority_warning : crypto::renewal_window);
      if (!wrong.empty() && (news || !c.is_authority()))
        (c.is_authority() ? out.authorities : out.leaves).push_back(wrong);
    }
  }
  out.metrics =
      "# HELP k3s_certificate_expiration_seconds Remaining lifetime in seconds of the certificate, labeled by "
      "certificate "
      "subject and usages.\n# TYPE k3s_certificate_expiration_seconds gauge\n";
  for (auto& [labels, seconds] : left)
    out.metrics += fmt::format("k3s_certificate_expiration_seconds{{{}}} {}\n", labels, seconds.count());
  return out;
}

renewal_reason reason_to_ask_again(const std::string& data_dir, wall_time now) {
  for (auto& f : files) {
    if (!f.stem.starts_with(agents)) continue;
    auto path = fmt::format("{}/{}.crt", data_dir, f.stem);
    auto text = crypto::read_file(path);
    if (!text) return {path + " is not there", true};
    auto bundle = crypto::parse_bundle(*text);
    if (!bundle) return {path + " can't be read", true};
    auto& leaf = bundle->front();
    if (auto wrong = warning_of(f.service, path, leaf, now, crypto::renewal_window); !wrong.empty())
      return {std::move(wrong), false};
  }
  return {};
}

}  // namespace kedge::node
