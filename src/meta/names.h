// names.h: the rules for names, labels and other small texts (k8s.io/apimachinery/pkg/util/validation), to its
// messages. Each check gives what is wrong, empty when nothing is.
#pragma once

#include <cstdint>

#include <string>
#include <string_view>
#include <vector>

namespace kedge::api {

using problems = std::vector<std::string>;

// The same as rules say it that are declared with the types: a length is one of bytes.
problems in_bytes(problems found);

problems check_dns1123_label(std::string_view text);
problems check_dns1123_subdomain(std::string_view text);
problems check_any_case_subdomain(std::string_view text);  // of upper case, too
problems check_dns1035_label(std::string_view text);
problems check_qualified_name(std::string_view text);  // label and annotation keys
problems check_label_value(std::string_view text);
problems check_path_segment(std::string_view text);  // RBAC names
problems check_config_map_key(std::string_view text);
problems check_env_var_name(std::string_view text);  // relaxed rule of 1.32+
problems check_port_number(std::int64_t port);
problems check_port_name(std::string_view text);  // IANA_SVC_NAME
problems check_c_identifier(std::string_view text);
problems check_wildcard_dns1123_subdomain(std::string_view text);
problems check_condition_reason(std::string_view text);
problems check_http_path(std::string_view text);  // the characters of a URL's path
bool is_http_header_name(std::string_view text);

// Addresses and ranges. Fields of old allow every spelling that all programs read alike, newer ones the canonical one.
problems check_ip(std::string_view text);
problems check_canonical_ip(std::string_view text);
problems check_cidr(std::string_view text);
problems check_canonical_cidr(std::string_view text);
// What endpoints and external addresses may not be: this machine, the link, all of them.
problems check_endpoint_ip(std::string_view text);

}  // namespace kedge::api
