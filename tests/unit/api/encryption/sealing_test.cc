// Encryption at rest by a user's file: kube-apiserver's own values, a plugin that is away, rotates and refuses, a file
// that changes.
#include "api/encryption/sealing.h"

#include <doctest/doctest.h>

#include <atomic>
#include <fstream>
#include <sstream>
#include <thread>

#include "../../net/support.h"
#include "api/encryption/configuration.h"
#include "base/bytes.h"
#include "base/protobuf_wire.h"
#include "base/strings.h"
#include "datastore/memory/memory_log.h"
#include "json/parse.h"
#include "json/write.h"
#include "net/grpc.h"
#include "support/temporary_folder.h"

namespace kedge::api::encryption {
namespace {

// A plugin as tests/integration/kms is: what it encrypts is masked.
struct fake_plugin {
  explicit fake_plugin(const std::string& path)
      : server(
            [this](net::http::exchange& e) -> task<void> {
              auto body = co_await e.read_all();
              net::http::response head;
              head.headers.add("content-type", "application/grpc");
              (void)co_await e.start(head);
              net::http::headers trailers;
              auto answer = said(e.request().path, std::string_view(*body).substr(5), trailers);
              if (trailers.get("grpc-status").empty()) {
                (void)co_await e.write(net::grpc::frame_message(answer));
                trailers.add("grpc-status", "0");
              }
              (void)co_await e.finish(trailers);
            },
            listening(path)) {}

  static net::http::server_options listening(const std::string& path) {
    net::http::server_options o;
    o.plain_http2 = true;
    o.listen.push_back(reactor::endpoint::unix_path(path));
    return o;
  }

  static std::string masked(std::string_view text) {
    std::string out(text);
    for (auto& c : out) c = static_cast<char>(c ^ 0x5a);
    return out;
  }

  std::string said(std::string_view path, std::string_view message, net::http::headers& trailers) {
    std::string first, out;
    wire::fields in(message);
    while (in.next())
      if (in.field() == 1) first = in.bytes();
    if (path.ends_with("/Status")) {
      wire::put_bytes(1, version, out);
      wire::put_bytes(2, health, out);
      wire::put_bytes(3, key, out);
    } else if (path.ends_with("/Encrypt")) {
      ++encryptions;
      wire::put_bytes(1, masked(first), out);
      wire::put_bytes(2, key, out);
    } else {
      ++decryptions;
      if (refuses) trailers.add("grpc-status", "9");
      if (stumbles > 0 && stumbles-- > 0) trailers.add("grpc-status", "13");
      wire::put_bytes(1, masked(first), out);
    }
    return out;
  }

  std::string version = "v2", health = "ok", key = "1";
  bool refuses = false;
  int stumbles = 0;  // decryptions that end with an error that says nothing of the key
  int encryptions = 0, decryptions = 0;
  test::running_server server;
};

std::vector<rule_settings> settings(std::string_view rules) {
  auto read = parse_encryption("apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n" +
                               std::string(rules));
  REQUIRE_MESSAGE(read.has_value(), (read ? std::string() : read.error().message));
  return *std::move(read);
}

std::string kms(const std::string& socket, std::string_view name = "k") {
  return "{kms: {apiVersion: v2, name: " + std::string(name) + ", endpoint: 'unix://" + socket + "', timeout: 1s}}";
}

constexpr std::string_view aescbc =
    "{aescbc: {keys: [{name: a, secret: AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=}]}}";
constexpr std::string_view secret = "/registry/secrets/default/s", map = "/registry/configmaps/default/c";

task<std::unique_ptr<store::store>> opened(sealing& by, datastore::memory_database& db) {
  store::store_options options{.log = datastore::make_memory_log(db), .loops = {&reactor::loop::current()}};
  auto made = co_await store::open_store(by.around(std::move(options)));
  REQUIRE(made.has_value());
  co_return *std::move(made);
}

task<result<store::commit>> put(store::store& s, std::string_view key, std::string value) {
  auto there = s.current().find(key);
  co_return co_await s.write(
      {.kind = there ? store::write_kind::update : store::write_kind::create,
       .key = std::string(key),
       .value = R"({"apiVersion":"v1","kind":"X","metadata":{"name":"x"},"data":")" + value + "\"}",
       .expected = there ? there->mod() : 0});
}

// As it lies in the database.
task<std::string> raw(datastore::memory_database& db, std::string_view key) {
  auto log = datastore::make_memory_log(db);
  REQUIRE((co_await log->open()).has_value());
  auto page = co_await log->load(0);
  std::string out;
  for (auto& e : page->entries)
    if (e.name == key) out = e.value;
  co_await log->close();
  co_return out;
}

TEST_CASE("a key of the datastore is of a resource") {
  CHECK(resource_of_key("/registry/secrets/default/x") == "secrets");
  CHECK(resource_of_key("/registry/minions/a") == "nodes");
  CHECK(resource_of_key("/registry/services/specs/default/x") == "services");
  CHECK(resource_of_key("/registry/services/endpoints/default/x") == "endpoints");
  CHECK(resource_of_key("/registry/events/default/x") == "events");
  CHECK(resource_of_key("/registry/deployments/default/x") == "deployments.apps");
  CHECK(resource_of_key("/registry/ingress/default/x") == "ingresses.networking.k8s.io");
  CHECK(resource_of_key("/registry/example.com/widgets/default/x") == "widgets.example.com");
  CHECK(resource_of_key("/registry/apiextensions.k8s.io/customresourcedefinitions/a.b") ==
        "customresourcedefinitions.apiextensions.k8s.io");
  CHECK(resource_of_key("/registry/masterleases/1.2.3.4").empty());
  CHECK(resource_of_key("/registry/ranges/serviceips").empty());
  CHECK(resource_of_key("/kedge/x").empty());
}

TEST_CASE("no secret stands in what is said of a file") {
  auto wrong = parse_encryption(
      "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: [secrets]\n  "
      "providers: [{identity: {}, aescbc: {keys: [{name: a, secret: c2VjcmV0c2VjcmV0c2VjcmV0}]}}]\n");
  REQUIRE(!wrong.has_value());
  CHECK(wrong.error().message.find("c2Vj") == std::string::npos);
  CHECK(wrong.error().message.find("more than one provider") != std::string::npos);
}

TEST_CASE("nor does one that stands where something else is wanted") {
  for (auto keys : {"[{name: a, secret: 31415926535}]", "[{name: a, secret: [c2VjcmV0]}]", "[c2VjcmV0]", "c2VjcmV0",
                    "[{name: [c2VjcmV0], secret: ''}]"}) {
    auto wrong = parse_encryption(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: [secrets]\n  "
        "providers: [{aescbc: {keys: " +
        std::string(keys) + "}}]\n");
    REQUIRE(!wrong.has_value());
    CHECK_MESSAGE(wrong.error().message.find("c2Vj") == std::string::npos, wrong.error().message);
    CHECK_MESSAGE(wrong.error().message.find("3141") == std::string::npos, wrong.error().message);
  }
}

TEST_CASE("what kube-apiserver has encrypted is read") {
  std::ifstream file(KEDGE_ANSWERS "/files/sealed.json");
  std::stringstream text;
  text << file.rdbuf();
  auto recorded = json::parse(text.str());
  REQUIRE(recorded.has_value());
  test::on_each_backend([&]() -> task<void> {
    const temporary_folder folder;
    const auto socket = folder.path() + "/kms.sock";
    fake_plugin plugin(socket);
    auto configuration = json::write((*recorded)["file"]);
    configuration.replace(configuration.find("SOCKET"), 6, socket);
    auto read = parse_encryption(configuration);
    REQUIRE(read.has_value());
    sealing by(*read);
    auto options = by.around(store::store_options{});
    int count = 0;
    for (auto& [key, value] : *(*recorded)["values"].object()) {
      auto stored = unbase64(value["stored"].as_string());
      REQUIRE(stored.has_value());
      if (stored->starts_with("k8s:enc:kms"))
        CHECK(options.transform.open(key, *stored).error().code == errc::unavailable);
      rules now(*read, {}, [&](const kms_settings& s) { return std::make_shared<kms_provider>(s, [] {}); });
      std::string_view sealed;
      if (auto opener = now.opener(key, *stored, sealed)) co_await opener->fetch(std::string(sealed));
      auto plain = stored->starts_with("k8s:enc:") ? now.open(key, *stored) : result<std::string>(*stored);
      CHECK_MESSAGE(plain.has_value(), key);
      if (plain) CHECK_MESSAGE(plain->find(value["uid"].as_string()) != std::string::npos, key);
      // Bound to its place, where the cipher is.
      if (stored->starts_with("k8s:enc:kms") || stored->starts_with("k8s:enc:aesgcm"))
        CHECK(!now.open(key + "2", *stored).has_value());
      ++count;
    }
    CHECK(count == 7);
    CHECK(plugin.decryptions == 1);
  });
}

TEST_CASE("values are sealed as the file says, read in every way that it names, and old ones are told apart") {
  test::on_each_backend([]() -> task<void> {
    datastore::memory_database db;
    {
      sealing by(settings("- resources: [configmaps]\n  providers: [{identity: {}}]\n"));
      auto s = co_await opened(by, db);
      REQUIRE((co_await put(*s, secret, "plain")).has_value());
      co_await s->close();
    }
    CHECK((co_await raw(db, secret)).starts_with('{'));
    sealing by(settings("- resources: [secrets]\n  providers: [" + std::string(aescbc) + ", {identity: {}}]\n"));
    auto s = co_await opened(by, db);
    REQUIRE((co_await put(*s, map, "open")).has_value());
    CHECK(by.is_old(*s->current().find(secret)));
    CHECK(!by.is_old(*s->current().find(map)));
    REQUIRE((co_await put(*s, secret, "sealed")).has_value());
    CHECK(!by.is_old(*s->current().find(secret)));
    CHECK((co_await raw(db, secret)).starts_with("k8s:enc:aescbc:v1:a:"));
    CHECK((co_await raw(db, map)).starts_with('{'));
    // Another file: what was there is read, and is old.
    REQUIRE((co_await by.use(settings("- resources: ['*.']\n  providers: [{secretbox: {keys: [{name: b, secret: "
                                      "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=}]}}, " +
                                      std::string(aescbc) + ", {identity: {}}]\n")))
                .has_value());
    CHECK(by.is_old(*s->current().find(secret)));
    CHECK(by.is_old(*s->current().find(map)));
    REQUIRE((co_await put(*s, map, "sealed")).has_value());
    CHECK((co_await raw(db, map)).starts_with("k8s:enc:secretbox:v1:b:"));
    co_await s->close();
    auto again = co_await opened(by, db);
    CHECK(again->current().find(secret)->bytes().find("sealed") != std::string_view::npos);
    CHECK(again->complete().has_value());
    co_await again->close();
  });
}

TEST_CASE("a plugin's key writes, is followed when it changes, and opens after a restart") {
  test::on_each_backend([]() -> task<void> {
    const temporary_folder folder;
    const auto socket = folder.path() + "/kms.sock";
    const auto rules = settings("- resources: [secrets]\n  providers: [" + kms(socket) + ", {identity: {}}]\n");
    datastore::memory_database db;
    {
      sealing by(rules);
      // There is nobody: the start waits.
      bool waited = false;
      reactor::scope starting;
      starting.spawn([](sealing& s, bool& done) -> task<void> {
        co_await s.wait_for_writers();
        done = true;
      }(by, waited));
      while (by.well().error().message.find("status section") == std::string::npos) co_await reactor::yield();
      CHECK(!waited);
      fake_plugin plugin(socket);
      co_await starting.join();
      CHECK(by.well().has_value());
      auto s = co_await opened(by, db);
      REQUIRE((co_await put(*s, secret, "one")).has_value());
      CHECK((co_await raw(db, secret)).starts_with("k8s:enc:kms:v2:k:"));
      CHECK(!by.is_old(*s->current().find(secret)));
      CHECK(plugin.encryptions == 1);
      // Another key: what stands is old, and another seed writes.
      plugin.key = "2";
      REQUIRE((co_await by.use(rules)).has_value());
      CHECK(plugin.encryptions == 2);
      CHECK(by.is_old(*s->current().find(secret)));
      REQUIRE((co_await put(*s, map, "open")).has_value());
      REQUIRE((co_await put(*s, "/registry/secrets/default/t", "two")).has_value());
      // Ill: told of, and what was taken over goes on.
      plugin.health = "broken";
      auto taken = co_await by.use(rules, {});
      CHECK(!taken.has_value());
      CHECK(by.well().error().message.find("got unexpected healthz status: broken") != std::string::npos);
      REQUIRE((co_await put(*s, secret, "three")).has_value());
      co_await s->close();
      CHECK(plugin.decryptions == 0);
    }
    fake_plugin plugin(socket);
    plugin.key = "2";
    {
      sealing by(rules);
      co_await by.wait_for_writers();
      auto s = co_await opened(by, db);
      CHECK(plugin.decryptions == 2);  // each seed once, that of the history too
      CHECK(s->current().find(secret)->bytes().find("three") != std::string_view::npos);
      CHECK(!by.is_old(*s->current().find(secret)));
      co_await s->close();
    }
    // Refused: what is there can't be read, and nobody writes over it.
    plugin.refuses = true;
    sealing by(rules);
    co_await by.wait_for_writers();
    auto s = co_await opened(by, db);
    CHECK(!s->complete().has_value());
    CHECK(s->complete().error().message.find("failed to decrypt DEK") != std::string::npos);
    CHECK(!(co_await put(*s, secret, "lost")).has_value());
    co_await s->close();
  });
}

TEST_CASE("a write that is under way while the keys change is old when it lands") {
  test::on_each_backend([]() -> task<void> {
    datastore::memory_database db;
    sealing by(settings("- resources: [secrets]\n  providers: [" + std::string(aescbc) + "]\n"));
    auto s = co_await opened(by, db);
    reactor::scope writing;
    bool written = false;
    writing.spawn([](store::store& to, bool& done) -> task<void> {
      done = (co_await put(to, secret, "x")).has_value();
    }(*s, written));
    REQUIRE((co_await by.use(settings("- resources: [secrets]\n  providers: [{secretbox: {keys: [{name: b, secret: "
                                      "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=}]}}, " +
                                      std::string(aescbc) + "]\n")))
                .has_value());
    REQUIRE(!written);
    co_await writing.join();
    REQUIRE(written);
    CHECK((co_await raw(db, secret)).starts_with("k8s:enc:aescbc:v1:a:"));
    CHECK(by.is_old(*s->current().find(secret)));
    REQUIRE((co_await put(*s, secret, "y")).has_value());
    CHECK(!by.is_old(*s->current().find(secret)));
    co_await s->close();
  });
}

TEST_CASE("other cores may look while the plugins are exchanged") {
  test::on_each_backend([]() -> task<void> {
    const temporary_folder folder;
    const auto socket = folder.path() + "/kms.sock";
    fake_plugin plugin(socket);
    auto with = [&](std::string_view name) {
      return settings("- resources: [secrets]\n  providers: [" + kms(socket, name) + "]\n");
    };
    sealing by(with("k"));
    co_await by.wait_for_writers();
    std::atomic<bool> over = false;
    std::atomic<std::size_t> looks = 0;
    std::thread other([&] {
      for (; !over; ++looks) (void)by.well();
    });
    for (int i = 0; i < 300; ++i) REQUIRE((co_await by.use(with(i % 2 == 0 ? "a" : "b"))).has_value());
    while (looks == 0) co_await reactor::yield();
    over = true;
    other.join();
  });
}

TEST_CASE("a plugin that stumbles is asked again before a value counts as lost") {
  test::on_each_backend([]() -> task<void> {
    const temporary_folder folder;
    const auto socket = folder.path() + "/kms.sock";
    const auto rules = settings("- resources: [secrets]\n  providers: [" + kms(socket) + "]\n");
    datastore::memory_database db;
    fake_plugin plugin(socket);
    {
      sealing by(rules);
      co_await by.wait_for_writers();
      auto s = co_await opened(by, db);
      REQUIRE((co_await put(*s, secret, "one")).has_value());
      co_await s->close();
    }
    plugin.stumbles = 1;
    sealing by(rules);
    co_await by.wait_for_writers();
    auto s = co_await opened(by, db);
    CHECK(plugin.decryptions == 2);
    CHECK(s->complete().has_value());
    REQUIRE(s->current().find(secret));
    co_await s->close();
  });
}

}  // namespace
}  // namespace kedge::api::encryption
