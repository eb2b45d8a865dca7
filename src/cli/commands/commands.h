// commands.h: the commands' functions, for command.cc's table. Each gives the process's exit code.
#pragma once

#include <span>
#include <string_view>

#include "cli/command.h"

namespace kedge::cli::commands {

int server(const invocation&);  // daemon.cc
int agent(const invocation&);
int agent_status(const invocation&);  // agent_status.cc
int kubectl(const invocation&);       // programs.cc; these return only when the program can't be run
int crictl(const invocation&);
int ctr(const invocation&);
int check_config(const invocation&);  // check_config.cc
int token_create(const invocation&);  // token.cc
int token_list(const invocation&);
int token_delete(const invocation&);
int token_rotate(const invocation&);
int token_generate(const invocation&);
int certificate_check(const invocation&);  // certificate.cc
int certificate_rotate(const invocation&);
int stop_all(const invocation&);  // uninstall.cc
int uninstall_all(const invocation&);
int certificate_rotate_ca(const invocation&);   // certificate_rotate_ca.cc
int secrets_encrypt_status(const invocation&);  // secrets_encrypt.cc
int secrets_encrypt_enable(const invocation&);
int secrets_encrypt_disable(const invocation&);
int secrets_encrypt_prepare(const invocation&);
int secrets_encrypt_rotate(const invocation&);
int secrets_encrypt_reencrypt(const invocation&);
int secrets_encrypt_rotate_keys(const invocation&);
int datastore_status(const invocation&);  // datastore.cc
int datastore_compact(const invocation&);
int snapshot_save(const invocation&);  // snapshot.cc
int snapshot_list(const invocation&);
int snapshot_prune(const invocation&);
int snapshot_delete(const invocation&);
int snapshot_restore(const invocation&);
int config_validate(const invocation&);  // config_validate.cc
// Says what a start with these arguments would stumble over; 0: nothing.
int check_start(audience who, std::span<const std::string> arguments, const machine& here);
int prepare_image(const invocation&);  // prepare_image.cc
int inspect(const invocation&);        // inspect.cc
int completion(const invocation&);     // completion.cc

std::span<const flag> agent_status_flags();
std::span<const flag> token_create_flags();
std::span<const flag> token_list_flags();
std::span<const flag> token_delete_flags();
std::span<const flag> token_rotate_flags();
std::span<const flag> token_generate_flags();
std::span<const flag> secrets_encrypt_flags(std::string_view subcommand);
std::span<const flag> datastore_flags();
std::span<const flag> snapshot_flags(std::string_view subcommand);
std::span<const flag> prepare_image_flags();
std::span<const flag> inspect_flags();
std::span<const flag> certificate_check_flags();
std::span<const flag> certificate_rotate_flags();
std::span<const flag> stop_flags();
std::span<const flag> uninstall_flags();
std::span<const flag> certificate_rotate_ca_flags();

// What a group of subcommands is for.
inline std::string_view group_summary(std::string_view group) {
  if (group == "token") return "Tokens for joining nodes";
  if (group == "secrets-encrypt") return "Keys that Secrets are encrypted with";
  if (group == "datastore") return "The database of a running server";
  if (group == "snapshot") return "Backups of the whole cluster";
  if (group == "etcd-snapshot") return "K3s's name of snapshot";
  if (group == "config") return "The configuration of this machine";
  if (group == "certificate") return "Certificates of this machine";
  return "";
}

}  // namespace kedge::cli::commands
