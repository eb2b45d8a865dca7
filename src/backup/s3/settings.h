// settings.h: where snapshots are kept beside the folder: a bucket of any S3.
#pragma once

#include <string>

#include "backup/s3/signature.h"
#include "base/error.h"
#include "base/time.h"
#include "json/value.h"

namespace kedge::backup::s3 {

struct settings {
  bool enabled = false;
  std::string endpoint = "s3.amazonaws.com";  // host[:port]
  std::string ca_file;                        // whom to believe; empty: the system's store
  std::string proxy;                          // http://host:port, which is asked for the way to it; empty: none
  bool skip_verify = false, insecure = false;
  credentials who;
  std::string bucket;
  std::string lookup = "auto";  // auto | dns: https://bucket.endpoint/… | path: https://endpoint/bucket/…
  std::string region = "us-east-1";
  std::string folder;
  unsigned retention = 5;
  duration timeout = std::chrono::minutes(5);
  std::string config_secret;  // of kube-system: says all of this, where nothing else does
};

// Whether the bucket's name is a part of the host's. As minio-go decides: by name at Amazon, by path elsewhere.
bool by_host_name(const settings& s);
// What `config_secret` says (its data, decoded already); K3s's keys: etcd-s3-endpoint, etcd-s3-bucket, …
settings from_secret(const json::value& data, settings otherwise);
// errc::invalid: what is missing, by the flag's name.
result<void> check(const settings& s);

}  // namespace kedge::backup::s3
