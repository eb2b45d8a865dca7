// checks.h: what a flag's value must look like. Each gives nothing for a good value, else what is wrong with it, to
// stand after the quoted value: `"10.42.0.0" is not a CIDR such as 10.42.0.0/16`.
#pragma once

#include <optional>
#include <string_view>

namespace kedge::cli {

std::optional<std::string_view> check_ip(std::string_view value);
std::optional<std::string_view> check_cidr(std::string_view value);
std::optional<std::string_view> check_https_url(std::string_view value);
std::optional<std::string_view> check_dns_name(std::string_view value);    // RFC 1123 subdomain
std::optional<std::string_view> check_node_label(std::string_view value);  // key=value
std::optional<std::string_view> check_node_taint(std::string_view value);  // key[=value]:Effect
std::optional<std::string_view> check_key_value(std::string_view value);   // key=value, key+=value, key-=value
std::optional<std::string_view> check_io_backend(std::string_view value);
std::optional<std::string_view> check_flannel_backend(std::string_view value);
std::optional<std::string_view> check_egress_mode(std::string_view value);
std::optional<std::string_view> check_synchronous(std::string_view value);
std::optional<std::string_view> check_encryption_provider(std::string_view value);
std::optional<std::string_view> check_absolute_path(std::string_view value);
std::optional<std::string_view> check_snapshot_name(std::string_view value);
std::optional<std::string_view> check_bucket_lookup(std::string_view value);
std::optional<std::string_view> check_duration(std::string_view value);
std::optional<std::string_view> check_cron(std::string_view value);
std::optional<std::string_view> check_extra_component(std::string_view value);
std::optional<std::string_view> check_output_format(std::string_view value);

}  // namespace kedge::cli
