#include "backup/s3/settings.h"

#include "base/strings.h"

namespace kedge::backup::s3 {

bool by_host_name(const settings& s) {
  if (s.lookup == "dns") return true;
  if (s.lookup == "path") return false;
  // A name with dots fits no certificate of *.s3.amazonaws.com.
  auto host = s.endpoint.substr(0, s.endpoint.find(':'));
  bool amazon = host.ends_with(".amazonaws.com") || host.ends_with(".amazonaws.com.cn") || host == "s3.amazonaws.com";
  return amazon && (s.insecure || s.bucket.find('.') == std::string::npos);
}

settings from_secret(const json::value& data, settings s) {
  auto text = [&](const char* name, std::string& into) {
    if (auto v = data[name].as_string(); !v.empty()) into = v;
  };
  auto flag = [&](const char* name, bool& into) {
    if (auto v = data[name].as_string(); !v.empty()) into = v == "true";
  };
  text("etcd-s3-endpoint", s.endpoint);
  text("etcd-s3-access-key", s.who.access_key);
  text("etcd-s3-secret-key", s.who.secret_key);
  text("etcd-s3-session-token", s.who.session_token);
  text("etcd-s3-bucket", s.bucket);
  text("etcd-s3-bucket-lookup-type", s.lookup);
  text("etcd-s3-region", s.region);
  text("etcd-s3-folder", s.folder);
  text("etcd-s3-proxy", s.proxy);
  flag("etcd-s3-skip-ssl-verify", s.skip_verify);
  flag("etcd-s3-insecure", s.insecure);
  if (auto n = parse_uint(data["etcd-s3-retention"].as_string())) s.retention = static_cast<unsigned>(*n);
  if (auto t = parse_duration(data["etcd-s3-timeout"].as_string())) s.timeout = *t;
  return s;
}

result<void> check(const settings& s) {
  if (s.bucket.empty()) return fail(errc::invalid, "s3 bucket name was not set (--etcd-s3-bucket)");
  if (s.endpoint.empty() || s.endpoint.find('/') != std::string::npos)
    return fail(errc::invalid, "--etcd-s3-endpoint: " + quote(s.endpoint) + " is not a host, or host:port");
  if (s.lookup != "auto" && s.lookup != "dns" && s.lookup != "path")
    return fail(errc::invalid, "--etcd-s3-bucket-lookup-type: " + quote(s.lookup) + " is none of auto, dns and path");
  if (s.who.access_key.empty() != s.who.secret_key.empty())
    return fail(errc::invalid, "--etcd-s3-access-key and --etcd-s3-secret-key are of use only together");
  if (s.who.access_key.empty())
    return fail(errc::invalid,
                "--etcd-s3-access-key and --etcd-s3-secret-key (or AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY) are wanted: Kedge asks no cloud for credentials");
  return {};
}

}  // namespace kedge::backup::s3
