#include "cli/flags.h"

#include <doctest/doctest.h>

#include <set>
#include <string>

#include "cli/help.h"

using namespace kedge;
using namespace kedge::cli;

namespace {

std::string refusal(std::string_view name, std::string_view value) {
  server_options options;
  std::vector<std::string> warnings;
  const auto done = assign(*find_flag(flag_table(), name), value, "here", options, warnings);
  return done ? "" : done.error().message;
}

}  // namespace

TEST_CASE("the table's names are unique, and rows without effect say why") {
  std::set<std::string_view> names;
  std::set<char> letters;
  for (const auto& f : flag_table()) {
    CAPTURE(f.name);
    CHECK(names.insert(f.name).second);
    if (f.short_name != 0) CHECK(letters.insert(f.short_name).second);
    CHECK((f.state == support::supported) == f.reason.empty());
    const bool has_field = !std::holds_alternative<std::monostate>(f.into);
    CHECK((has_field || f.state != support::supported));
    CHECK(!f.help.empty());
  }
}

TEST_CASE("a default shown is the default of the field") {
  // Assigning the default's text must leave the options as they are.
  for (const auto& f : flag_table()) {
    if (f.fallback.empty() || f.state != support::supported || kind_of(f) == value_kind::list) continue;
    CAPTURE(f.name);
    const server_options fresh;
    server_options options;
    std::vector<std::string> warnings;
    REQUIRE(assign(f, f.fallback, "test", options, warnings));
    CHECK(std::visit(
        [&](auto member) {
          if constexpr (std::is_same_v<decltype(member), std::monostate>) {
            return false;
          } else if constexpr (requires { options.*member; }) {
            return options.*member == fresh.*member;
          } else {
            return options.agent.*member == fresh.agent.*member;
          }
        },
        f.into));
  }
}

TEST_CASE("arguments are read by Go's rules") {
  const auto read = [](std::vector<std::string> words) { return scan(flag_table(), audience::server, words); };
  CHECK(read({"--data-dir", "/x"})->value("data-dir") == "/x");
  CHECK(read({"-data-dir=/x"})->value("data-dir") == "/x");
  CHECK(read({"-d", "/x"})->value("data-dir") == "/x");
  CHECK(read({"--token", "--debug"})->value("token") == "--debug");  // the next word, whatever it looks like
  CHECK(read({"--token=a=b"})->value("token") == "a=b");
  CHECK(read({"--debug", "false"})->positional == std::vector<std::string>{"false"});
  CHECK(read({"--debug=false"})->value("debug") == "false");
  CHECK(read({"--", "--debug"})->positional == std::vector<std::string>{"--debug"});
  CHECK(read({"--disable=a,b", "--disable", "c"})->values("disable") == std::vector<std::string>{"a", "b", "c"});
  CHECK(read({"--debug", "-h", "--nonsense"})->help);
  CHECK(scan_flags_only(flag_table(), std::vector<std::string>{"--debug", "x"}).error().message ==
        "unexpected argument \"x\"");
  CHECK(read({"--token"}).error().message == "--token needs a value");
}

TEST_CASE("an unknown flag is named, with the one that was meant") {
  const auto message = [](audience who, std::vector<std::string> words) {
    return scan(flag_table(), who, words).error().message;
  };
  CHECK(message(audience::server, {"--tls-sam=x"}) == "unknown flag --tls-sam; did you mean --tls-san?");
  CHECK(message(audience::server, {"--xyzzy"}) == "unknown flag --xyzzy");
  CHECK(message(audience::server, {"-z"}) == "unknown flag -z");
  CHECK(message(audience::agent, {"--tls-san=x"}) ==
        "unknown flag --tls-san: it is a flag of `kedge server`, not of `kedge agent`");
}

TEST_CASE("values are checked, and the message names place and value") {
  struct {
    const char *name, *value, *message;
  } rows[] = {
      {"cluster-cidr", "10.42.0.0", "here: \"10.42.0.0\" is not a CIDR such as 10.42.0.0/16 or fd00:42::/56"},
      {"cluster-cidr", "10.42.0.0/33", "here: \"10.42.0.0/33\" is not a CIDR such as 10.42.0.0/16 or fd00:42::/56"},
      {"cluster-cidr", "10.42.0.0/16,fd00:42::/56", ""},
      {"flannel-backend", "host-gw", ""},
      {"flannel-backend", "wireguard-native",
       "here: \"wireguard-native\" is not supported yet, so nothing would be encrypted; with none, a network of your "
       "own can"},
      {"https-listen-port", "65536", "here: \"65536\" is not a port (1-65535)"},
      {"https-listen-port", "0", "here: \"0\" is not a port (1-65535)"},
      {"write-kubeconfig-mode", "0644", ""},
      {"write-kubeconfig-mode", "0648", "here: \"0648\" is not a file mode in octal such as 0644"},
      {"write-kubeconfig-mode", "7777", "here: \"7777\" is not a file mode in octal such as 0644"},
      {"service-node-port-range", "32767-30000", "here: \"32767-30000\" is not a range of ports such as 30000-32767"},
      {"node-ip", "10.0.0.1,::1", ""},
      {"node-ip", "edge-1", "here: \"edge-1\" is not an IP address"},
      {"node-label", "a.io/b=c", ""},
      {"node-label", "b", "here: \"b\" is not a label: key=value is wanted"},
      {"node-label", "-b=c", "here: \"-b=c\" has a key that no label may have"},
      {"node-taint", "k3s-controlplane=true:NoExecute", ""},
      {"node-taint", "a:NoSchedule", ""},
      {"node-taint", "a=b:Never",
       "here: \"a=b:Never\" has an effect other than NoSchedule, PreferNoSchedule and NoExecute"},
      {"server", "http://h:6443", "here: \"http://h:6443\" is not a URL such as https://10.0.0.1:6443"},
      {"debug", "maybe", "here: \"maybe\" is neither true nor false"},
      {"log-format", "xml", "here: \"xml\" is neither text nor json"},
      {"io-backend", "kqueue", "here: \"kqueue\" is none of auto, io_uring and epoll"},
      {"snapshot-schedule-cron", "0 */12 * * *", ""},
      {"etcd-snapshot-schedule-cron", "often",
       "here: \"often\" is not a schedule as cron has them, such as \"0 */12 * * *\""},
      {"snapshot-name", "../up", "here: \"../up\" is not a file's name: no path, no dot in front"},
      {"snapshot-dir", "here", "here: \"here\" is not an absolute path"},
      {"etcd-s3-timeout", "soon", "here: \"soon\" is not a duration such as 1h30m"},
  };
  for (const auto& r : rows) {
    CAPTURE(r.name);
    CAPTURE(r.value);
    CHECK(refusal(r.name, r.value) == r.message);
  }
}

TEST_CASE("what makes no sense here warns; what would mislead is refused; what changes nothing is quiet") {
  server_options options;
  std::vector<std::string> warnings;
  const auto give = [&](std::string_view name, std::string_view value) {
    return assign(*find_flag(flag_table(), name), value, "--" + std::string(name), options, warnings);
  };
  CHECK(give("docker", "false"));
  CHECK(give("disable-helm-controller", "true"));
  CHECK(warnings.empty());
  CHECK(give("flannel-conf", "/etc/flannel.json"));
  REQUIRE(warnings.size() == 1);
  CHECK(warnings[0].starts_with("--flannel-conf has no effect: "));
  CHECK(give("disable", "traefik,servicelb"));  // nothing is deployed that could be left out
  CHECK(give("etcd-snapshot-name", "mine"));    // K3s's name of --snapshot-name
  CHECK(options.snapshot_name == "mine");
  CHECK(give("etcd-snapshot-compress", "true"));
  CHECK(warnings.size() == 1);
  const auto refused = give("docker", "true");
  REQUIRE(!refused);
  CHECK(refused.error().code == errc::unsupported);
  CHECK(refused.error().message.find("--docker") != std::string::npos);
}

TEST_CASE("a secret's value is in no message") {
  CHECK(find_flag(flag_table(), "vpn-auth")->secret);
  CHECK(refusal("vpn-auth", "hunter2").find("hunter2") == std::string::npos);
  CHECK(!refusal("vpn-auth", "hunter2").empty());
}

TEST_CASE("help shows each visible flag of its audience once, by group") {
  const auto text = flags_help(flag_table(), audience::agent);
  CHECK(text.find("--server, -s value") != std::string::npos);
  CHECK(text.find("[$K3S_URL]") != std::string::npos);
  CHECK(text.find("--tls-san") == std::string::npos);
  CHECK(text.find("airgap-extra-registry") == std::string::npos);
  CHECK(text.find(" Agent/node:\n") != std::string::npos);
  CHECK(text.find(" Agent/node:\n") == text.rfind(" Agent/node:\n"));
}
