#include "crypto/bootstrap_record.h"

#include <doctest/doctest.h>

using namespace kedge;
using namespace kedge::crypto;

TEST_CASE("the record's key derives from the password") {
  CHECK(bootstrap_key("secret") == "/bootstrap/2bb80d537b1d");
  CHECK(bootstrap_key("") == "/bootstrap/e3b0c44298fc");
}

TEST_CASE("the record's encryption is K3s's") {
  std::string_view nonce("\0\1\2\3\4\5\6\7\10\11\12\13", 12);
  auto value = encrypt_bootstrap("{}", "secret", "0011223344556677", nonce).value();
  CHECK(value == "0011223344556677:AAECAwQFBgcICQoLmwvwisQckCKA++zDmW5TxmJR");
  CHECK(decrypt_bootstrap(value, "secret").value() == "{}");
  seeded_random random(5);
  auto a = encrypt_bootstrap("{\"x\":1}", "s", random).value(), b = encrypt_bootstrap("{\"x\":1}", "s", random).value();
  CHECK(a != b);
  CHECK(a.find(':') == 16);
  CHECK(decrypt_bootstrap(b, "s").value() == "{\"x\":1}");
}

TEST_CASE("a record of another token, or a damaged one, does not open") {
  std::string good = "0011223344556677:AAECAwQFBgcICQoLmwvwisQckCKA++zDmW5TxmJR";
  struct {
    std::string value, password;
    errc code;
  } rows[] = {
      {good, "other", errc::unauthenticated},
      {good.substr(0, good.size() - 1) + "S", "secret", errc::unauthenticated},
      {"0011223344556678" + good.substr(16), "secret", errc::unauthenticated},
      {"", "secret", errc::corrupt},
      {"abc", "secret", errc::corrupt},
      {"a:b:c", "secret", errc::corrupt},
      {"0011223344556677:AAECAwQF", "secret", errc::corrupt},
      {"0011223344556677:****", "secret", errc::corrupt},
  };
  for (auto& r : rows) {
    CAPTURE(r.value);
    CHECK(decrypt_bootstrap(r.value, r.password).error().code == r.code);
  }
}

TEST_CASE("the files are kept with their times, and the older form is read") {
  auto when = wall_time(std::chrono::seconds(1795236632) + std::chrono::nanoseconds(123456789));
  bootstrap_files files{{"ServerCA", {when, "pem\n"}}, {"ClientCA", {wall_time(std::chrono::seconds(1)), ""}}};
  auto text = write_bootstrap_files(files);
  CHECK(text == R"({"ClientCA":{"Timestamp":"1970-01-01T00:00:01Z","Content":""},)"
                R"("ServerCA":{"Timestamp":"2026-11-21T04:50:32.123456789Z","Content":"cGVtCg=="}})"
                "\n");
  CHECK(parse_bootstrap_files(text).value() == files);
  CHECK(parse_bootstrap_files(R"({"A":{"Timestamp":"2026-11-21T06:50:32.123456789+02:00","Content":"cGVtCg=="}})")
            .value()["A"] == bootstrap_file{when, "pem\n"});
  CHECK(parse_bootstrap_files(R"({"A":"cGVtCg==","B":{"Timestamp":"0001-01-01T00:00:00Z","Content":null}})").value() ==
        bootstrap_files{{"A", {{}, "pem\n"}}, {"B", {{}, ""}}});
  for (auto bad :
       {"", "[]", "{\"A\":1}", "{\"A\":{}}", "{\"A\":\"*\"}", "{\"A\":{\"Timestamp\":\"x\",\"Content\":\"\"}}"}) {
    CAPTURE(bad);
    CHECK(!parse_bootstrap_files(bad));
  }
}
