#include "cli/command.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/strings.h"
#include "cli/commands/commands.h"
#include "cli/help.h"

namespace kedge::cli {
namespace {

using namespace commands;

const command* find(std::string_view name) {
  for (const auto& c : command_table())
    if (c.name == name) return &c;
  return nullptr;
}

std::string_view first_word(std::string_view name) { return name.substr(0, name.find(' ')); }

std::vector<std::string_view> names_below(std::string_view group) {
  std::vector<std::string_view> names;
  for (const auto& c : command_table()) {
    const auto first = first_word(c.name);
    if (group.empty() && (names.empty() || names.back() != first)) names.push_back(first);
    if (!group.empty() && first == group) names.push_back(c.name.substr(group.size() + 1));
  }
  return names;
}

error unknown_command(std::string_view group, std::string_view word) {
  const auto names = names_below(group);
  auto message = group.empty() ? fmt::format("unknown command {}", quote(word))
                               : fmt::format("kedge {} has no subcommand {}", group, quote(word));
  if (const auto meant = nearest(word, names)) message += fmt::format("; did you mean {}?", *meant);
  message += fmt::format(" (see kedge{}{} --help)", group.empty() ? "" : " ", group);
  return {errc::invalid, std::move(message)};
}

// The flags that may stand before the command move behind its words.
std::vector<std::string> take_leading_flags(std::vector<std::string>& words) {
  std::size_t count = 0;
  while (count < words.size()) {
    const std::string_view word = words[count];
    if (word == "--debug" || word.starts_with("--debug=") || word.starts_with("--data-dir=")) {
      ++count;
    } else if ((word == "--data-dir" || word == "-d") && count + 1 < words.size()) {
      count += 2;
    } else {
      break;
    }
  }
  const auto end = words.begin() + static_cast<std::ptrdiff_t>(count);
  std::vector<std::string> taken(std::make_move_iterator(words.begin()), std::make_move_iterator(end));
  words.erase(words.begin(), end);
  return taken;
}

std::string list_commands(std::span<const std::string_view> names, std::string_view group) {
  std::string out;
  for (auto name : names) {
    const auto full = group.empty() ? std::string(name) : fmt::format("{} {}", group, name);
    std::string summary;
    if (const auto* c = find(full)) {
      summary = c->summary;
    } else {
      for (auto below : names_below(full)) summary += (summary.empty() ? "" : ", ") + std::string(below);
      summary = fmt::format("{} ({})", group_summary(full), summary);
    }
    out += fmt::format("   {:<16}{}\n", name, summary);
  }
  return out;
}

}  // namespace

std::span<const command> command_table() {
  static const command table[] = {
      {.name = "server",
       .summary = "Run a server, with a node of its own",
       .examples = "kedge server\n"
                   "kedge server --token SECRET --tls-san kube.example.org --write-kubeconfig-mode 0644\n"
                   "kedge server --data-dir /srv/kedge --disable-agent",
       .flags = flag_table(),
       .who = audience::server,
       .run = server},
      {.name = "agent",
       .summary = "Run a node that joins a server",
       .examples = "kedge agent --server https://10.0.0.1:6443 --token SECRET\n"
                   "K3S_URL=https://10.0.0.1:6443 K3S_TOKEN_FILE=/etc/kedge/token kedge agent --node-label zone=attic",
       .flags = flag_table(),
       .who = audience::agent,
       .run = agent},
      {.name = "agent status",
       .summary = "Show the servers as this machine's agent sees them: states, latencies, connections, tunnels",
       .examples = "kedge agent status\nkedge agent status --output json",
       .flags = agent_status_flags(),
       .run = agent_status},
      {.name = "kubectl",
       .summary = "Run kubectl with this server's kubeconfig",
       .usage = "[--data-dir DIR] [KUBECTL ARGUMENTS]",
       .examples = "kedge kubectl get nodes\nkedge kubectl --data-dir /srv/kedge get pods -A",
       .passes_through = true,
       .run = kubectl},
      {.name = "crictl",
       .summary = "Run crictl against this node's container runtime",
       .usage = "[--data-dir DIR] [CRICTL ARGUMENTS]",
       .examples = "kedge crictl ps",
       .passes_through = true,
       .run = crictl},
      {.name = "ctr",
       .summary = "Run ctr against this node's containerd",
       .usage = "[--data-dir DIR] [CTR ARGUMENTS]",
       .examples = "kedge ctr images ls",
       .passes_through = true,
       .run = ctr},
      {.name = "check-config",
       .summary = "Report what this machine lacks for running Kedge",
       .usage = "",
       .examples = "kedge check-config",
       .run = check_config},
      {.name = "inspect",
       .summary = "Write one archive for whoever is to help: configuration, state, log, metrics; nothing secret",
       .examples = "kedge inspect\nkedge inspect --data-dir /srv/kedge --output /tmp/inspect.tar.gz",
       .flags = inspect_flags(),
       .run = inspect},
      {.name = "prepare-image",
       .summary = "Take out of this machine what must be each machine's own, before it becomes an image",
       .examples = "kedge prepare-image --dry-run\nsystemctl stop kedge && kedge prepare-image --with-cluster",
       .flags = prepare_image_flags(),
       .run = prepare_image},
      {.name = "config validate",
       .summary = "Say all that is wrong with a configuration at once: flags, files, tokens, ports, datastore",
       .usage = "[server|agent] [OPTIONS OF THE START]",
       .examples = "kedge config validate\nkedge config validate agent --config /etc/rancher/k3s/config.yaml",
       .flags = flag_table(),
       .run = config_validate},
      {.name = "token create",
       .summary = "Make a token that lets nodes join for a while, and print it",
       .usage = "[OPTIONS] [TOKEN]",
       .examples = "kedge token create\n"
                   "kedge token create --ttl 2h --description 'attic nodes'\n"
                   "kedge token create \"$(kedge token generate)\" --ttl 0\n"
                   "kedge token create --ttl 1h --print-join-command",
       .flags = token_create_flags(),
       .run = token_create},
      {.name = "token list",
       .summary = "Show the tokens that were made, without their secrets",
       .examples = "kedge token list\nkedge token list --output json",
       .flags = token_list_flags(),
       .run = token_list},
      {.name = "token delete",
       .summary = "Delete tokens, by their names or whole",
       .usage = "[OPTIONS] TOKEN...",
       .examples = "kedge token delete abcdef",
       .flags = token_delete_flags(),
       .run = token_delete},
      {.name = "token rotate",
       .summary = "Give the cluster another token, which joining servers and agents then need",
       .examples =
           "kedge token rotate\nkedge token rotate --new-token \"$(cat new-token)\" --server https://10.0.0.1:6443",
       .flags = token_rotate_flags(),
       .run = token_rotate},
      {.name = "token generate",
       .summary = "Print a new random bootstrap token, without storing it",
       .examples = "kedge token generate",
       .flags = token_generate_flags(),
       .run = token_generate},
      {.name = "secrets-encrypt status",
       .summary = "Show whether Secrets are encrypted in the datastore, and with which keys",
       .examples = "kedge secrets-encrypt status\nkedge secrets-encrypt status --output json",
       .flags = secrets_encrypt_flags("status"),
       .run = secrets_encrypt_status},
      {.name = "secrets-encrypt enable",
       .summary = "Encrypt Secrets again",
       .examples = "kedge secrets-encrypt enable",
       .flags = secrets_encrypt_flags("enable"),
       .run = secrets_encrypt_enable},
      {.name = "secrets-encrypt disable",
       .summary = "Encrypt Secrets no more",
       .examples = "kedge secrets-encrypt disable",
       .flags = secrets_encrypt_flags("disable"),
       .run = secrets_encrypt_disable},
      {.name = "secrets-encrypt rotate-keys",
       .summary = "Make a new key, write all Secrets with it, and drop the old ones",
       .examples = "kedge secrets-encrypt rotate-keys",
       .flags = secrets_encrypt_flags("rotate-keys"),
       .run = secrets_encrypt_rotate_keys},
      {.name = "secrets-encrypt prepare",
       .summary = "First step of three: a new key that doesn't write yet",
       .examples = "kedge secrets-encrypt prepare",
       .flags = secrets_encrypt_flags("prepare"),
       .run = secrets_encrypt_prepare},
      {.name = "secrets-encrypt rotate",
       .summary = "Second step: the new key writes",
       .examples = "kedge secrets-encrypt rotate",
       .flags = secrets_encrypt_flags("rotate"),
       .run = secrets_encrypt_rotate},
      {.name = "secrets-encrypt reencrypt",
       .summary = "Third step: write all Secrets with the new key, and drop the old ones",
       .examples = "kedge secrets-encrypt reencrypt\nkedge secrets-encrypt reencrypt --force --skip",
       .flags = secrets_encrypt_flags("reencrypt"),
       .run = secrets_encrypt_reencrypt},
      {.name = "datastore status",
       .summary = "Show what the datastore takes, and how much of that is free",
       .examples = "kedge datastore status",
       .flags = datastore_flags(),
       .run = datastore_status},
      {.name = "datastore compact",
       .summary = "Forget the datastore's history now, and give the space back, while the server goes on",
       .examples = "kedge datastore compact",
       .flags = datastore_flags(),
       .run = datastore_compact},
      {.name = "snapshot save",
       .summary = "Save the whole cluster into a file, while it goes on",
       .examples = "kedge snapshot save\nkedge snapshot save --name before-upgrade --dir /mnt/backup",
       .flags = snapshot_flags("save"),
       .run = snapshot_save},
      {.name = "snapshot list",
       .summary = "Show the snapshots of a server",
       .examples = "kedge snapshot list\nkedge snapshot list --output json",
       .flags = snapshot_flags("list"),
       .run = snapshot_list},
      {.name = "snapshot prune",
       .summary = "Remove all but the newest scheduled snapshots",
       .examples = "kedge snapshot prune --snapshot-retention 3",
       .flags = snapshot_flags("prune"),
       .run = snapshot_prune},
      {.name = "snapshot delete",
       .summary = "Remove snapshots by their names",
       .usage = "[OPTIONS] NAME...",
       .examples = "kedge snapshot delete on-demand-server-1-1764500000",
       .flags = snapshot_flags("delete"),
       .run = snapshot_delete},
      {.name = "snapshot restore",
       .summary = "Put a snapshot into this server's datastore, of whichever kind, while no server runs",
       .usage = "[OPTIONS] FILE",
       .examples =
           "kedge snapshot restore /mnt/backup/etcd-snapshot-a-1764500000\n"
           "kedge snapshot restore FILE --datastore-endpoint postgres://user:pw@10.0.0.5/kubernetes --token SECRET",
       .flags = snapshot_flags("restore"),
       .run = snapshot_restore},
      {.name = "etcd-snapshot save",
       .summary = "As kedge snapshot save",
       .examples = "kedge etcd-snapshot save",
       .flags = snapshot_flags("save"),
       .run = snapshot_save},
      {.name = "etcd-snapshot ls",
       .summary = "As kedge snapshot list",
       .examples = "kedge etcd-snapshot ls",
       .flags = snapshot_flags("list"),
       .run = snapshot_list},
      {.name = "etcd-snapshot list",
       .summary = "As kedge snapshot list",
       .examples = "kedge etcd-snapshot list",
       .flags = snapshot_flags("list"),
       .run = snapshot_list},
      {.name = "etcd-snapshot l",
       .summary = "As kedge snapshot list",
       .examples = "kedge etcd-snapshot l",
       .flags = snapshot_flags("list"),
       .run = snapshot_list},
      {.name = "etcd-snapshot prune",
       .summary = "As kedge snapshot prune",
       .examples = "kedge etcd-snapshot prune",
       .flags = snapshot_flags("prune"),
       .run = snapshot_prune},
      {.name = "etcd-snapshot delete",
       .summary = "As kedge snapshot delete",
       .usage = "[OPTIONS] NAME...",
       .examples = "kedge etcd-snapshot delete NAME",
       .flags = snapshot_flags("delete"),
       .run = snapshot_delete},
      {.name = "certificate check",
       .summary = "Show the certificates of this machine and when they expire",
       .examples = "kedge certificate check --output table\nkedge certificate check --service kubelet --output json",
       .flags = certificate_check_flags(),
       .run = certificate_check},
      {.name = "certificate rotate",
       .summary = "Set certificates aside, so that new ones are made: at once where a server or agent runs",
       .examples = "kedge certificate rotate\nkedge certificate rotate --service admin",
       .flags = certificate_rotate_flags(),
       .run = certificate_rotate},
      {.name = "certificate rotate-ca",
       .summary = "Give the cluster other certificate authorities and service account keys, while all of it runs",
       .examples = "kedge certificate rotate-ca --path /root/new-authorities\n"
                   "kedge certificate rotate-ca --path /root/new-authorities --force",
       .flags = certificate_rotate_ca_flags(),
       .run = certificate_rotate_ca},
      {.name = "stop",
       .summary = "Stop all of Kedge on this machine, pods too, and take away what it leaves but data",
       .usage = "--all",
       .examples = "kedge stop --all",
       .flags = stop_flags(),
       .run = stop_all},
      {.name = "uninstall",
       .summary = "The same, and remove services, programs and all data",
       .examples = "kedge uninstall\nkedge uninstall --yes --keep-data",
       .flags = uninstall_flags(),
       .run = uninstall_all},
      {.name = "completion",
       .summary = "Print a completion script for a shell, or install it (-i)",
       .usage = "[-i] bash|zsh",
       .examples = "kedge completion bash > /etc/bash_completion.d/kedge\nkedge completion zsh -i",
       .run = completion},
  };
  return table;
}

bool is_group(std::string_view word) {
  return find(word) == nullptr && std::ranges::any_of(command_table(), [&](const command& c) {
           return c.name.size() > word.size() && first_word(c.name) == word;
         });
}

result<selection> select_command(std::string_view program, std::vector<std::string> words) {
  const auto called_as = program.substr(program.rfind('/') + 1);
  if (called_as == "kubectl" || called_as == "crictl" || called_as == "ctr")
    return selection{find(called_as), std::move(words)};

  auto leading = take_leading_flags(words);
  if (words.empty()) return fail(errc::invalid, "which command? (see kedge --help)");
  std::string name = std::move(words[0]);
  std::size_t taken = 1;
  if (is_group(name)) {
    if (words.size() < 2 || words[1].starts_with('-'))
      return fail(errc::invalid, fmt::format("which one? (see kedge {} --help)", name));
    if (find(name + ' ' + words[1]) == nullptr) return fail(unknown_command(name, words[1]));
    name += ' ' + words[1];
    taken = 2;
  } else if (words.size() > 1 && find(name + ' ' + words[1]) != nullptr) {  // agent status
    name += ' ' + words[1];
    taken = 2;
  }
  const auto* chosen = find(name);
  if (chosen == nullptr) return fail(unknown_command({}, name));
  leading.insert(leading.end(), std::make_move_iterator(words.begin() + static_cast<std::ptrdiff_t>(taken)),
                 std::make_move_iterator(words.end()));
  return selection{chosen, std::move(leading)};
}

std::string program_help() {
  return "kedge - a K3s-compatible Kubernetes in one program\n\nUSAGE:\n   kedge COMMAND [OPTIONS]\n\nCOMMANDS:\n" +
         list_commands(names_below({}), {}) +
         "\n   kedge COMMAND --help explains a command; kedge --version prints the version.\n"
         "   Called as kubectl, crictl or ctr (a link), the program is that command.\n";
}

std::string group_help(std::string_view group) {
  return fmt::format("kedge {0} - {1}\n\nUSAGE:\n   kedge {0} COMMAND [OPTIONS]\n\nCOMMANDS:\n{2}", group,
                     group_summary(group), list_commands(names_below(group), group));
}

std::string command_help(const command& c) {
  auto out = fmt::format("kedge {0} - {1}\n\nUSAGE:\n   kedge {0}{2}{3}\n", c.name, c.summary,
                         c.usage.empty() ? "" : " ", c.usage);
  if (!c.examples.empty()) {
    out += "\nEXAMPLES:\n";
    for (auto line : split(c.examples, '\n')) out += fmt::format("   {}\n", line);
  }
  if (!c.flags.empty()) out += "\nOPTIONS:\n" + flags_help(c.flags, c.who);
  if (c.flags.data() == flag_table().data())
    out +=
        "\nEvery option may stand in the configuration file under its name without dashes; options win over the\n"
        "environment, and the environment over the file.\n";
  return out;
}

}  // namespace kedge::cli
