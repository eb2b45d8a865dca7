// ingress.cc: Ingress.
#include <fmt/format.h>

#include <unordered_set>

#include "api/kinds/core/warnings.h"
#include "api/kinds/networking/references.h"
#include "api/registry/kind_rules.h"
#include "base/ip.h"
#include "base/strings.h"

namespace kedge::api {
namespace {

constexpr std::string_view class_annotation = "kubernetes.io/ingress.class";

// What an older object has that is wrong by now.
struct allowances {
  bool any_secret_names = false, any_wildcard_rules = false;
};

void check_host(causes& out, std::string_view host, const place& at) {
  add_problems(out, at, host,
               host.find('*') != host.npos ? check_wildcard_dns1123_subdomain(host) : check_dns1123_subdomain(host));
}

void check_service(causes& out, const json::value& service, const place& of_backend) {
  const place of_service(of_backend, "service"), of_port(of_service, "port");
  if (need(out, service, of_service, "name"))
    add_problems(out, place(of_service, "name"), service["name"], check_dns1123_label(service["name"].as_string()));
  auto &name = service["port"]["name"], &number = service["port"]["number"];
  const bool named = !name.as_string().empty(), numbered = number.as_integer() != 0;
  if (named && numbered)
    out.push_back(invalid_value(of_backend, "", "cannot set both port name & port number"));
  else if (named)
    add_problems(out, place(of_port, "name"), name, check_port_name(name.as_string()));
  else if (numbered)
    add_problems(out, place(of_port, "number"), number, check_port_number(number.as_integer()));
  else
    out.push_back(required(of_backend, "port name or number is required"));
}

void check_backend(causes& out, const json::value& backend, const place& at) {
  const bool service = backend["service"].is_object(), resource = backend["resource"].is_object();
  if (service && resource) return out.push_back(invalid_value(at, "", "cannot set both resource and service backends"));
  if (service)
    check_service(out, backend["service"], at);
  else if (resource)
    check_typed_reference(out, backend["resource"], place(at, "resource"));
  else
    out.push_back(invalid_value(at, "", "resource or service backend is required"));
}

void check_exact_path(causes& out, std::string_view path, const place& at) {
  if (!path.starts_with('/')) out.push_back(invalid_value(at, path, "must be an absolute path"));
  for (auto part : {"//", "/./", "/../", "%2f", "%2F"})
    if (path.find(part) != path.npos)
      out.push_back(invalid_value(at, path, fmt::format("must not contain '{}'", part)));
  for (auto end : {"/..", "/."})
    if (path.ends_with(end)) out.push_back(invalid_value(at, path, fmt::format("cannot end with '{}'", end)));
}

void check_path(causes& out, const json::value& p, const place& at) {
  auto type = p["pathType"].as_string(), path = p["path"].as_string();
  const place of_path(at, "path");
  if (p["pathType"].is_null()) return out.push_back(required(place(at, "pathType"), "pathType must be specified"));
  if (type == "Exact" || type == "Prefix")
    check_exact_path(out, path, of_path);
  else if (type != "ImplementationSpecific")
    out.push_back(not_supported(place(at, "pathType"), type, {"Exact", "ImplementationSpecific", "Prefix"}));
  else if (!path.empty() && !path.starts_with('/'))
    out.push_back(invalid_value(of_path, path, "must be an absolute path"));
  check_backend(out, p["backend"], place(at, "backend"));
}

void check_paths(causes& out, const json::value& http, const place& at) {
  if (!http.is_object()) return;
  need(out, http, at, "paths");
  for (std::size_t i = 0; i < http["paths"].size(); ++i) check_path(out, http["paths"][i], place(at, "paths", i));
}

void check_rules(causes& out, const json::value& rules, const place& at, const allowances& allowed) {
  for (std::size_t i = 0; i < rules.size(); ++i) {
    const place here(at, i), of_host(here, "host");
    auto host = rules[i]["host"].as_string();
    if (ip_address::parse_sloppy(host))
      out.push_back(invalid_value(of_host, host, "must be a DNS name, not an IP address"));
    if (!host.empty()) check_host(out, host, of_host);
    if (!allowed.any_wildcard_rules || host.find('*') == host.npos)
      check_paths(out, rules[i]["http"], place(here, "http"));
  }
}

bool is_secret_name(std::string_view name) { return name.empty() || check_dns1123_subdomain(name).empty(); }

void check_certificates(causes& out, const json::value& list, const place& at, const allowances& allowed) {
  for (std::size_t i = 0; i < list.size(); ++i) {
    const place here(at, i);
    for (std::size_t j = 0; j < list[i]["hosts"].size(); ++j)
      check_host(out, list[i]["hosts"][j].as_string(), place(here, "hosts", j));
    if (auto name = list[i]["secretName"].as_string(); !allowed.any_secret_names && !is_secret_name(name))
      add_problems(out, place(here, "secretName"), name, check_dns1123_subdomain(name));
  }
}

void check(causes& out, const json::value& spec, const allowances& allowed) {
  const place at("spec");
  if (spec["rules"].empty() && !spec["defaultBackend"].is_object())
    out.push_back(invalid_value(at, spec["rules"], "either `defaultBackend` or `rules` must be specified"));
  if (spec["defaultBackend"].is_object()) check_backend(out, spec["defaultBackend"], place(at, "defaultBackend"));
  check_rules(out, spec["rules"], place(at, "rules"), allowed);
  check_certificates(out, spec["tls"], place(at, "tls"), allowed);
  if (auto& name = spec["ingressClassName"]; name.is_string())
    add_problems(out, place(at, "ingressClassName"), name, check_dns1123_subdomain(name.as_string()));
}

void validate(causes& out, const json::value& o) {
  check(out, o["spec"], {});
  auto annotation = o["metadata"]["annotations"].find(class_annotation);
  auto& name = o["spec"]["ingressClassName"];
  if (annotation && name.is_string() && !(*annotation == name))
    out.push_back(invalid_value("annotations.kubernetes.io/ingress.class", *annotation,
                                "must match `ingressClassName` when both are specified"));
}

void validate_update(causes& out, const json::value& o, const json::value& old) {
  allowances allowed;
  auto &certificates = old["spec"]["tls"], &rules = old["spec"]["rules"];
  for (std::size_t i = 0; i < certificates.size(); ++i)
    if (!is_secret_name(certificates[i]["secretName"].as_string())) allowed.any_secret_names = true;
  for (std::size_t i = 0; i < rules.size(); ++i) {
    causes wrong;
    if (rules[i]["host"].as_string().find('*') != std::string_view::npos) check_paths(wrong, rules[i]["http"], "");
    if (!wrong.empty()) allowed.any_wildcard_rules = true;
  }
  check(out, o["spec"], allowed);
}

void validate_part(causes& out, const json::value& o, const json::value& old, std::string_view) {
  auto &list = o["status"]["loadBalancer"]["ingress"], &before = old["status"]["loadBalancer"]["ingress"];
  std::unordered_set<std::string_view> known;
  for (std::size_t i = 0; i < before.size(); ++i) known.insert(before[i]["ip"].as_string());
  const place at("status.loadBalancer.ingress");
  for (std::size_t i = 0; i < list.size(); ++i) {
    const place here(at, i), of_name(here, "hostname");
    auto ip = list[i]["ip"].as_string(), name = list[i]["hostname"].as_string();
    if (!ip.empty() && !known.contains(ip)) add_problems(out, place(here, "ip"), ip, check_ip(ip));
    if (!name.empty()) add_problems(out, of_name, name, check_dns1123_subdomain(name));
    if (ip_address::parse_sloppy(name))
      out.push_back(invalid_value(of_name, name, "must be a DNS name, not an IP address"));
  }
}

void warn(warnings& out, const json::value& o, const json::value* old) {
  if (!old && o["metadata"]["annotations"].find(class_annotation) && o["spec"]["ingressClassName"].is_null())
    out.push_back(fmt::format("annotation {} is deprecated, please use 'spec.ingressClassName' instead",
                              quote(class_annotation)));
}

void warn_status(warnings& out, const json::value& o) {
  auto& list = o["status"]["loadBalancer"]["ingress"];
  const place at("status.loadBalancer.ingress");
  for (std::size_t i = 0; i < list.size(); ++i) warn_ip(out, list[i]["ip"].as_string(), place(at, i));
}

}  // namespace

const kind_rules kinds::ingresses{.group = "networking.k8s.io",
                                  .resource = "ingresses",
                                  .generation = true,
                                  .validate = validate,
                                  .validate_update = validate_update,
                                  .validate_part = validate_part,
                                  .warn = warn,
                                  .warn_status = warn_status};

}  // namespace kedge::api
