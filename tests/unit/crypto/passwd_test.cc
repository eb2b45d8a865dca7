#include "crypto/passwd.h"

#include <doctest/doctest.h>

using namespace kedge;
using namespace kedge::crypto;

TEST_CASE("passwd is read as Go's CSV reader reads it") {
  auto p =
      passwd::parse("secret,node,node,k3s:agent\r\n\n  \"se,c\"\"ret\", server,server,\"k3s:server,x\"\nplain,joe,7\n")
          .value();
  REQUIRE(p.entries().size() == 3);
  CHECK(p.entries()[0] == passwd_entry{"secret", "node", "node", {"k3s:agent"}});
  CHECK(p.entries()[1] == passwd_entry{"se,c\"ret", "server", "server", {"k3s:server", "x"}});
  CHECK(p.entries()[2] == passwd_entry{"plain", "joe", "7", {}});
  CHECK(passwd::parse(p.write()).value().entries() == p.entries());
  CHECK(passwd::parse("").value().entries().empty());
  CHECK(passwd::parse("a,u,u\nb,u,u").value().entries() == std::vector<passwd_entry>{{"b", "u", "u", {}}});
}

TEST_CASE("a damaged passwd names the line and not the secret") {
  struct {
    const char *text, *message;
  } rows[] = {
      {"a,b,c\nsecret,node\n", "passwd line 2: a record needs password, user and uid"},
      {"secret,,x\n", "passwd line 1: the user's name is empty"},
      {"\"secret,node,node\n", "passwd line 1: a quoted field does not end"},
      {"sec\"ret,node,node\n", "passwd line 1: a quote within a field that isn't quoted"},
      {"\"secret\"x,node,node\n", "passwd line 1: text after a quoted field"},
  };
  for (auto& r : rows) {
    CAPTURE(r.text);
    auto p = passwd::parse(r.text);
    REQUIRE(!p);
    CHECK(p.error().message == r.message);
  }
  CHECK(passwd::parse(std::string((1 << 20) + 1, 'x')).error().code == errc::too_large);
}

TEST_CASE("a server's two users are kept as K3s writes them") {
  passwd p;
  CHECK(p.ensure("node", "k3s:agent", "secret"));
  CHECK(p.ensure("server", "k3s:server", "K10" + std::string(64, 'a') + "::server:secret"));
  CHECK(p.write() == "secret,node,node,k3s:agent\nsecret,server,server,k3s:server\n");
  CHECK(!p.ensure("node", "k3s:agent", "secret"));
  CHECK(p.ensure("node", "k3s:agent", "other"));
  CHECK(p.find("node")->password == "other");
  CHECK(p.entries().size() == 2);
}

TEST_CASE("only the right password of a known user opens") {
  auto p = passwd::parse("secret,node,node,k3s:agent\n,nobody,nobody\n").value();
  REQUIRE(p.verify("node", "secret"));
  CHECK(p.verify("node", "secret")->groups == std::vector<std::string>{"k3s:agent"});
  CHECK(!p.verify("node", "secre"));
  CHECK(!p.verify("node", ""));
  CHECK(!p.verify("server", "secret"));
  CHECK(!p.verify("server", ""));
  CHECK(!p.verify("nobody", ""));
}
