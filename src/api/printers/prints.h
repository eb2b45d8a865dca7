// prints.h: the printers that the files of this folder define, for the table in printers.cc.
#pragma once

#include "api/printers/printer.h"

namespace kedge::api::print {

table_row component_status(const json::value& o, wall_time now);
table_row config_map(const json::value& o, wall_time now);
table_row secret(const json::value& o, wall_time now);
table_row event(const json::value& o, wall_time now);
table_row name_space(const json::value& o, wall_time now);
table_row node(const json::value& o, wall_time now);
table_row claim(const json::value& o, wall_time now);
table_row volume(const json::value& o, wall_time now);
table_row quota(const json::value& o, wall_time now);
table_row pod(const json::value& o, wall_time now);
table_row pod_template(const json::value& o, wall_time now);

table_row replicas(const json::value& o, wall_time now);  // ReplicationController, ReplicaSet
table_row controller_revision(const json::value& o, wall_time now);
table_row daemon_set(const json::value& o, wall_time now);
table_row deployment(const json::value& o, wall_time now);
table_row stateful_set(const json::value& o, wall_time now);
table_row autoscaler(const json::value& o, wall_time now);
table_row cron_job(const json::value& o, wall_time now);
table_row job(const json::value& o, wall_time now);
table_row disruption_budget(const json::value& o, wall_time now);

table_row endpoints(const json::value& o, wall_time now);
table_row endpoint_slice(const json::value& o, wall_time now);
table_row service(const json::value& o, wall_time now);
table_row ingress(const json::value& o, wall_time now);
table_row ingress_class(const json::value& o, wall_time now);
table_row ip_address(const json::value& o, wall_time now);
table_row network_policy(const json::value& o, wall_time now);
table_row service_cidr(const json::value& o, wall_time now);

table_row api_service(const json::value& o, wall_time now);
table_row signing_request(const json::value& o, wall_time now);
table_row trust_bundle(const json::value& o, wall_time now);
table_row pod_certificate_request(const json::value& o, wall_time now);
table_row storage_version_migration(const json::value& o, wall_time now);
table_row custom_definition(const json::value& o, wall_time now);
table_row device_taint(const json::value& o, wall_time now);
table_row binding(const json::value& o, wall_time now);
table_row csi_driver(const json::value& o, wall_time now);
table_row csi_node(const json::value& o, wall_time now);
table_row storage_class(const json::value& o, wall_time now);
table_row attachment(const json::value& o, wall_time now);
table_row attributes_class(const json::value& o, wall_time now);
table_row webhooks(const json::value& o, wall_time now);
table_row admission_policy(const json::value& o, wall_time now);
table_row admission_policy_binding(const json::value& o, wall_time now);
table_row priority_class(const json::value& o, wall_time now);
table_row lease(const json::value& o, wall_time now);
table_row runtime_class(const json::value& o, wall_time now);
table_row named(const json::value& o, wall_time now);  // name and age
table_row resource_claim(const json::value& o, wall_time now);
table_row resource_slice(const json::value& o, wall_time now);
table_row flow_schema(const json::value& o, wall_time now);
table_row priority_level(const json::value& o, wall_time now);
table_row node_usage(const json::value& o, wall_time now);
table_row pod_usage(const json::value& o, wall_time now);

}  // namespace kedge::api::print
