#include "node/cni/plugin.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdio>
#include <cstdlib>

#include "json/parse.h"
#include "json/write.h"
#include "node/cni/host_local.h"
#include "node/cni/limits.h"

namespace kedge::node::cni {

namespace {

constexpr plugin plugins[] = {
    {"bridge", bridge_add, bridge_del, bridge_check, bridge_gc},
    {"flannel", flannel_add, flannel_del, flannel_check, flannel_gc},
    {"host-local", host_local_add, host_local_del, host_local_check, host_local_gc},
    {"loopback", loopback_add, loopback_del, loopback_check, nullptr},
    {"portmap", portmap_add, portmap_del, portmap_check, portmap_gc},
};

constexpr std::string_view versions[] = {"0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"};

// SPEC.md, "Error".
int error_code(errc code) {
  switch (code) {
    case errc::unsupported: return 2;
    case errc::not_found: return 3;
    case errc::io: return 5;
    case errc::corrupt: return 6;
    case errc::invalid: return 7;
    case errc::unavailable:
    case errc::timeout: return 11;
    default: return 100;
  }
}

outcome refusal(std::string_view version, int code, std::string message) {
  json::value v(json::object{{"cniVersion", version}, {"code", code}, {"msg", std::move(message)}});
  return {json::write(v) + "\n", 1};
}

// Before 1.0 an address says its family, and interfaces may be missing.
json::value in_version(json::value r, std::string_view version) {
  r.set("cniVersion", version);
  if (version < "1.0.0")
    if (auto* ips = r.find("ips"))
      if (auto* list = ips->array())
        for (auto& ip : *list) ip.set("version", ip["address"].as_string().contains(':') ? "6" : "4");
  return r;
}

bool is_name(std::string_view text) {
  return !text.empty() && text.size() <= name_bytes_max && text != "." && text != ".." &&
         std::ranges::all_of(text, [](unsigned char c) { return std::isalnum(c) || c == '_' || c == '.' || c == '-'; });
}

// What a runtime says in runtimeConfig has the names of its Go structures ("HostPort"): plugins in Go read names in any
// case.
json::value with_usual_names(const json::value& v) {
  if (auto* list = v.array()) {
    json::array out;
    for (auto& e : *list) out.push_back(with_usual_names(e));
    return out;
  }
  auto* members = v.object();
  if (!members) return v;
  json::object out;
  for (auto& [name, member] : *members) {
    auto usual = name;
    if (!usual.empty()) usual[0] = static_cast<char>(std::tolower(static_cast<unsigned char>(usual[0])));
    out.set(usual, with_usual_names(member));
  }
  return out;
}

}  // namespace

std::vector<std::string_view> plugin_names() {
  std::vector<std::string_view> names;
  for (auto& p : plugins) names.push_back(p.name);
  return names;
}

bool is_plugin(std::string_view name) { return std::ranges::find(plugins, name, &plugin::name) != std::end(plugins); }

std::vector<std::pair<std::string, std::string>> valid_attachments(const json::value& config) {
  std::vector<std::pair<std::string, std::string>> all;
  auto& listed = config["cni.dev/valid-attachments"].is_null() ? config["cni.dev/attachments"]
                                                               : config["cni.dev/valid-attachments"];
  if (auto* list = listed.array())
    for (auto& a : *list) all.emplace_back(a["containerID"].as_string(), a["ifname"].as_string());
  return all;
}

outcome call(std::string_view name, const std::function<std::string(const char*)>& environment,
             std::string_view input) {
  auto* p = std::ranges::find(plugins, name, &plugin::name);
  request r{.command = environment("CNI_COMMAND"),
            .container_id = environment("CNI_CONTAINERID"),
            .network_namespace = environment("CNI_NETNS"),
            .interface = environment("CNI_IFNAME"),
            .arguments = environment("CNI_ARGS"),
            .config = {}};
  if (r.command.empty())
    return refusal(
        "1.0.0", 4,
        "CNI_COMMAND is not set: " + std::string(name) + " is a CNI plugin, which a container runtime calls");
  auto config = json::parse(input);
  if (r.command == "VERSION") {
    json::array all;
    for (auto v : versions) all.emplace_back(v);
    return {
        json::write(json::value(json::object{{"cniVersion", "1.1.0"}, {"supportedVersions", std::move(all)}})) + "\n",
        0};
  }
  if (!config) return refusal("1.0.0", 6, "the network configuration can't be read: " + config.error().message);
  r.config = *std::move(config);
  if (r.config["runtimeConfig"].is_object()) r.config.set("runtimeConfig", with_usual_names(r.config["runtimeConfig"]));
  auto version = std::string(r.config["cniVersion"].as_string("1.0.0"));
  if (std::ranges::find(versions, version) == std::end(versions))
    return refusal("1.0.0", 1, "CNI version " + version + " is not supported");
  if (!is_name(r.network()))
    return refusal(version, 7, "\"name\" of the network configuration is missing or malformed");

  bool of_container = r.command == "ADD" || r.command == "DEL" || r.command == "CHECK";
  if (of_container && !is_name(r.container_id)) return refusal(version, 4, "CNI_CONTAINERID is missing or malformed");
  if (of_container && (!is_name(r.interface) || r.interface.size() > interface_name_max))
    return refusal(version, 4, "CNI_IFNAME is missing or malformed");
  if ((r.command == "ADD" || r.command == "CHECK") && r.network_namespace.empty())
    return refusal(version, 4, "CNI_NETNS is missing");

  result<void> done;
  if (r.command == "ADD") {
    auto added = p->add(r);
    if (added) return {json::write(in_version(*std::move(added), version)) + "\n", 0};
    done = fail(std::move(added).error());
  } else if (r.command == "DEL") {
    done = p->del(r);
  } else if (r.command == "CHECK") {
    done = p->check(r);
  } else if (r.command == "GC") {
    if (p->gc) done = p->gc(r);
  } else if (r.command != "STATUS") {
    return refusal(version, 4, "CNI_COMMAND " + r.command + " is not known");
  }
  if (!done) return refusal(version, error_code(done.error().code), std::string(name) + ": " + done.error().message);
  return {};
}

int run_plugin(std::string_view name) {
  std::string input;
  std::array<char, 16 * 1024> piece;
  for (;;) {
    auto got = ::read(STDIN_FILENO, piece.data(), piece.size());
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    input.append(piece.data(), static_cast<std::size_t>(got));
    if (input.size() > config_bytes_max) break;  // no JSON then
  }
  auto o = call(
      name,
      [](const char* key) {
        auto* v = std::getenv(key);
        return std::string(v ? v : "");
      },
      input);
  std::fwrite(o.output.data(), 1, o.output.size(), stdout);
  std::fflush(stdout);
  return o.code;
}

}  // namespace kedge::node::cni
