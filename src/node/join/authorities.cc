#include "node/join/authorities.h"

#include "crypto/files.h"
#include "crypto/token.h"
#include "reactor/offload.h"

namespace kedge::node {

namespace {

task<result<std::string>> read(std::string file) {
  auto text = co_await reactor::offload([file = std::move(file)] { return crypto::read_file(file); });
  if (!text) co_return fail(std::move(text).error());
  co_return *std::move(text);
}

}  // namespace

task<result<client_authority>> read_client_authority(std::string file) {
  KEDGE_CO_TRY(auto pem, co_await read(std::move(file)));
  KEDGE_CO_TRY(auto bundle, crypto::parse_bundle(pem));
  KEDGE_CO_TRY(auto trust, crypto::trust::from_bundle(bundle));
  co_return client_authority{std::move(pem), std::move(trust)};
}

task<bool> has_other_authorities(api_client& api, std::string server_ca, std::string client_ca_file) {
  auto client_ca = co_await read(std::move(client_ca_file));
  if (!client_ca || server_ca.empty()) co_return false;
  const auto mark = crypto::authorities_mark(server_ca, *client_ca);
  auto answer = co_await api.cacerts(mark);
  if (!answer || answer->status != 200) co_return false;
  const auto said = answer->headers.get("ETag");
  co_return said.empty() ? answer->body != server_ca : said != mark;
}

}  // namespace kedge::node
