#include "cli/config_file.h"

#include <doctest/doctest.h>

#include "temporary.h"

using namespace kedge;
using namespace kedge::cli;

namespace {

std::string shown(const std::vector<config_entry>& entries) {
  std::string out;
  for (const auto& e : entries) {
    out += e.key + (e.list ? ":" : "=");
    for (const auto& v : e.values) out += v.text + ",";
    out += ' ';
  }
  return out;
}

}  // namespace

TEST_CASE("scalars, lists and YAML 1.1's truths are read, with their lines") {
  const auto entries =
      parse_config("# head\ndebug: yes\nquoted: \"yes\"\nport: 6443\ntls-san:\n  - a\n  - b\nnothing:\n", "f");
  REQUIRE(entries);
  CHECK(shown(*entries) == "debug=true, quoted=yes, port=6443, tls-san:a,b, nothing= ");
  CHECK((*entries)[0].values[0].line == 2);
  CHECK((*entries)[3].values[1].line == 7);
  CHECK(parse_config("", "f")->empty());
}

TEST_CASE("errors name file and line") {
  struct {
    const char *yaml, *message;
  } rows[] = {
      {"a: 1\nb:\n  c: d\n", "f.yaml:2: b: a plain value or a list is wanted, not a mapping"},
      {"- a\n", "f.yaml:1: a mapping of flag names to values is wanted"},
      {"a: 1\nb: 2\na: 3\n", "f.yaml:3: a: this key stands here twice"},
      {"a:\n  - x\n  - [y]\n", "f.yaml:3: a: a list of plain values is wanted"},
  };
  for (const auto& r : rows) CHECK(parse_config(r.yaml, "f.yaml").error().message == r.message);
  for (const char* broken : {"a: 1\nb: [x\n", "a: 1\n b: 2\n", "a: 1\nb: \"x\" y\n"}) {
    CAPTURE(broken);
    const auto read = parse_config(broken, "f.yaml");
    REQUIRE(!read);
    CHECK(read.error().message.starts_with("f.yaml:"));
    CHECK(!read.error().message.starts_with("f.yaml:1:"));
  }
}

TEST_CASE("later files replace; a key with + adds") {
  const temporary_folder folder;
  const auto path = folder.write("config.yaml", "token: first\ndisable: [a, b]\nnode-label+: [x=1]\n");
  folder.write("config.yaml.d/20-b.yml", "disable+: d\ntoken: second\n");
  folder.write("config.yaml.d/10-a.yaml", "disable+: [c]\nnode-label+: y=2\n");
  folder.write("config.yaml.d/30-not-read.txt", "token: third\n");
  CHECK(shown(*read_config(path)) == "token=second, disable:a,b,c,d, node-label:x=1,y=2, ");
  folder.write("config.yaml.d/40-reset.yaml", "disable: z\n");
  CHECK(shown(*read_config(path)) == "token=second, disable=z, node-label:x=1,y=2, ");
}

TEST_CASE("a missing file is no error, and its drop-ins count") {
  const temporary_folder folder;
  CHECK(read_config(folder.path + "/none.yaml")->empty());
  folder.write("none.yaml.d/a.yaml", "debug: true\n");
  CHECK(shown(*read_config(folder.path + "/none.yaml")) == "debug=true, ");
}
