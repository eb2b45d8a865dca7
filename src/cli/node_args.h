// node_args.h: what K3s records on the Node of how it was started: k3s.io/node-args, node-env, node-config-hash.
// Values of secrets are replaced by ********.
#pragma once

#include <span>
#include <string>
#include <utility>
#include <vector>

namespace kedge::cli {

// `--a=b` becomes two items, and what follows a flag that holds a secret becomes ********.
std::vector<std::string> masked_arguments(std::span<const std::string> arguments);

// The K3S_* variables of an environment (and AWS's, which hold S3 keys, are not among them), sorted, masked.
std::vector<std::pair<std::string, std::string>> masked_environment(
    std::span<const std::pair<std::string, std::string>> environment);

struct node_configuration {
  std::string args;  // a JSON array, as Go writes it
  std::string env;   // a JSON object, as Go writes it
  std::string hash;  // base32 (RFC 4648, padded) of SHA-256(args + env)
};
node_configuration describe_node(std::span<const std::string> masked_args,
                                 std::span<const std::pair<std::string, std::string>> masked_env);

}  // namespace kedge::cli
