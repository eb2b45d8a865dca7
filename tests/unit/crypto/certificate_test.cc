#include "crypto/certificate.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "base/strings.h"
#include "crypto/request.h"
#include "workbench.h"

using namespace kedge;
using namespace kedge::crypto;
using std::chrono::days;
using std::chrono::hours;
using std::chrono::seconds;

namespace {

// A time of the samples: 2026-11-21T04:50:32Z.
const wall_time start = wall_time(seconds(1795236632));

leaf_request apiserver() {
  return {.common_name = "kube-apiserver",
          .dns_names = {"kubernetes", "kubernetes.default", "localhost"},
          .addresses = {"127.0.0.1", "::1", "10.43.0.1"},
          .server = true};
}
leaf_request admin() { return {.common_name = "system:admin", .organizations = {"system:masters"}, .client = true}; }

certificate leaf_of(const authority& ca, const leaf_request& r, wall_time now) {
  return issue(ca, private_key::generate(key_kind::ecdsa_p256).value().public_part(), r, now, system_random()).value();
}

}  // namespace

TEST_CASE("a CA is what K3s makes") {
  workbench w;
  auto ca = authority::create("k3s-server-ca", start).value();
  auto& c = ca.signer();
  CHECK(c.subject().user == "k3s-server-ca@1795236632");
  CHECK(c.issuer_name() == c.subject().user);
  CHECK(c.not_before() == start - authority_backdate);
  CHECK(c.not_after() == start - authority_backdate + days(3650));
  CHECK(c.is_authority());
  CHECK(c.subject_key_id().size() == 20);
  CHECK(c.authority_key_id().empty());
  w.put("ca.crt", ca.bundle_pem());
  auto text =
      w.run("openssl x509 -in ca.crt -noout -serial -subject -nameopt RFC2253 -ext keyUsage,basicConstraints").text;
  CHECK(text ==
        "serial=00\nsubject=CN=k3s-server-ca@1795236632\n"
        "X509v3 Key Usage: critical\n    Digital Signature, Key Encipherment, Certificate Sign\n"
        "X509v3 Basic Constraints: critical\n    CA:TRUE\n");
  auto again = authority::from_pem(ca.bundle_pem(), ca.key().pem()).value();
  CHECK(again.signer() == c);
  auto other = private_key::generate(key_kind::ecdsa_p256).value();
  CHECK(authority::from_pem(ca.bundle_pem(), other.pem()).error().code == errc::invalid);
}

TEST_CASE("a leaf is what K3s makes, and openssl verifies its chain") {
  workbench w;
  auto now = system_wall_time();
  auto ca = authority::create("k3s-server-ca", now - days(1)).value();
  auto leaf = leaf_of(ca, apiserver(), now);
  CHECK(leaf.subject().user == "kube-apiserver");
  CHECK(leaf.dns_names() == std::vector<std::string>{"kubernetes", "kubernetes.default", "localhost"});
  CHECK(leaf.addresses() == std::vector<std::string>{"127.0.0.1", "::1", "10.43.0.1"});
  CHECK(leaf.not_before() == ca.signer().not_before());  // whoever trusts the CA at his time trusts its leaf
  CHECK(leaf.not_after() == std::chrono::floor<seconds>(now + days(365)));
  CHECK(leaf.authority_key_id() == ca.signer().subject_key_id());
  CHECK(leaf.for_server());
  CHECK(!leaf.for_client());
  CHECK(!leaf.is_authority());

  w.put("ca.crt", ca.bundle_pem());
  w.put("leaf.crt", chain_pem(leaf, ca));
  CHECK(
      w.run(
           "openssl verify -x509_strict -CAfile ca.crt -purpose sslserver -verify_hostname kubernetes.default leaf.crt")
          .text == "leaf.crt: OK\n");
  CHECK(!w.run("openssl verify -CAfile ca.crt -purpose sslclient leaf.crt").good);
  auto text = w.run("openssl x509 -in leaf.crt -noout -ext keyUsage,extendedKeyUsage,subjectAltName").text;
  CHECK(text ==
        "X509v3 Key Usage: critical\n    Digital Signature, Key Encipherment\n"
        "X509v3 Extended Key Usage:\n    TLS Web Server Authentication\n"
        "X509v3 Subject Alternative Name:\n    DNS:kubernetes, DNS:kubernetes.default, DNS:localhost, "
        "IP Address:127.0.0.1, IP Address:0:0:0:0:0:0:0:1, IP Address:10.43.0.1\n");
  CHECK(parse_bundle(w.get("leaf.crt")).value().size() == 2);
}

TEST_CASE("subject and fingerprints name the user as Kubernetes reads them") {
  workbench w;
  auto ca = authority::create("k3s-client-ca", start).value();
  auto r = admin();
  r.organizations = {"system:masters", "b team", "ünïts"};
  auto leaf = leaf_of(ca, r, start);
  CHECK(leaf.subject().user == "system:admin");
  auto groups = leaf.subject().groups;
  std::sort(groups.begin(), groups.end());
  CHECK(groups == std::vector<std::string>{"b team", "system:masters", "ünïts"});
  w.put("leaf.crt", leaf.pem());
  CHECK(w.run("openssl x509 -in leaf.crt -noout -subject").text.starts_with("subject=O = "));
  auto bare = [](std::string_view text) {  // "xx Fingerprint=AA:BB" → "AABB"
    std::string out;
    for (char c : trim(text.substr(text.find('=') + 1)))
      if (c != ':') out += c;
    return out;
  };
  CHECK(bare(w.run("openssl x509 -in leaf.crt -noout -fingerprint -sha1").text) == leaf.fingerprint_sha1());
  CHECK(lower(bare(w.run("openssl x509 -in leaf.crt -noout -fingerprint -sha256").text)) == leaf.fingerprint_sha256());
}

TEST_CASE("a leaf begins with its CA, whatever the signer's clock says, and ends with it where asked") {
  auto ca = authority::create("ca", start).value();
  auto begin = ca.signer().not_before();
  CHECK(begin == start - authority_backdate);
  for (auto clock : {start, start + hours(5), start + days(2000), begin - days(20000)}) {
    auto leaf = leaf_of(ca, admin(), clock);
    CHECK(leaf.not_before() == begin);
    CHECK(leaf.not_after() ==
          std::max<wall_time>(clock, begin) + days(365));  // a clock before the CA is taken for its begin
  }
  auto late = start + days(3650) - days(10);
  CHECK(leaf_of(ca, admin(), late).not_after() == late + days(365));
}

TEST_CASE("a signed request has its subject and names, the signer's terms, and no end behind the authority's") {
  workbench w;
  auto ca = authority::create("ca", start).value();
  auto request_of = [&](const std::string& subject, const std::string& names) {
    auto more = names.empty() ? "" : " -addext subjectAltName=" + names;
    w.run("openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout k -out r -subj '" +
          subject + "'" + more);
    return parse_request(w.run("cat r").text).value();
  };
  auto now = start + days(100);
  auto sign = [&](const certificate_request& r, signing_terms t, wall_time when) {
    return sign_request(ca, r, t, when, system_random());
  };
  auto r = request_of("/CN=first/emailAddress=x@y.z/O=b/OU=unit/C=DE/O=a/CN=jane",
                      "DNS:a.b,IP:10.0.0.1,email:j@a.b,URI:spiffe://x/y");
  auto leaf = sign(r, {.client = true, .digital_signature = true}, now).value();
  w.put("leaf.crt", leaf.pem());
  // As Go writes a pkix.Name: its attributes alone, in its order; the last CN.
  CHECK(w.run("openssl x509 -in leaf.crt -noout -subject -nameopt compat").text.find("emailAddress") ==
        std::string::npos);
  CHECK(trim(w.run("openssl x509 -in leaf.crt -noout -subject -nameopt RFC2253").text) ==
        "subject=CN=jane,OU=unit,O=b+O=a,C=DE");
  auto text = w.run("openssl x509 -in leaf.crt -noout -text").text;
  for (auto part : {"DNS:a.b, email:j@a.b, IP Address:10.0.0.1, URI:spiffe://x/y", "CA:FALSE", "Digital Signature\n",
                    "TLS Web Client Authentication\n"})
    CHECK_MESSAGE(text.find(part) != text.npos, part << " is not in " << text);
  CHECK(text.find("Key Encipherment") == text.npos);
  w.put("ca.crt", ca.bundle_pem());
  CHECK(w.run("openssl verify -attime " + std::to_string(std::chrono::floor<seconds>(now).time_since_epoch().count()) +
              " -CAfile ca.crt leaf.crt")
            .text.find("OK") != std::string::npos);
  CHECK(leaf.not_before() == now - std::chrono::minutes(5));
  CHECK(leaf.not_after() == now - std::chrono::minutes(5) + days(365));
  // What is short-lived has all of its time; nothing outlives the authority, or is older than it.
  CHECK(sign(r, {.client = true, .lifetime = hours(1)}, now)->not_after() == now + hours(1));
  auto end = ca.signer().not_after();
  CHECK(sign(r, {.client = true}, end - days(10))->not_after() == end);
  CHECK(sign(r, {.client = true}, end).error().code == errc::expired);
  CHECK(sign(r, {.client = true}, start - days(1))->not_before() == ca.signer().not_before());
  // Without a subject its names are critical.
  w.put("leaf.crt", sign(request_of("/", "DNS:a.b"), {.server = true}, now).value().pem());
  CHECK(w.run("openssl x509 -in leaf.crt -noout -text").text.find("Subject Alternative Name: critical") !=
        std::string::npos);
}

TEST_CASE("serials are random and positive") {
  workbench w;
  auto ca = authority::create("ca", start).value();
  auto key = private_key::generate(key_kind::ecdsa_p256).value().public_part();
  struct ones final : random_source {
    void fill(mutable_bytes out) override {
      for (auto& b : out) b = std::byte{0xff};
    }
  } all_ones;
  w.put("a", issue(ca, key, admin(), start, all_ones).value().pem());
  CHECK(w.run("openssl x509 -in a -noout -serial").text == "serial=7FFFFFFFFFFFFFFF\n");
}

TEST_CASE("what can't be issued is refused") {
  auto ca = authority::create("ca", start).value();
  auto key = ca.key().public_part();
  struct {
    leaf_request request;
    const char* message;
  } rows[] = {
      {{.client = true}, "must specify a CommonName"},
      {{.common_name = "x"}, "must specify at least one ExtKeyUsage"},
      {{.common_name = "x", .addresses = {"10.0.0.256"}, .server = true},
       "invalid IP address in a certificate's names: 10.0.0.256"},
      {{.common_name = "x", .dns_names = {"a b"}, .server = true},
       "DNS name of a certificate has a character that isn't allowed there"},
      {{.common_name = "x", .dns_names = {""}, .server = true},
       "DNS name of a certificate has a character that isn't allowed there"},
  };
  for (auto& r : rows) {
    auto made = issue(ca, key, r.request, start, system_random());
    REQUIRE(!made);
    CHECK(made.error().code == errc::invalid);
    CHECK(made.error().message == r.message);
  }
}

TEST_CASE("a node's name may be longer than X.520's 64 characters") {
  auto ca = authority::create("ca", start).value();
  auto name = "system:node:" + std::string(200, 'x');
  auto leaf = leaf_of(ca, {.common_name = name, .organizations = {"system:nodes"}, .client = true}, start);
  CHECK(leaf.subject().user == name);
  CHECK(trust::from_bundle(ca.bundle()).value().verify_client(std::vector{leaf}, start));
}

TEST_CASE("a certificate is renewed for K3s's reasons") {
  auto ca = authority::create("ca", start).value(), other = authority::create("ca", start).value();
  auto leaf = leaf_of(ca, apiserver(), start);
  auto check = [&](auto change, wall_time now, const authority& signer) {
    auto r = apiserver();
    change(r);
    return reason_to_renew(leaf, signer.signer(), r, now);
  };
  auto same = [](leaf_request&) {};
  CHECK(check(same, start, ca) == std::nullopt);
  CHECK(check(same, start + days(245), ca) == std::nullopt);
  CHECK(check(same, start + days(245) + seconds(1), ca)->starts_with("it ends at"));
  CHECK(check(same, start, other) == "another authority signed it");
  CHECK(check([](auto& r) { r.common_name = "x"; }, start, ca)->starts_with("its common name"));
  CHECK(check([](auto& r) { r.organizations = {"x"}; }, start, ca) == "its organizations differ");
  CHECK(check([](auto& r) { r.dns_names.push_back("edge-1"); }, start, ca) == "it lacks the name \"edge-1\"");
  CHECK(check([](auto& r) { r.addresses.push_back("fd00::2"); }, start, ca) == "it lacks the address fd00::2");
  CHECK(check([](auto& r) { r.addresses = {"0:0:0:0:0:0:0:1"}; }, start, ca) == std::nullopt);  // the same address
  CHECK(check([](auto& r) { r.dns_names.clear(); }, start, ca) == std::nullopt);

  // One that a fast clock made, of the same authority: not valid yet here, though it lasts long.
  auto fast = authority::create("ca", ca.key(), start + days(1)).value();
  auto early = leaf_of(fast, apiserver(), start + days(1));
  CHECK(reason_to_renew(early, ca.signer(), apiserver(), start)->starts_with("it is not valid yet, before 20"));
  CHECK(reason_to_renew(early, ca.signer(), apiserver(), early.not_before()) == std::nullopt);
  // A clock before the authority's begin is wrong, and signing anew would not help.
  CHECK(check(same, ca.signer().not_before() - days(3), ca) == std::nullopt);
  CHECK(reason_invalid(leaf, leaf.not_after()) == std::nullopt);
  CHECK(reason_invalid(leaf, leaf.not_after() + seconds(1))->starts_with("it ended at"));
}

TEST_CASE("client certificates are verified at a given time, for a given use") {
  auto ca = authority::create("k3s-client-ca", start).value(),
       other = authority::create("k3s-client-ca", start).value();
  auto anchors = trust::from_bundle(ca.bundle()).value();
  auto good = leaf_of(ca, admin(), start);
  auto check = [&](const certificate& leaf, wall_time now) {
    auto done = anchors.verify_client(std::vector{leaf}, now);
    return done ? std::string("ok") : std::string(name_of(done.error().code));
  };
  CHECK(check(good, start) == "ok");
  CHECK(check(good, start + days(365) + seconds(1)) == "expired");
  CHECK(check(good, start - hours(2)) == "expired");
  CHECK(check(leaf_of(other, admin(), start), start) == "unauthenticated");  // same CA name, another key
  CHECK(check(leaf_of(ca, apiserver(), start), start) == "unauthenticated");
  CHECK(anchors.verify_client({}, start).error().code == errc::unauthenticated);

  auto both = apiserver();
  both.client = true;
  CHECK(check(leaf_of(ca, both, start), start) == "ok");

  // A bundle of an old and a new CA trusts both.
  auto rotated = trust::from_bundle(std::vector{other.signer(), ca.signer()}).value();
  CHECK(rotated.verify_client(std::vector{good}, start));
}

TEST_CASE("servers are verified by name or address") {
  auto ca = authority::create("k3s-server-ca", start).value();
  auto anchors = trust::from_bundle(ca.bundle()).value();
  auto leaf = std::vector{leaf_of(ca, apiserver(), start)};
  for (auto name : {"localhost", "kubernetes.default", "127.0.0.1", "::1", "10.43.0.1"}) {
    CAPTURE(name);
    CHECK(anchors.verify_server(leaf, name, start));
  }
  for (auto name : {"example.com", "10.43.0.2", "kube-apiserver", "", "fd00::1"}) {
    CAPTURE(name);
    CHECK(!anchors.verify_server(leaf, name, start));
  }
}

TEST_CASE("a user's intermediate CA signs, and its bundle rides along") {
  workbench w;
  auto made = w.run(
      "openssl req -x509 -newkey rsa:2048 -nodes -keyout root.key -out root.crt -subj /CN=root -days 3650 && "
      "openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-384 -nodes -keyout mid.key -out mid.csr -subj /CN=mid && "
      "printf "
      "'basicConstraints=critical,CA:true\\nkeyUsage=critical,keyCertSign,digitalSignature\\nsubjectKeyIdentifier="
      "hash\\n"
      "authorityKeyIdentifier=keyid' > mid.ext && "
      "openssl x509 -req -in mid.csr -CA root.crt -CAkey root.key -CAcreateserial -out mid.crt -days 3650 -extfile "
      "mid.ext");
  REQUIRE_MESSAGE(made.good, made.text);
  auto now = system_wall_time();  // not before what openssl has just made begins
  auto ca = authority::from_pem(w.get("mid.crt") + w.get("root.crt"), w.get("mid.key")).value();
  CHECK(ca.signer().subject().user == "mid");
  CHECK(ca.key().algorithm() == key_algorithm::ecdsa_p384);
  auto leaf = leaf_of(ca, apiserver(), now);
  w.put("leaf.crt", chain_pem(leaf, ca));
  CHECK(w.run("openssl verify -CAfile root.crt -untrusted mid.crt leaf.crt").good);

  auto root = parse_bundle(w.get("root.crt")).value();
  auto chain = parse_bundle(w.get("leaf.crt")).value();
  REQUIRE(chain.size() == 3);
  CHECK(trust::from_bundle(root).value().verify_server(chain, "localhost", now));
  CHECK(!trust::from_bundle(root).value().verify_server(std::vector{leaf}, "localhost", now));
  // The intermediate alone is an anchor too.
  CHECK(trust::from_bundle(std::vector{ca.signer()}).value().verify_server(std::vector{leaf}, "localhost", now));
  // Of a root that another one signed too, both forms may come: who trusts the other is not led astray (K3s's rotated
  // CAs).
  made = w.run(
      "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout old.key -out old.crt -subj /CN=old "
      "-days 3650 && "
      "openssl req -new -key root.key -subj /CN=root -out cross.csr && "
      "openssl x509 -req -in cross.csr -CA old.crt -CAkey old.key -CAcreateserial -out cross.crt -days 3650 -extfile "
      "mid.ext");
  REQUIRE_MESSAGE(made.good, made.text);
  now = system_wall_time();
  chain =
      parse_bundle(leaf.pem() + w.get("mid.crt") + w.get("root.crt") + w.get("cross.crt") + w.get("old.crt")).value();
  CHECK(trust::from_bundle(parse_bundle(w.get("old.crt")).value()).value().verify_server(chain, "localhost", now));
  CHECK(trust::from_bundle(root).value().verify_server(chain, "localhost", now));
  CHECK(root_of(ca.bundle(), now) == root.front());
  CHECK(root_of(root, now) == std::nullopt);
  CHECK(root_of(std::vector{root.front(), ca.signer()}, now) == std::nullopt);
}

TEST_CASE("what is no certificate is refused") {
  auto ca = authority::create("ca", start).value();
  CHECK(parse_bundle("").error().code == errc::invalid);
  CHECK(parse_bundle(ca.key().pem()).error().code == errc::invalid);
  auto der = ca.signer().der();
  CHECK(certificate::from_der(as_bytes(der)));
  CHECK(!certificate::from_der(as_bytes(der + "x")));
  CHECK(!certificate::from_der(as_bytes(der.substr(0, der.size() - 1))));
}

TEST_CASE("an agent's request gives its key, whatever else it says") {
  workbench w;
  auto key = private_key::generate(key_kind::ecdsa_p256).value();
  auto der = make_request(key).value();
  CHECK(public_key_of_request(as_bytes(der)).value() == key.public_part());
  w.put("csr", der);
  CHECK(w.run("openssl req -inform DER -in csr -noout -verify -subject").text.find("subject=\n") != std::string::npos);
  der.back() = static_cast<char>(der.back() ^ 1);  // the signature isn't looked at
  CHECK(public_key_of_request(as_bytes(der)).value() == key.public_part());
  CHECK(public_key_of_request({}).error().code == errc::invalid);
  CHECK(public_key_of_request(as_bytes("hello")).error().code == errc::invalid);
  CHECK(public_key_of_request(as_bytes(std::string((64 << 10) + 1, 'x'))).error().code == errc::too_large);
}

TEST_CASE("a request of the CSR API is read with its names, and must be signed") {
  workbench w;
  auto key = private_key::generate(key_kind::ecdsa_p256).value();
  auto der = make_request(key, {"system:node:edge-1", {"system:nodes"}, {"edge-1"}, {"10.0.0.7", "fd00::7"}}).value();
  auto r = parse_request(request_pem(as_bytes(der))).value();
  CHECK(r.subject.user == "system:node:edge-1");
  CHECK(r.subject.groups == std::vector<std::string>{"system:nodes"});
  CHECK(r.dns_names == std::vector<std::string>{"edge-1"});
  CHECK(r.addresses == std::vector<std::string>{"10.0.0.7", "fd00::7"});
  CHECK(r.key == key.public_part());

  auto theirs = w.run(
      "openssl req -new -newkey rsa:2048 -nodes -keyout k -subj '/O=a/O=b/CN=me' -addext "
      "'subjectAltName=email:me@x.org,URI:spiffe://x/y,DNS:d' 2>/dev/null");
  auto t = parse_request(theirs.text).value();
  CHECK(t.subject == subject{"me", {"a", "b"}, ""});
  CHECK(t.emails == std::vector<std::string>{"me@x.org"});
  CHECK(t.uris == std::vector<std::string>{"spiffe://x/y"});
  CHECK(t.dns_names == std::vector<std::string>{"d"});

  der.back() = static_cast<char>(der.back() ^ 1);
  CHECK(parse_request(request_pem(as_bytes(der))).error().code == errc::invalid);
  CHECK(parse_request(key.pem()).error().message == "PEM block type must be CERTIFICATE REQUEST");
  CHECK(parse_request("").error().message == "PEM block type must be CERTIFICATE REQUEST");
}
