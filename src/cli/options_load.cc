#include "cli/options_load.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "base/ip.h"
#include "base/strings.h"
#include "cli/config_check.h"
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

// Ends at the first problem, or goes on and collects all.
class judge {
 public:
  explicit judge(std::vector<std::string>* all) : all_(all) {}
  template <typename T>
  result<void> operator()(const result<T>& r) {
    if (r) return {};
    if (!all_) return fail(r.error());
    all_->push_back(r.error().message);
    return {};
  }
  result<void> operator()(error e) { return (*this)(result<void>(fail(std::move(e)))); }
  std::vector<std::string>* all() const noexcept { return all_; }

 private:
  std::vector<std::string>* all_;
};

// The file's entries as `--key=value` items for node-args, and into the options.
result<void> apply_config(const std::vector<config_entry>& entries, audience who, loaded_options& into,
                          std::vector<std::string>& items, judge& good) {
  for (const auto& entry : entries) {
    const auto* f = find_flag(flag_table(), entry.key, who);
    for (const auto& value : entry.values) {
      const auto origin = fmt::format("{}:{}: {}", value.file, value.line, entry.key);
      if (f == nullptr) {
        // Servers and agents often share a file; K3s forgives a server keys that it doesn't know, and an agent none.
        auto unknown = unknown_flag(flag_table(), entry.key, who);
        if (who == audience::agent) {
          KEDGE_CHECK(good(std::move(unknown).with(origin)));
          break;
        }
        into.warnings.push_back(origin + ": " + unknown.message);
        break;
      }
      if (f->name == "config") {
        KEDGE_CHECK(good(error(errc::invalid, origin + ": a configuration file can't name another one")));
        break;
      }
      KEDGE_CHECK(good(assign(*f, value.text, origin, into.options, into.warnings)));
      items.push_back(dashed(entry.key) + "=" + value.text);
    }
    if (f != nullptr && kind_of(*f) != value_kind::list && entry.values.size() > 1 && !f->comma_separated)
      KEDGE_CHECK(good(error(errc::invalid, fmt::format("{}:{}: {} takes one value, not a list", entry.values[1].file,
                                                        entry.values[1].line, entry.key))));
  }
  return {};
}

result<void> apply_environment(audience who, const machine& here, loaded_options& into, judge& good) {
  for (const auto& f : flag_table()) {
    if (f.env.empty() || f.name == "config" || !serves(f, who)) continue;
    if (const auto value = here.variable(f.env))
      KEDGE_CHECK(good(assign(f, *value, f.env, into.options, into.warnings)));
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

// One range of a family: the first is the one that objects get where they don't say.
result<void> check_ranges(const std::vector<std::string>& texts, std::string_view flag_name) {
  auto wrong = [&](std::string why) {
    return fail(errc::invalid, fmt::format("{} {}: {}", flag_name, quote(join(texts, ",")), why));
  };
  if (texts.size() > 2) return wrong("at most two ranges can be given, one IPv4 and one IPv6");
  std::vector<ip_range> ranges;
  for (auto& text : texts) {
    auto r = ip_range::parse(text);
    if (!r) return wrong(quote(text) + " is not a CIDR such as 10.42.0.0/16 or fd00:42::/56");
    ranges.push_back(*r);
  }
  if (ranges.size() == 2 && ranges[0].is_v4() == ranges[1].is_v4())
    return wrong("two ranges have to be of different families, one IPv4 and one IPv6");
  return {};
}

// Of ranges that are ranges.
result<void> check_families(const server_options& options) {
  for (auto& text : options.service_cidr) {
    auto r = ip_range::parse(text).value();
    if (r.is_v4() ? r.prefix() > 30 : r.prefix() < 64 || r.prefix() > 126)
      return fail(errc::invalid, fmt::format("--service-cidr {}: a prefix of {} is wanted", quote(text),
                                             r.is_v4() ? "at most /30" : "/64 to /126"));
    auto same = [&](auto& pods) { return pods.contains(':') == text.contains(':'); };
    if (std::ranges::none_of(options.cluster_cidr, same))
      return fail(errc::invalid,
                  fmt::format("--service-cidr {}: --cluster-cidr has no range of that family for the pods "
                              "behind such addresses",
                              quote(text)));
  }
  // The Service kubernetes and what stands behind it are of one family.
  if (!options.advertise_address.empty() &&
      options.advertise_address.contains(':') != options.service_cidr.front().contains(':'))
    return fail(errc::invalid,
                fmt::format("--advertise-address {} and the first range of --service-cidr, {}, have to be "
                            "of one family",
                            options.advertise_address, options.service_cidr.front()));
  return {};
}

result<void> check_network(const server_options& options, judge& good) {
  const auto pods = check_ranges(options.cluster_cidr, "--cluster-cidr");
  const auto services = check_ranges(options.service_cidr, "--service-cidr");
  KEDGE_CHECK(good(pods));
  KEDGE_CHECK(good(services));
  return pods && services ? good(check_families(options)) : result<void>();
}

result<void> check_between_flags(audience who, const server_options& options, judge& good) {
  const auto& agent = options.agent;
  auto refuse_if = [&good](bool wrong, std::string_view text) {
    return wrong ? good(error(errc::invalid, std::string(text))) : result<void>();
  };
  KEDGE_CHECK(refuse_if(agent.node_name.empty(), "this machine has no host name; give --node-name"));
  if (who == audience::agent || !options.disable_agent) {
    if (auto problem = meta::node_name_problem(agent.node_name); !agent.node_name.empty())
      KEDGE_CHECK(refuse_if(!problem.empty(), problem));
    const auto labels = meta::node_labels_problem(agent.node_labels);
    KEDGE_CHECK(refuse_if(!labels.empty(), labels));
  }
  if (who == audience::agent) {
    KEDGE_CHECK(refuse_if(agent.server_url.empty(), "--server (or K3S_URL) is required: the server to join"));
    return refuse_if(agent.token.empty(),
                     "--token (or K3S_TOKEN, --token-file) is required; it stands in server/node-token of the server's "
                     "data directory");
  }
  const bool joins = !agent.server_url.empty(), database = !options.datastore_endpoint.empty();
  KEDGE_CHECK(refuse_if(joins && agent.token.empty(),
                        "--server needs --token (or K3S_TOKEN, --token-file): the token of the cluster to join"));
  KEDGE_CHECK(refuse_if(options.datastore_cert_file.empty() != options.datastore_key_file.empty(),
                        "--datastore-certfile and --datastore-keyfile are of use only together"));
  if (options.etcd_s3 && options.etcd_s3_config_secret.empty())
    KEDGE_CHECK(good(backup::s3::check(bucket_settings(options))));
  KEDGE_CHECK(
      refuse_if(options.cluster_init && database, "--cluster-init and --datastore-endpoint name two datastores"));
  KEDGE_CHECK(refuse_if(
      options.cluster_reset && joins,
      "--cluster-reset makes a cluster of this server alone: leave --server away, and give it to the others"));
  KEDGE_CHECK(refuse_if(
      options.cluster_reset && database && options.cluster_reset_restore_path.empty(),
      "--cluster-reset without a snapshot is for an etcd of the cluster's own, and --datastore-endpoint names "
      "another datastore"));
  KEDGE_CHECK(
      refuse_if(options.disable_etcd && !joins, "--disable-etcd needs --server, a server that has the cluster's etcd"));
  KEDGE_CHECK(refuse_if(
      options.disable_etcd && database,
      "--disable-etcd is for an etcd of the cluster's own, and --datastore-endpoint names another datastore"));
  KEDGE_CHECK(refuse_if(options.disable_etcd && options.cluster_init,
                        "--cluster-init begins an etcd, and --disable-etcd wants none"));
  KEDGE_CHECK(refuse_if(!options.cluster_reset && !options.cluster_reset_restore_path.empty(),
                        "--cluster-reset-restore-path is of use only with --cluster-reset"));
  return check_network(options, good);
}

}  // namespace

namespace {

result<loaded_options> load(audience who, std::span<const std::string> arguments, const machine& here, judge& good) {
  KEDGE_TRY(auto line, scan(flag_table(), who, arguments, good.all()));
  loaded_options loaded;
  if (line.help) {
    loaded.help = true;
    return loaded;
  }
  if (!line.positional.empty())
    KEDGE_CHECK(good(error(errc::invalid, fmt::format("unexpected argument {}; kedge {} takes flags only",
                                                      quote(line.positional[0]), word_of(who)))));
  const auto path = config_path(line, here);
  std::vector<config_entry> entries;
  auto read = read_config(path);
  KEDGE_CHECK(good(read));
  if (read) entries = *std::move(read);

  std::vector<std::string> items = {std::string(word_of(who))};
  forget_list_defaults(loaded.options);
  KEDGE_CHECK(apply_config(entries, who, loaded, items, good));
  KEDGE_CHECK(apply_environment(who, here, loaded, good));
  for (const auto& o : line.flags)
    KEDGE_CHECK(good(assign(*o.of, o.value, dashed(o.of->name), loaded.options, loaded.warnings)));
  restore_list_defaults(loaded.options);
  loaded.options.agent.config_file = path;

  items.insert(items.end(), arguments.begin(), arguments.end());
  loaded.options.agent.node_args = masked_arguments(items);
  loaded.options.agent.node_env = masked_environment(here.environment);

  KEDGE_CHECK(good(complete(loaded.options, here)));
  auto take = [&good](auto argument, auto& into) -> result<void> {
    KEDGE_CHECK(good(argument));
    if (argument) into = *std::move(argument);
    return {};
  };
  auto& o = loaded.options;
  auto& agent = o.agent;
  auto& told = loaded.warnings;
  KEDGE_CHECK(take(read_api_server_arguments(o.api_server_args, told), o.api));
  KEDGE_CHECK(take(read_kube_proxy_arguments(agent.kube_proxy_args, told), agent.kube_proxy));
  KEDGE_CHECK(take(read_kubelet_arguments(agent.kubelet_args, agent.data_dir, told), agent.kubelet));
  KEDGE_CHECK(take(read_controller_manager_arguments(o.controller_manager_args, told), o.controllers));
  o.controllers.helm.enabled = !o.disable_helm_controller;
  o.controllers.helm.api_port = o.https_listen_port;
  auto& image = o.controllers.helm.job_image;
  if (!o.system_default_registry.empty()) image = o.system_default_registry + "/" + image;
  if (!o.helm_job_image.empty()) image = o.helm_job_image;
  KEDGE_CHECK(good(read_helm_arguments(o.helm_controller_args, here, o.controllers, told)));
  KEDGE_CHECK(take(read_scheduler_arguments(o.scheduler_args, told), o.scheduling));
  KEDGE_CHECK(check_between_flags(who, o, good));
  return loaded;
}

}  // namespace

result<loaded_options> load_options(audience who, std::span<const std::string> arguments, const machine& here) {
  judge first(nullptr);
  return load(who, arguments, here, first);
}

verdict judge_options(audience who, std::span<const std::string> arguments, const machine& here) {
  verdict out;
  judge every(&out.problems);
  auto loaded = load(who, arguments, here, every);
  if (!loaded)
    out.problems.push_back(loaded.error().message);
  else if (!loaded->help)
    look_at_machine(who, loaded->options, out.problems);
  if (loaded) out.warnings = std::move(loaded->warnings);
  return out;
}

}  // namespace kedge::cli
