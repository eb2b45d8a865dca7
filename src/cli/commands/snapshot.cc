// snapshot.cc: `kedge snapshot …`, and the same as `kedge etcd-snapshot …`: backups of the whole cluster, saved by a
// running server into its folder; and one of them back again, while no server runs.
#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <thread>
#include <vector>

#include "base/strings.h"
#include "cli/checks.h"
#include "cli/commands/admin.h"
#include "cli/commands/commands.h"
#include "cli/commands/common_flags.h"
#include "cli/options_load.h"
#include "cli/restore.h"
#include "json/parse.h"
#include "json/write.h"

namespace kedge::cli::commands {
namespace {

constexpr std::string_view path = "/db/snapshot";
constexpr std::string_view bucket_prefix = "etcd-s3";
constexpr auto look_again = std::chrono::milliseconds(300);

// K3s's other names of the same stand behind each, hidden.
#define KEDGE_SNAPSHOT_FLAGS                                                                                          \
  data_dir_flag, token_flag,                                                                                          \
      {.name = "etcd-token", .who = audience::both, .secret = true, .hidden = true, .help = "K3s's name of --token"}, \
      server_flag,                                                                                                    \
      {.name = "etcd-server",                                                                                         \
       .who = audience::both,                                                                                         \
       .check = check_https_url,                                                                                      \
       .hidden = true,                                                                                                \
       .help = "K3s's name of --server"},                                                                             \
      {.name = "dir",                                                                                                 \
       .who = audience::both,                                                                                         \
       .check = check_absolute_path,                                                                                  \
       .help = "Folder of snapshots on the server (default: its --snapshot-dir)"},                                    \
      {.name = "etcd-snapshot-dir",                                                                                   \
       .who = audience::both,                                                                                         \
       .check = check_absolute_path,                                                                                  \
       .hidden = true,                                                                                                \
       .help = "K3s's name of --dir"}

// Of S3, for one request: the server's flags, by their names and by K3s's shorter ones of this command.
std::vector<flag> with_bucket(std::span<const flag> own) {
  std::vector<flag> out(own.begin(), own.end());
  for (auto& f : flag_table()) {
    if (!f.name.starts_with(bucket_prefix)) continue;
    auto one = f;
    one.kind = kind_of(f);
    one.into = {};
    one.who = audience::both;
    one.fallback = {};
    one.hidden = true;
    out.push_back(one);
    one.hidden = false;
    one.name.remove_prefix(std::string_view("etcd-").size());
    out.push_back(one);
  }
  return out;
}

constexpr flag plain_flags[] = {KEDGE_SNAPSHOT_FLAGS};
constexpr flag save_flags[] = {KEDGE_SNAPSHOT_FLAGS,
                               {.name = "name",
                                .who = audience::both,
                                .fallback = "on-demand",
                                .check = check_snapshot_name,
                                .help = "What the snapshot's name begins with"},
                               {.name = "snapshot-compress",
                                .who = audience::both,
                                .kind = value_kind::boolean,
                                .hidden = true,
                                .state = support::already,
                                .reason = "snapshots are always compressed",
                                .help = "Compress the snapshot"},
                               {.name = "etcd-snapshot-compress",
                                .who = audience::both,
                                .kind = value_kind::boolean,
                                .hidden = true,
                                .state = support::already,
                                .reason = "snapshots are always compressed",
                                .help = "Compress the snapshot"}};
constexpr flag list_flags[] = {
    KEDGE_SNAPSHOT_FLAGS,
    {.name = "output", .short_name = 'o', .who = audience::both, .fallback = "table", .help = "table, json or yaml"}};
constexpr flag prune_flags[] = {
    KEDGE_SNAPSHOT_FLAGS,
    {.name = "name",
     .who = audience::both,
     .check = check_snapshot_name,
     .help = "What the names of those begin with that are meant (default: the server's --snapshot-name)"},
    {.name = "snapshot-retention",
     .who = audience::both,
     .kind = value_kind::count,
     .fallback = "5",
     .help = "How many to keep"},
    {.name = "etcd-snapshot-retention",
     .who = audience::both,
     .kind = value_kind::count,
     .hidden = true,
     .help = "K3s's name of --snapshot-retention"}};
// Its own, and those of the server that say where the datastore, the folder and the bucket are.
std::span<const flag> restore_flags() {
  static const std::vector<flag> all = [] {
    std::vector<flag> out = {{.name = "overwrite",
                              .who = audience::both,
                              .kind = value_kind::boolean,
                              .help = "Put the snapshot in the place of a cluster that is there"},
                             {.name = "partial",
                              .who = audience::both,
                              .kind = value_kind::boolean,
                              .help = "Restore what can be read of a damaged snapshot"}};
    for (auto& f : flag_table())
      if (f.name.starts_with("datastore-") || f.name.starts_with("etcd-s3") || f.name == "data-dir" ||
          f.name == "config" || f.name == "token" || f.name == "token-file" || f.name == "snapshot-dir" ||
          f.name == "sqlite-synchronous")
        out.push_back(f);
    return out;
  }();
  return all;
}

// K3s's name of a flag → ours.
constexpr std::pair<std::string_view, std::string_view> other_names[] = {
    {"etcd-token", "token"},
    {"etcd-server", "server"},
    {"etcd-snapshot-dir", "dir"},
    {"etcd-snapshot-retention", "snapshot-retention"}};

result<scanned> read(std::span<const flag> flags, const invocation& call) {
  KEDGE_TRY(auto given, scan(flags, audience::both, call.arguments));
  for (auto& o : given.flags) {
    for (auto& [theirs, ours] : other_names)
      if (o.of->name == theirs) o.of = find_flag(flags, ours);
    if (o.of->name.starts_with(bucket_prefix))
      if (auto* shorter = find_flag(flags, o.of->name.substr(5))) o.of = shorter;  // restore has the server's alone
  }
  for (auto& o : given.flags)
    if (o.of->check)
      if (auto wrong = o.of->check(o.value))
        return fail(errc::invalid, fmt::format("{}: {} {}", dashed(o.of->name), quote(o.value), *wrong));
  return given;
}

result<void> takes_no_words(const scanned& given) {
  if (given.positional.empty()) return {};
  return fail(errc::invalid, fmt::format("unexpected argument {}", quote(given.positional.front())));
}

// By K3s's names of a request; what isn't given is as the server has it.
json::object bucket_of(const scanned& given) {
  static constexpr std::pair<std::string_view, std::string_view> texts[] = {{"s3-endpoint", "endpoint"},
                                                                            {"s3-endpoint-ca", "endpointCA"},
                                                                            {"s3-access-key", "accessKey"},
                                                                            {"s3-secret-key", "secretKey"},
                                                                            {"s3-session-token", "sessionToken"},
                                                                            {"s3-bucket", "bucket"},
                                                                            {"s3-bucket-lookup-type", "bucketLookup"},
                                                                            {"s3-region", "region"},
                                                                            {"s3-folder", "folder"},
                                                                            {"s3-proxy", "proxy"},
                                                                            {"s3-config-secret", "configSecret"},
                                                                            {"s3-timeout", "timeout"}};
  json::object out;
  for (auto& [flag, name] : texts)
    if (given.has(flag)) out.set(std::string(name), given.value(flag));
  if (auto keep = parse_int(given.value("s3-retention"))) out.set("retention", *keep);
  if (given.value("s3-insecure") == "true") out.set("insecure", true);
  if (given.value("s3-skip-ssl-verify") == "true") out.set("skipSSLVerify", true);
  return out;
}

json::object request_of(std::string operation, const scanned& given) {
  json::object r{{"operation", std::move(operation)}};
  if (given.has("dir")) r.set("dir", given.value("dir"));
  if (given.has("name")) r.set("name", json::array{given.value("name")});
  if (given.value("s3") == "true") r.set("s3", bucket_of(given));
  return r;
}

result<json::value> ask_server(const scanned& given, const machine& here, const json::object& request) {
  KEDGE_TRY(const auto access, as_server(given, here));
  KEDGE_TRY(const auto answer,
            ask(access, {.method = "POST", .path = std::string(path), .body = json::write(request)}));
  return json::parse(answer);
}

result<void> save(const scanned& given, const machine& here) {
  KEDGE_CHECK(takes_no_words(given));
  auto request = request_of("save", given);
  request.set("wait", false);
  KEDGE_TRY(auto state, ask_server(given, here, request));
  const bool live = ::isatty(STDERR_FILENO) == 1;
  while (state["saving"].as_bool()) {
    if (live)
      fmt::print(stderr, "\r\033[Ksaving: {} of {} objects", state["objects"].as_integer(), state["of"].as_integer());
    std::this_thread::sleep_for(look_again);
    KEDGE_TRY(state, ask_server(given, here, {{"operation", "status"}}));
  }
  if (live) fmt::print(stderr, "\r\033[K");
  if (auto why = state["error"].as_string(); !why.empty()) return fail(errc::unavailable, std::string(why));
  fmt::print("Snapshot {} saved.\n", state["saved"].as_string());
  return {};
}

result<void> list(const scanned& given, const machine& here) {
  KEDGE_CHECK(takes_no_words(given));
  const auto output = given.value("output", "table");
  if (output != "table" && output != "json" && output != "yaml")
    return fail(errc::invalid, fmt::format("--output: {} is none of table, json and yaml", quote(output)));
  KEDGE_TRY(const auto found, ask_server(given, here, request_of("list", given)));
  if (output != "table") {
    fmt::print("{}", output == "json" ? json::write(found) + "\n" : json::write_yaml(found));
    return {};
  }
  std::size_t name = 4, location = 8, size = 4;
  auto* items = found["items"].array();
  const json::array none;
  if (!items) items = &none;
  for (auto& i : *items) {
    name = std::max(name, i["spec"]["snapshotName"].as_string().size());
    location = std::max(location, i["spec"]["location"].as_string().size());
    size = std::max(size, i["status"]["size"].as_string().size());
  }
  fmt::print("{:<{}} {:<{}} {:<{}} Created\n", "Name", name, "Location", location, "Size", size);
  for (auto& i : *items) {
    auto wrong = i["status"]["error"]["message"].as_string();
    fmt::print("{:<{}} {:<{}} {:<{}} {}{}{}\n", i["spec"]["snapshotName"].as_string(), name,
               i["spec"]["location"].as_string(), location, i["status"]["size"].as_string(), size,
               i["status"]["creationTime"].as_string(), wrong.empty() ? "" : "  damaged: ", wrong);
  }
  return {};
}

result<void> print_deleted(const json::value& answer) {
  for (std::size_t i = 0; i < answer["deleted"].size(); ++i)
    fmt::print("Snapshot {} deleted.\n", answer["deleted"][i].as_string());
  return {};
}

result<void> prune(const scanned& given, const machine& here) {
  KEDGE_CHECK(takes_no_words(given));
  auto request = request_of("prune", given);
  auto keep = parse_int(given.value("snapshot-retention", "5"));
  if (!keep || *keep < 0) return fail(errc::invalid, "--snapshot-retention: a number is wanted");
  request.set("retention", *keep);
  KEDGE_TRY(const auto answer, ask_server(given, here, request));
  return print_deleted(answer);
}

result<void> remove(const scanned& given, const machine& here) {
  if (given.positional.empty()) return fail(errc::invalid, "no snapshots given for removal");
  auto request = request_of("delete", given);
  json::array names;
  for (auto& n : given.positional) names.emplace_back(n);
  request.set("name", std::move(names));
  KEDGE_TRY(const auto answer, ask_server(given, here, request));
  KEDGE_CHECK(print_deleted(answer));
  if (answer["deleted"].size() < given.positional.size())
    return fail(errc::not_found, "some of these snapshots are not there");
  return {};
}

// The server's own options say where its datastore is: its flags, environment and configuration file.
result<void> restore(const scanned& given, const machine& here) {
  if (given.positional.size() != 1) return fail(errc::invalid, "one snapshot's file is wanted");
  std::vector<std::string> of_server;
  for (auto& o : given.flags)
    if (o.of->name != "overwrite" && o.of->name != "partial") of_server.push_back(dashed(o.of->name) + "=" + o.value);
  KEDGE_TRY(auto loaded, load_options(audience::server, of_server, here));
  KEDGE_TRY(auto told, restore_cluster(loaded.options, {.file = given.positional.front(),
                                                        .overwrite = given.value("overwrite") == "true",
                                                        .partial = given.value("partial") == "true"}));
  fmt::print("{}\n", told);
  return {};
}

int run(std::string_view name, std::span<const flag> flags, const invocation& call,
        result<void> (*work)(const scanned&, const machine&)) {
  const auto given = read(flags, call);
  if (!given) return report(name, given.error());
  const auto done = work(*given, call.here);
  return done ? 0 : report(name, done.error());
}

}  // namespace

std::span<const flag> snapshot_flags(std::string_view subcommand) {
  static const auto save_all = with_bucket(save_flags), list_all = with_bucket(list_flags),
                    prune_all = with_bucket(prune_flags), plain_all = with_bucket(plain_flags);
  if (subcommand == "save") return save_all;
  if (subcommand == "list") return list_all;
  if (subcommand == "prune") return prune_all;
  if (subcommand == "restore") return restore_flags();
  return plain_all;
}

int snapshot_save(const invocation& call) { return run("snapshot save", snapshot_flags("save"), call, save); }
int snapshot_list(const invocation& call) { return run("snapshot list", snapshot_flags("list"), call, list); }
int snapshot_prune(const invocation& call) { return run("snapshot prune", snapshot_flags("prune"), call, prune); }
int snapshot_delete(const invocation& call) { return run("snapshot delete", snapshot_flags("delete"), call, remove); }
int snapshot_restore(const invocation& call) { return run("snapshot restore", restore_flags(), call, restore); }

}  // namespace kedge::cli::commands
