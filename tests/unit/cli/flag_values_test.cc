#include "cli/flag_values.h"

#include <doctest/doctest.h>

#include "cli/flags.h"

namespace kedge::cli {

TEST_CASE("the values that a server runs with are told by flag, secrets masked") {
  server_options o;
  o.agent.token = "K10secret";
  o.datastore_endpoint = "postgres://me:secret@db/kedge";
  o.disable_components = {"traefik", "metrics-server"};
  o.https_listen_port = 7443;
  auto told = flag_values(o);
  CHECK(told.at("token") == "********");
  CHECK(told.at("datastore-endpoint") == "********");
  CHECK(told.at("agent-token").empty());
  CHECK(told.at("disable") == "[traefik,metrics-server]");
  CHECK(told.at("https-listen-port") == "7443");
  CHECK(told.at("disable-agent") == "false");
  for (auto& [name, value] : told) {
    CAPTURE(name);
    CHECK(value.find("secret") == std::string::npos);
    CHECK(find_flag(flag_table(), name) != nullptr);
  }
}

}  // namespace kedge::cli
