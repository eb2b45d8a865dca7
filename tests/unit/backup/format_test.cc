// The bytes of a snapshot file: what is written is read, and nothing else is.
#include "backup/format.h"

#include <doctest/doctest.h>

namespace kedge::backup {
namespace {

const std::string key(file_key_bytes, 'k');

std::string records_of(int count) {
  std::string out;
  for (int i = 0; i < count; ++i)
    append_record(out, {.key = "/registry/configmaps/default/" + std::to_string(i),
                        .value = std::string(static_cast<std::size_t>(i), 'v'),
                        .lease_seconds = static_cast<std::uint32_t>(i % 3),
                        .at = 7ull + static_cast<std::uint64_t>(i)});
  return out;
}

TEST_CASE("records come back as they were") {
  auto sealed = seal_block(records_of(100), key, 4);
  REQUIRE(sealed);
  auto plain = open_block(*sealed, key, 4);
  REQUIRE(plain);
  auto records = parse_records(*plain);
  REQUIRE(records);
  REQUIRE(records->size() == 100);
  CHECK((*records)[42].key == "/registry/configmaps/default/42");
  CHECK((*records)[42].value == std::string(42, 'v'));
  CHECK((*records)[41].lease_seconds == 2);
  CHECK((*records)[42].at == 49);
}

TEST_CASE("a block opens with its key, at its place, and unchanged only") {
  auto sealed = *seal_block(records_of(3), key, 4);
  CHECK_FALSE(open_block(sealed, std::string(file_key_bytes, 'o'), 4));
  CHECK_FALSE(open_block(sealed, key, 5));
  for (std::size_t i = 0; i < sealed.size(); i += 7) {
    auto other = sealed;
    other[i] = static_cast<char>(other[i] ^ 1);
    CHECK_FALSE(open_block(other, key, 4));
  }
}

TEST_CASE("records that are cut off are no records") {
  auto whole = records_of(2);
  for (std::size_t n = 1; n < whole.size(); ++n) {
    auto cut = parse_records(std::string_view(whole).substr(0, n));
    CHECK((!cut || cut->size() < 2));
  }
}

TEST_CASE("the header says what is in the file; one of a newer version is not guessed at") {
  header h{.kedge = "1.2", .cluster = "uid", .node = "a", .datastore = "SQLite", .revision = 17, .objects = 3};
  h.created = *parse_rfc3339("2026-11-30T09:00:00Z");
  h.token_id = "abc";
  h.sealed_key = "sealed";
  h.identity = "identity";
  auto back = parse_header(write_header(h));
  REQUIRE(back);
  CHECK(back->cluster == "uid");
  CHECK(back->revision == 17);
  CHECK(back->objects == 3);
  CHECK(back->created == h.created);
  CHECK(back->identity == "identity");
  h.version = 2;
  auto newer = parse_header(write_header(h));
  REQUIRE_FALSE(newer);
  CHECK(newer.error().code == errc::unsupported);
  CHECK(newer.error().message.find("newer kedge") != std::string::npos);
  CHECK_FALSE(parse_header("{}"));
  CHECK_FALSE(parse_header("nonsense"));
}

TEST_CASE("a frame's sum is of all of it") {
  auto whole = frame(block_kind::objects, "payload");
  auto text = std::string_view(whole);
  auto head = parse_head(text.substr(0, frame_head_bytes));
  REQUIRE(head);
  CHECK(head->size == 7);
  auto payload = text.substr(frame_head_bytes, 7), sum = text.substr(frame_head_bytes + 7);
  CHECK(sum_is_right(text.substr(0, frame_head_bytes), payload, sum));
  CHECK_FALSE(sum_is_right(text.substr(0, frame_head_bytes), "Payload", sum));
  CHECK_FALSE(parse_head(std::string("X\0\0\0\1", 5)));
  CHECK_FALSE(parse_head("O\xff\xff\xff\xff"));
  CHECK(write_end({.objects = 1, .blocks = 1}).size() == end_payload_bytes);
  CHECK(write_end({.objects = UINT32_MAX * 1000ull, .blocks = UINT32_MAX}).size() == end_payload_bytes);
}

}  // namespace
}  // namespace kedge::backup
