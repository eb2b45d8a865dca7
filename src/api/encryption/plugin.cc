#include "api/encryption/plugin.h"

#include "base/protobuf_wire.h"
#include "reactor/sync.h"

namespace kedge::api::encryption {
namespace {

std::string annotation(std::string_view key, std::string_view value) {
  std::string out;
  wire::put_bytes(1, key, out);
  wire::put_bytes(2, value, out);
  return out;
}

auto malformed() { return fail(errc::protocol, "the plugin answered what is no message of v2"); }

}  // namespace

plugin::plugin(const kms_settings& s, reactor::network* network, kms_observer* told)
    : channel_({.at = reactor::endpoint::unix_path(s.socket), .host = {}, .tls = nullptr}, plugin_message_max_bytes,
               network),
      timeout_(s.timeout),
      name_(s.name),
      told_(told) {}

task<result<std::string>> plugin::call(std::string_view method, std::string message) {
  const auto path = "/v2.KeyManagementService/" + std::string(method);
  const auto began = reactor::loop::current().now();
  auto answer = co_await reactor::with_deadline(channel_.unary(path, std::move(message)), began + timeout_);
  if (told_) told_->called(name_, path, answer ? nullptr : &answer.error(), reactor::loop::current().now() - began);
  co_return answer;
}

task<result<plugin_status>> plugin::status() {
  KEDGE_CO_TRY(auto said, co_await call("Status", {}));
  plugin_status out;
  wire::fields in(said);
  while (in.next()) {
    if (in.field() == 1) out.version = in.bytes();
    if (in.field() == 2) out.health = in.bytes();
    if (in.field() == 3) out.key_id = in.bytes();
  }
  if (!in.ok()) co_return malformed();
  co_return out;
}

task<result<encrypted_seed>> plugin::encrypt(std::string uid, std::string seed) {
  std::string message;
  wire::put_bytes(1, seed, message);
  wire::put_bytes(2, uid, message);
  KEDGE_CO_TRY(auto said, co_await call("Encrypt", std::move(message)));
  encrypted_seed out;
  bool good = true;
  wire::fields in(said);
  while (in.next()) {
    if (in.field() == 1) out.text = in.bytes();
    if (in.field() == 2) out.key_id = in.bytes();
    if (in.field() != 3) continue;
    std::string key, value;
    wire::fields entry(in.bytes());
    while (entry.next()) {
      if (entry.field() == 1) key = entry.bytes();
      if (entry.field() == 2) value = entry.bytes();
    }
    good = good && entry.ok();
    out.annotations[std::move(key)] = std::move(value);
  }
  if (!good || !in.ok()) co_return malformed();
  co_return out;
}

task<result<std::string>> plugin::decrypt(std::string uid, encrypted_seed seed) {
  std::string message;
  wire::put_bytes(1, seed.text, message);
  wire::put_bytes(2, uid, message);
  wire::put_bytes(3, seed.key_id, message);
  for (auto& [key, value] : seed.annotations) wire::put_bytes(4, annotation(key, value), message);
  KEDGE_CO_TRY(auto said, co_await call("Decrypt", std::move(message)));
  std::string out;
  wire::fields in(said);
  while (in.next())
    if (in.field() == 1) out = in.bytes();
  if (!in.ok()) co_return malformed();
  co_return out;
}

}  // namespace kedge::api::encryption
