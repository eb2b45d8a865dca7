#include "cli/commands/programs.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <optional>

#include "base/strings.h"
#include "cli/commands/commands.h"

namespace kedge::cli::commands {
namespace {

namespace fs = std::filesystem;

constexpr const char* containerd_socket = "/run/k3s/containerd/containerd.sock";  // where a K3s agent has it

// Takes Kedge's own --data-dir out of another program's arguments. What stands behind `--` is not ours to read.
std::optional<std::string> take_data_dir(std::vector<std::string>& arguments) {
  constexpr std::string_view with_value = "--data-dir=";
  for (auto word = arguments.begin(); word != arguments.end() && *word != "--"; ++word) {
    if (word->starts_with(with_value)) {
      auto folder = word->substr(with_value.size());
      arguments.erase(word);
      return folder;
    }
    if (*word == "--data-dir" && word + 1 != arguments.end()) {
      auto folder = *(word + 1);
      arguments.erase(word, word + 2);
      return folder;
    }
  }
  return {};
}

bool names_kubeconfig(const std::vector<std::string>& arguments) {
  const auto end = std::find(arguments.begin(), arguments.end(), "--");
  return std::any_of(arguments.begin(), end, [](const std::string& word) {
    return word == "--kubeconfig" || word.starts_with("--kubeconfig=");
  });
}

std::optional<std::string> existing_kubeconfig(const std::optional<std::string>& data_dir, const machine& here) {
  if (data_dir) return *data_dir + "/server/cred/admin.kubeconfig";
  if (auto path = here.variable("K3S_KUBECONFIG_OUTPUT")) return path;
  for (auto& path : {std::string("/etc/rancher/k3s/k3s.yaml"), here.home() + "/.kube/k3s.yaml"})
    if (::access(path.c_str(), F_OK) == 0) return path;
  return {};
}

result<void> check_readable(const std::string& path) {
  if (::access(path.c_str(), R_OK) == 0) return {};
  const int number = errno;
  if (number == EACCES)
    return fail(errc::forbidden, fmt::format("no permission to read {}; run as root, or start the server with "
                                             "--write-kubeconfig-mode or --write-kubeconfig-group",
                                             path));
  return fail(os_error(number, "read " + path));
}

std::string how_to_install(const std::string& name) {
  if (name == "kubectl")
    return "Debian 13 and later have it in package kubernetes-client; for other systems see "
           "https://kubernetes.io/docs/tasks/tools/";
  if (name == "crictl") return "see https://github.com/kubernetes-sigs/cri-tools";
  return "it comes with containerd (Debian: apt-get install containerd)";
}

// Replaces this process. Returns only on failure.
int become(std::string_view command_name, const result<program_plan>& plan) {
  if (!plan) return report(command_name, plan.error());
  for (const auto& [name, value] : plan->additions) ::setenv(name.c_str(), value.c_str(), 1);
  std::vector<char*> argv;
  std::string own_name(command_name);
  argv.push_back(own_name.data());
  auto arguments = plan->arguments;
  for (auto& word : arguments) argv.push_back(word.data());
  argv.push_back(nullptr);
  ::execv(plan->path.c_str(), argv.data());
  return report(command_name, os_error(errno, "run " + plan->path));
}

}  // namespace

result<std::string> find_program(const std::string& name, const machine& here) {
  const auto path = here.variable("PATH").value_or("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
  for (auto folder : split(path, ':')) {
    const auto candidate = (folder.empty() ? std::string(".") : std::string(folder)) + '/' + name;
    std::error_code failed;
    if (!fs::is_regular_file(candidate, failed) || ::access(candidate.c_str(), X_OK) != 0) continue;
    if (fs::equivalent(candidate, "/proc/self/exe", failed)) continue;
    return candidate;
  }
  return fail(errc::not_found, fmt::format("{} is not installed: {}", name, how_to_install(name)));
}

result<program_plan> plan_kubectl(std::vector<std::string> arguments, const machine& here) {
  program_plan plan;
  const auto data_dir = take_data_dir(arguments);
  const bool user_chose = names_kubeconfig(arguments) || (!data_dir && here.variable("KUBECONFIG"));
  if (!user_chose) {
    if (auto file = existing_kubeconfig(data_dir, here)) {
      KEDGE_CHECK(check_readable(*file));
      plan.additions.emplace_back("KUBECONFIG", *std::move(file));
    }
  }
  plan.arguments = std::move(arguments);
  KEDGE_TRY(plan.path, find_program("kubectl", here));
  return plan;
}

result<program_plan> plan_crictl(std::vector<std::string> arguments, const machine& here) {
  program_plan plan;
  const auto data_dir =
      take_data_dir(arguments).value_or(here.variable("K3S_DATA_DIR").value_or(here.default_data_dir()));
  if (const auto file = data_dir + "/agent/etc/crictl.yaml"; ::access(file.c_str(), R_OK) == 0) {
    if (!here.variable("CRI_CONFIG_FILE")) plan.additions.emplace_back("CRI_CONFIG_FILE", file);
  } else if (!here.variable("CONTAINER_RUNTIME_ENDPOINT")) {
    plan.additions.emplace_back("CONTAINER_RUNTIME_ENDPOINT", fmt::format("unix://{}", containerd_socket));
  }
  plan.arguments = std::move(arguments);
  KEDGE_TRY(plan.path, find_program("crictl", here));
  return plan;
}

result<program_plan> plan_ctr(std::vector<std::string> arguments, const machine& here) {
  program_plan plan;
  take_data_dir(arguments);
  if (!here.variable("CONTAINERD_ADDRESS")) plan.additions.emplace_back("CONTAINERD_ADDRESS", containerd_socket);
  if (!here.variable("CONTAINERD_NAMESPACE")) plan.additions.emplace_back("CONTAINERD_NAMESPACE", "k8s.io");
  plan.arguments = std::move(arguments);
  KEDGE_TRY(plan.path, find_program("ctr", here));
  return plan;
}

int kubectl(const invocation& call) { return become("kubectl", plan_kubectl(call.arguments, call.here)); }
int crictl(const invocation& call) { return become("crictl", plan_crictl(call.arguments, call.here)); }
int ctr(const invocation& call) { return become("ctr", plan_ctr(call.arguments, call.here)); }

}  // namespace kedge::cli::commands
