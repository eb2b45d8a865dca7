// datastore_options.h: from the options to the database that they name, and to the bucket of its snapshots.
#pragma once

#include "backup/s3/settings.h"
#include "cli/options.h"
#include "datastore/endpoint.h"

namespace kedge::cli {

datastore::endpoint_options datastore_options(const server_options& o);
// Whether the cluster has an etcd of its own, of which this server runs a member: asked for, joined, or there already.
bool manages_etcd(const server_options& o);
backup::s3::settings bucket_settings(const server_options& o);
std::string snapshot_folder(const server_options& o);

}  // namespace kedge::cli
