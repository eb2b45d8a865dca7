// What is said to S3, and what it answers.
#include <doctest/doctest.h>

#include "backup/s3/bucket.h"
#include "backup/s3/settings.h"
#include "backup/s3/signature.h"

namespace kedge::backup::s3 {
namespace {

const credentials example{.access_key = "AKIAIOSFODNN7EXAMPLE",
                          .secret_key = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
                          .session_token = {}};
const auto day = *parse_rfc3339("2013-05-24T00:00:00Z");

std::string signature_of(const request& r) {
  for (auto& [name, value] : sign(r, example, "us-east-1", day))
    if (name == "authorization") return value.substr(value.find("Signature=") + 10);
  return {};
}

// The examples of Amazon's documentation, "Signature Calculations for the Authorization Header".
TEST_CASE("signatures are those of the documentation's examples") {
  request get{.host = "examplebucket.s3.amazonaws.com",
              .path = "/test.txt",
              .query = {},
              .headers = {{"range", "bytes=0-9"}},
              .payload_sha256 = std::string(empty_sha256)};
  CHECK(signature_of(get) == "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
  request put{.method = "PUT",
              .host = "examplebucket.s3.amazonaws.com",
              .path = "/test$file.text",
              .query = {},
              .headers = {{"date", "Fri, 24 May 2013 00:00:00 GMT"}, {"x-amz-storage-class", "REDUCED_REDUNDANCY"}},
              .payload_sha256 = "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"};
  CHECK(signature_of(put) == "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd");
  CHECK(target_of(put) == "/test%24file.text");
  request lifecycle{.host = "examplebucket.s3.amazonaws.com",
                    .path = "/",
                    .query = {{"lifecycle", ""}},
                    .headers = {},
                    .payload_sha256 = std::string(empty_sha256)};
  CHECK(signature_of(lifecycle) == "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543");
  request list{.host = "examplebucket.s3.amazonaws.com",
               .path = "/",
               .query = {{"prefix", "J"}, {"max-keys", "2"}},
               .headers = {},
               .payload_sha256 = std::string(empty_sha256)};
  CHECK(signature_of(list) == "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7");
  CHECK(target_of(list) == "/?max-keys=2&prefix=J");
}

TEST_CASE("the bucket stands in the host's name where the certificate can have it, or as asked") {
  auto host = [](std::string endpoint, std::string bucket, std::string lookup = "auto") {
    return by_host_name({.endpoint = std::move(endpoint), .bucket = std::move(bucket), .lookup = std::move(lookup)});
  };
  CHECK(host("s3.amazonaws.com", "b"));
  CHECK(host("s3.eu-central-1.amazonaws.com:443", "b"));
  CHECK_FALSE(host("s3.amazonaws.com", "b.c"));
  CHECK_FALSE(host("10.0.0.1:9000", "b"));
  CHECK(host("minio.example", "b", "dns"));
  CHECK_FALSE(host("s3.amazonaws.com", "b", "path"));
}

TEST_CASE("lists are read page by page; what is none is refused") {
  auto page = parse_listing(
      "<?xml version=\"1.0\"?><ListBucketResult "
      "xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><IsTruncated>true</IsTruncated>"
      "<Contents><Key>f/a&amp;b</Key><LastModified>2026-11-30T10:00:00.000Z</LastModified><Size>17</Size></Contents>"
      "<Contents><Key>f/c</Key><LastModified>2026-11-30T11:00:00.000Z</LastModified><Size>0</Size></Contents>"
      "<NextContinuationToken>go+on=</NextContinuationToken></ListBucketResult>");
  REQUIRE(page);
  REQUIRE(page->items.size() == 2);
  CHECK(page->items[0].name == "f/a&b");
  CHECK(page->items[0].bytes == 17);
  CHECK(page->next == "go+on=");
  CHECK_FALSE(parse_listing("<html>"));
  CHECK_FALSE(parse_listing("<ListBucketResult><Contents><Key>a</Key><Size>many</Size></Contents></ListBucketResult>"));
}

TEST_CASE("settings that can't work are named; a Secret may say them") {
  settings s{.who = example};
  CHECK(check(s).error().message.find("--etcd-s3-bucket") != std::string::npos);
  s.bucket = "b";
  CHECK(check(s));
  s.endpoint = "https://s3";
  CHECK_FALSE(check(s));
  auto told = from_secret(json::object{{"etcd-s3-bucket", "mine"},
                                       {"etcd-s3-endpoint", "host:9000"},
                                       {"etcd-s3-insecure", "true"},
                                       {"etcd-s3-timeout", "90s"},
                                       {"etcd-s3-access-key", "a"},
                                       {"etcd-s3-secret-key", "b"}},
                          settings{});
  CHECK(told.bucket == "mine");
  CHECK(told.endpoint == "host:9000");
  CHECK(told.insecure);
  CHECK(told.timeout == std::chrono::seconds(90));
  CHECK(check(told));
}

}  // namespace
}  // namespace kedge::backup::s3
