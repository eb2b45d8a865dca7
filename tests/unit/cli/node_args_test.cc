#include "cli/node_args.h"

#include <doctest/doctest.h>

using namespace kedge::cli;
using words = std::vector<std::string>;

TEST_CASE("the configuration hash is K3s's") {
  const auto described = describe_node(words{"agent"}, {});
  CHECK(described.args == "[\"agent\"]");
  CHECK(described.env == "{}");
  CHECK(described.hash == "VAWHMSYNSNUR43ZLPF5HNYNNZAVNFT4N6LI6244Z75TE72KHCAKA====");
}

TEST_CASE("arguments are split at = and secrets masked, however they are written") {
  struct {
    words given, shown;
  } rows[] = {
      {{"server", "--data-dir=/x", "--debug"}, {"server", "--data-dir", "/x", "--debug"}},
      {{"agent", "--token", "s3cret"}, {"agent", "--token", "********"}},
      {{"agent", "--token=s3cret=x"}, {"agent", "--token", "********"}},
      {{"agent", "-t", "s3cret", "-d", "/x"}, {"agent", "-t", "********", "-d", "/x"}},
      {{"agent", "-t=s3cret"}, {"agent", "-t", "********"}},
      {{"agent", "-token=s3cret"}, {"agent", "-token", "********"}},
      {{"server", "--datastore-endpoint", "postgres://u:p@h/db"}, {"server", "--datastore-endpoint", "********"}},
      {{"server", "--agent-token", "a", "--etcd-s3-secret-key=b"},
       {"server", "--agent-token", "********", "--etcd-s3-secret-key", "********"}},
      {{"server", "--kubelet-arg=a=b"}, {"server", "--kubelet-arg", "a=b"}},
  };
  for (const auto& r : rows) CHECK(masked_arguments(r.given) == r.shown);
}

TEST_CASE("only K3S_ variables are recorded, sorted and masked") {
  const auto kept = masked_environment(std::vector<std::pair<std::string, std::string>>{{"PATH", "/bin"},
                                                                                        {"K3S_URL", "https://h:6443"},
                                                                                        {"K3S_TOKEN", "s3cret"},
                                                                                        {"K3S_CLUSTER_SECRET", "old"},
                                                                                        {"K3S_NODE_NAME", "a<b"}});
  CHECK(
      describe_node({}, kept).env ==
      R"({"K3S_CLUSTER_SECRET":"********","K3S_NODE_NAME":"a\u003cb","K3S_TOKEN":"********","K3S_URL":"https://h:6443"})");
}
