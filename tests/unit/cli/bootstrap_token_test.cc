#include "cli/commands/bootstrap_token.h"

#include <doctest/doctest.h>

#include "base/strings.h"
#include "json/write.h"

using namespace kedge;
using namespace kedge::cli::commands;
using words = std::vector<std::string>;
using namespace std::chrono_literals;

namespace {

const wall_time noon = parse_rfc3339("2026-11-21T12:00:00Z").value();

bootstrap_token example() {
  return {.id = "abcdef",
          .secret = "0123456789abcdef",
          .description = "attic",
          .expires = noon + 24h,
          .usages = {"signing", "authentication"},
          .groups = {"system:bootstrappers:k3s:default-node-token"}};
}

}  // namespace

TEST_CASE("a token becomes the Secret that Kubernetes' bootstrap authenticator reads, and comes back") {
  const auto secret = to_secret(example());
  CHECK(secret["metadata"]["name"].as_string() == "bootstrap-token-abcdef");
  CHECK(secret["metadata"]["namespace"].as_string() == "kube-system");
  CHECK(secret["type"].as_string() == "bootstrap.kubernetes.io/token");
  const std::pair<const char*, const char*> fields[] = {
      {"token-id", "abcdef"},
      {"token-secret", "0123456789abcdef"},
      {"description", "attic"},
      {"expiration", "2026-11-22T12:00:00Z"},
      {"usage-bootstrap-signing", "true"},
      {"usage-bootstrap-authentication", "true"},
      {"auth-extra-groups", "system:bootstrappers:k3s:default-node-token"}};
  CHECK(secret["data"].size() == std::size(fields));
  for (const auto& [name, text] : fields) CHECK(unbase64(secret["data"][name].as_string()).value() == text);

  const auto back = from_secret(secret);
  REQUIRE(back);
  CHECK(back->id == "abcdef");
  CHECK(back->secret == "0123456789abcdef");
  CHECK(back->description == "attic");
  CHECK(back->expires == noon + 24h);
  CHECK(back->usages == example().usages);
  CHECK(back->groups == example().groups);

  auto for_ever = example();
  for_ever.expires.reset();
  CHECK(!to_secret(for_ever)["data"].find("expiration"));
  CHECK(!from_secret(to_secret(for_ever))->expires);
}

TEST_CASE("a Secret that holds no token is refused by its name") {
  auto secret = to_secret(example());
  secret.member("data").set("token-secret", base64(as_bytes("short")));
  CHECK(from_secret(secret).error().message == "bootstrap-token-abcdef holds no whole token");
  secret.member("data").set("token-id", "%");
  CHECK(from_secret(secret).error().message.starts_with("bootstrap-token-abcdef: token-id: "));
  CHECK(!from_secret({}));
}

TEST_CASE("a token is named by its id, by itself, or by its full form") {
  CHECK(bootstrap_id_of("abcdef").value() == "abcdef");
  CHECK(bootstrap_id_of("abcdef.0123456789abcdef").value() == "abcdef");
  CHECK(bootstrap_id_of("K10" + std::string(64, 'a') + "::abcdef.0123456789abcdef").value() == "abcdef");
  for (const char* text : {"", "abcde", "ABCDEF", "abcdef.012", "K10::server:password", "../../x"}) {
    CAPTURE(text);
    CHECK(bootstrap_id_of(text).error().message == "neither a bootstrap token nor the 6 characters that name one");
  }
}

TEST_CASE("usages and groups that the server would not honour are refused") {
  CHECK(check_usages(words{"signing", "authentication"}));
  CHECK(check_usages(words{"joining"}).error().message ==
        "--usages: \"joining\" is neither signing nor authentication");
  CHECK(!check_usages(words{}));
  CHECK(check_groups(words{"system:bootstrappers:k3s:default-node-token"}));
  CHECK(check_groups({}));
  for (const char* group :
       {"system:masters", "system:bootstrappers:", "system:bootstrappers:X", "system:bootstrappers:a-", ""}) {
    CAPTURE(group);
    CHECK(!check_groups(words{group}));
  }
  CHECK(!check_groups(words{"system:bootstrappers:" + std::string(257, 'a')}));
}

TEST_CASE("the table for people shows no secret; the list for programs has kubeadm's fields") {
  auto old = example();
  old.id = "uvwxyz";
  old.expires = noon - 1h;
  old.description.clear();
  old.usages.clear();
  auto for_ever = example();
  for_ever.id = "ghijkl";
  for_ever.expires.reset();
  const auto table = token_table(std::vector{example(), old, for_ever}, noon);
  CHECK(table ==
        "TOKEN    TTL         EXPIRES                USAGES                   DESCRIPTION\n"
        "abcdef   24h         2026-11-22T12:00:00Z   signing,authentication   attic\n"
        "uvwxyz   <expired>   2026-11-21T11:00:00Z   <none>                   <none>\n"
        "ghijkl   <forever>   <never>                signing,authentication   attic\n");
  CHECK(json::write(token_list(std::vector{for_ever})) ==
        R"([{"token":"ghijkl.0123456789abcdef","description":"attic","usages":["signing","authentication"],)"
        R"("groups":["system:bootstrappers:k3s:default-node-token"]}])");
  CHECK(json::write(token_list({})) == "[]");
}

TEST_CASE("spans are as short as kubectl prints ages") {
  struct row {
    duration span;
    const char* text;
  };
  for (const auto& r : {row{0s, "0s"}, row{119s, "119s"}, row{2min, "2m"}, row{9min + 59s, "9m59s"}, row{10min, "10m"},
                        row{179min, "179m"}, row{3h, "3h"}, row{7h + 30min, "7h30m"}, row{8h + 59min, "8h"},
                        row{47h, "47h"}, row{49h, "2d1h"}, row{8 * 24h, "8d"}}) {
    CAPTURE(r.text);
    CHECK(short_span(r.span) == r.text);
  }
}
