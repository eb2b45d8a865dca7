#include "cli/datastore_options.h"

#include "server/etcd/settings.h"

namespace kedge::cli {

datastore::endpoint_options datastore_options(const server_options& o) {
  datastore::endpoint_options d{.endpoint = o.datastore_endpoint,
                                .ca_file = o.datastore_ca_file,
                                .certificate_file = o.datastore_cert_file,
                                .key_file = o.datastore_key_file,
                                .sqlite = {}};
  d.sqlite.path = o.agent.data_dir + "/server/db/state.db";
  d.sqlite.durability =
      o.sqlite_synchronous == "full" ? datastore::sqlite_durability::full : datastore::sqlite_durability::normal;
  return d;
}

bool manages_etcd(const server_options& o) {
  if (!o.datastore_endpoint.empty()) return false;
  return o.cluster_init || !o.agent.server_url.empty() || server::etcd_has_data(o.agent.data_dir + "/server");
}

backup::s3::settings bucket_settings(const server_options& o) {
  return {.enabled = o.etcd_s3,
          .endpoint = o.etcd_s3_endpoint,
          .ca_file = o.etcd_s3_endpoint_ca,
          .proxy = o.etcd_s3_proxy,
          .skip_verify = o.etcd_s3_skip_ssl_verify,
          .insecure = o.etcd_s3_insecure,
          .who = {.access_key = o.etcd_s3_access_key,
                  .secret_key = o.etcd_s3_secret_key,
                  .session_token = o.etcd_s3_session_token},
          .bucket = o.etcd_s3_bucket,
          .lookup = o.etcd_s3_bucket_lookup,
          .region = o.etcd_s3_region,
          .folder = o.etcd_s3_folder,
          .retention = o.etcd_s3_retention,
          .timeout = parse_duration(o.etcd_s3_timeout).value_or(std::chrono::minutes(5)),
          .config_secret = o.etcd_s3_config_secret};
}

std::string snapshot_folder(const server_options& o) {
  return o.snapshot_dir.empty() ? o.agent.data_dir + "/server/db/snapshots" : o.snapshot_dir;
}

}  // namespace kedge::cli
