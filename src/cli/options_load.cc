#include "cli/options_load.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "base/ip.h"
#include "base/strings.h"
#include "cli/config_file.h"
#include "cli/datastore_options.h"
#include "cli/node_args.h"
#include "crypto/files.h"
#include "meta/nodes.h"

namespace kedge::cli {
namespace {

std::string_view word_of(audience who) { return who == audience::server ? "server" : "agent"; }

// The environment beats the flag here, as in K3s: the path must be known before flags of the file can be.
std::string config_path(const scanned& line, const machine& here) {
  const auto* f = find_flag(flag_table(), "config");
  if (auto path = here.variable(f->env)) return *path;
  return line.value("config", f->fallback);
}

// The file's entries as `--key=value` items for node-args, and into the options.
result<void> apply_config(const std::vector<config_entry>& entries, audience who, loaded_options& into,
                          std::vector<std::string>& items) {
  for (const auto& entry : entries) {
    const auto* f = find_flag(flag_table(), entry.key, who);
    for (const auto& value : entry.values) {
      const auto origin = fmt::format("{}:{}: {}", value.file, value.line, entry.key);
      if (f == nullptr) {
        // Servers and agents often share a file; K3s forgives a server keys that it doesn't know, and an agent none.
        auto unknown = unknown_flag(flag_table(), entry.key, who);
        if (who == audience::agent) return fail(std::move(unknown).with(origin));
        into.warnings.push_back(origin + ": " + unknown.message);
        break;
      }
      if (f->name == "config") return fail(errc::invalid, origin + ": a configuration file can't name another one");
      KEDGE_CHECK(assign(*f, value.text, origin, into.options, into.warnings));
      items.push_back(dashed(entry.key) + "=" + value.text);
    }
    if (f != nullptr && kind_of(*f) != value_kind::list && entry.values.size() > 1 && !f->comma_separated)
      return fail(errc::invalid, fmt::format("{}:{}: {} takes one value, not a list", entry.values[1].file,
                                             entry.values[1].line, entry.key));
  }
  return {};
}

result<void> apply_environment(audience who, const machine& here, loaded_options& into) {
  for (const auto& f : flag_table()) {
    if (f.env.empty() || f.name == "config" || !serves(f, who)) continue;
    if (const auto value = here.variable(f.env)) KEDGE_CHECK(assign(f, *value, f.env, into.options, into.warnings));
  }
  return {};
}

// The token of a file stands in when none was given itself.
result<void> read_token(std::string& token, const std::string& file, std::string_view flag_name) {
  if (!token.empty() || file.empty()) return {};
  auto content = crypto::read_file(file);
  if (!content) return fail(std::move(content).error().with(flag_name));
  token = trim(std::string_view(*content).substr(0, content->find('\n')));
  if (token.empty()) return fail(errc::invalid, fmt::format("{}: {} has no token in its first line", flag_name, file));
  return {};
}

// Lists that have a default (the CIDRs) lose it with the first value given.
void forget_list_defaults(server_options& options) {
  options.cluster_cidr.clear();
  options.service_cidr.clear();
}

void restore_list_defaults(server_options& options) {
  const server_options fresh;
  if (options.cluster_cidr.empty()) options.cluster_cidr = fresh.cluster_cidr;
  if (options.service_cidr.empty()) options.service_cidr = fresh.service_cidr;
}

result<void> complete(server_options& options, const machine& here) {
  auto& agent = options.agent;
  if (agent.data_dir.empty()) agent.data_dir = here.default_data_dir();
  std::error_code failed;
  const auto absolute = std::filesystem::absolute(agent.data_dir, failed).lexically_normal();
  if (failed) return fail(os_error(failed.value(), "--data-dir " + agent.data_dir));
  agent.data_dir = absolute.string();
  if (agent.data_dir.size() > 1 && agent.data_dir.ends_with('/')) agent.data_dir.pop_back();
  agent.node_name = lower(agent.node_name.empty() ? here.host_name : agent.node_name);  // as K3s, whoever gave it
  while (agent.server_url.ends_with('/')) agent.server_url.pop_back();
  KEDGE_CHECK(read_token(agent.token, agent.token_file, "--token-file"));
  KEDGE_CHECK(read_token(options.agent_token, options.agent_token_file, "--agent-token-file"));
  return {};
}

// Addresses are given out of one IPv4 range yet; what would be taken and then not given is not taken.
result<void> check_ranges(const std::vector<std::string>& ranges, std::string_view flag_name, std::string_view what) {
  if (ranges.size() == 1 && ip_range::parse(ranges[0]) && ip_range::parse(ranges[0])->is_v4()) return {};
  return fail(errc::unsupported,
              fmt::format("{} {}: Kedge gives {} addresses of one IPv4 range only yet, not of a second or an IPv6 one",
                          flag_name, quote(join(ranges, ",")), what));
}

result<void> check_between_flags(audience who, const server_options& options) {
  const auto& agent = options.agent;
  if (agent.node_name.empty()) return fail(errc::invalid, "this machine has no host name; give --node-name");
  if (who == audience::agent || !options.disable_agent) {
    if (auto problem = meta::node_name_problem(agent.node_name); !problem.empty())
      return fail(errc::invalid, std::move(problem));
    if (auto problem = meta::node_labels_problem(agent.node_labels); !problem.empty())
      return fail(errc::invalid, std::move(problem));
  }
  if (who == audience::agent) {
    if (agent.server_url.empty()) return fail(errc::invalid, "--server (or K3S_URL) is required: the server to join");
    if (agent.token.empty())
      return fail(errc::invalid,
                  "--token (or K3S_TOKEN, --token-file) is required; it stands in server/node-token of the server's "
                  "data directory");
    return {};
  }
  if (!agent.server_url.empty() && agent.token.empty())
    return fail(errc::invalid, "--server needs --token (or K3S_TOKEN, --token-file): the token of the cluster to join");
  if (options.datastore_cert_file.empty() != options.datastore_key_file.empty())
    return fail(errc::invalid, "--datastore-certfile and --datastore-keyfile are of use only together");
  if (options.etcd_s3 && options.etcd_s3_config_secret.empty())
    KEDGE_CHECK(backup::s3::check(bucket_settings(options)));
  if (options.cluster_reset && options.cluster_reset_restore_path.empty())
    return fail(
        errc::unsupported,
        "--cluster-reset needs --cluster-reset-restore-path, the snapshot to restore: Kedge has no members of an "
        "embedded etcd to reset");
  if (!options.cluster_reset && !options.cluster_reset_restore_path.empty())
    return fail(errc::invalid, "--cluster-reset-restore-path is of use only with --cluster-reset");
  KEDGE_CHECK(check_ranges(options.cluster_cidr, "--cluster-cidr", "pods"));
  return check_ranges(options.service_cidr, "--service-cidr", "services");
}

}  // namespace

result<loaded_options> load_options(audience who, std::span<const std::string> arguments, const machine& here) {
  KEDGE_TRY(auto line, scan(flag_table(), who, arguments));
  loaded_options loaded;
  if (line.help) {
    loaded.help = true;
    return loaded;
  }
  if (!line.positional.empty())
    return fail(errc::invalid, fmt::format("unexpected argument {}; kedge {} takes flags only",
                                           quote(line.positional[0]), word_of(who)));
  const auto path = config_path(line, here);
  KEDGE_TRY(auto entries, read_config(path));

  std::vector<std::string> items = {std::string(word_of(who))};
  forget_list_defaults(loaded.options);
  KEDGE_CHECK(apply_config(entries, who, loaded, items));
  KEDGE_CHECK(apply_environment(who, here, loaded));
  for (const auto& o : line.flags)
    KEDGE_CHECK(assign(*o.of, o.value, dashed(o.of->name), loaded.options, loaded.warnings));
  restore_list_defaults(loaded.options);
  loaded.options.agent.config_file = path;

  items.insert(items.end(), arguments.begin(), arguments.end());
  loaded.options.agent.node_args = masked_arguments(items);
  loaded.options.agent.node_env = masked_environment(here.environment);

  KEDGE_CHECK(complete(loaded.options, here));
  KEDGE_TRY(loaded.options.api, read_api_server_arguments(loaded.options.api_server_args, loaded.warnings));
  auto& agent = loaded.options.agent;
  KEDGE_TRY(agent.kube_proxy, read_kube_proxy_arguments(agent.kube_proxy_args, loaded.warnings));
  KEDGE_TRY(agent.kubelet, read_kubelet_arguments(agent.kubelet_args, agent.data_dir, loaded.warnings));
  KEDGE_TRY(loaded.options.controllers,
            read_controller_manager_arguments(loaded.options.controller_manager_args, loaded.warnings));
  KEDGE_TRY(loaded.options.scheduling, read_scheduler_arguments(loaded.options.scheduler_args, loaded.warnings));
  KEDGE_CHECK(check_between_flags(who, loaded.options));
  return loaded;
}

}  // namespace kedge::cli
