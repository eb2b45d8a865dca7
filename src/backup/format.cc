#include "backup/format.h"

#include <zlib.h>

#include "backup/limits.h"
#include "base/bytes.h"
#include "base/strings.h"
#include "crypto/aead.h"
#include "crypto/bootstrap_record.h"
#include "crypto/digest.h"
#include "json/parse.h"
#include "json/write.h"

namespace kedge::backup {

namespace {

constexpr int level = 1;  // a third of the text's size at a tenth of the best one's time
constexpr std::size_t record_head_bytes = 20;

const std::byte* at(std::string_view text, std::size_t offset) {
  return reinterpret_cast<const std::byte*>(text.data()) + offset;
}

std::string nonce_of(std::uint64_t number) {
  std::string nonce(crypto::gcm_nonce_bytes - sizeof number, '\0');
  append_be64(nonce, number);
  return nonce;
}

// The text's size in front: what to give room for.
result<std::string> deflate_text(std::string_view plain) {
  std::string out;
  append_be32(out, static_cast<std::uint32_t>(plain.size()));
  auto room = ::compressBound(plain.size());
  out.resize(sizeof(std::uint32_t) + room);
  if (::compress2(reinterpret_cast<Bytef*>(out.data() + sizeof(std::uint32_t)), &room,
                  reinterpret_cast<const Bytef*>(plain.data()), plain.size(), level) != Z_OK)
    return fail(errc::internal, "a block can't be deflated");
  out.resize(sizeof(std::uint32_t) + room);
  return out;
}

result<std::string> inflate_text(std::string_view text) {
  if (text.size() < sizeof(std::uint32_t)) return fail(errc::corrupt, "a block is too short");
  uLongf size = load_be32(at(text, 0));
  if (size > block_bytes_max) return fail(errc::corrupt, "a block is larger than any that is written");
  std::string out(size, '\0');
  text.remove_prefix(sizeof(std::uint32_t));
  if (::uncompress(reinterpret_cast<Bytef*>(out.data()), &size, reinterpret_cast<const Bytef*>(text.data()),
                   text.size()) != Z_OK ||
      size != out.size())
    return fail(errc::corrupt, "a block can't be inflated");
  return out;
}

}  // namespace

std::string write_header(const header& h) {
  return json::write(json::object{{"version", static_cast<std::int64_t>(h.version)},
                                  {"kedge", h.kedge},
                                  {"created", format_rfc3339(h.created)},
                                  {"cluster", h.cluster},
                                  {"node", h.node},
                                  {"datastore", h.datastore},
                                  {"revision", static_cast<std::int64_t>(h.revision)},
                                  {"objects", static_cast<std::int64_t>(h.objects)},
                                  {"tokenId", h.token_id},
                                  {"key", h.sealed_key},
                                  {"identity", h.identity}});
}

result<header> parse_header(std::string_view text) {
  auto v = json::parse(text);
  if (!v || !v->is_object() || (*v)["version"].as_integer() < 1) return fail(errc::corrupt, "its header can't be read");
  header h;
  h.version = static_cast<unsigned>((*v)["version"].as_integer());
  h.kedge = (*v)["kedge"].as_string();
  if (h.version > format_version)
    return fail(errc::unsupported, "it is of format " + std::to_string(h.version) + ", written by kedge " + h.kedge +
                                       ", and this program knows formats up to " + std::to_string(format_version) +
                                       ": use a newer kedge");
  KEDGE_TRY(h.created, parse_rfc3339((*v)["created"].as_string()));
  h.cluster = (*v)["cluster"].as_string();
  h.node = (*v)["node"].as_string();
  h.datastore = (*v)["datastore"].as_string();
  h.revision = static_cast<std::uint64_t>((*v)["revision"].as_integer());
  h.objects = static_cast<std::uint64_t>((*v)["objects"].as_integer());
  h.token_id = (*v)["tokenId"].as_string();
  h.sealed_key = (*v)["key"].as_string();
  h.identity = (*v)["identity"].as_string();
  if (h.sealed_key.empty() || h.identity.empty()) return fail(errc::corrupt, "its header has no key");
  return h;
}

std::string write_end(const totals& t) {
  auto text = json::write(
      json::object{{"objects", static_cast<std::int64_t>(t.objects)}, {"blocks", static_cast<std::int64_t>(t.blocks)}});
  text.resize(end_payload_bytes, ' ');
  return text;
}

result<totals> parse_end(std::string_view text) {
  auto v = json::parse(trim(text));
  if (!v || !v->is_object()) return fail(errc::corrupt, "its end can't be read");
  return totals{static_cast<std::uint64_t>((*v)["objects"].as_integer()),
                static_cast<std::uint64_t>((*v)["blocks"].as_integer())};
}

std::string frame(block_kind kind, std::string_view payload) {
  std::string out(1, static_cast<char>(kind));
  append_be32(out, static_cast<std::uint32_t>(payload.size()));
  out += payload;
  return out + crypto::sha256(as_bytes(out));
}

result<frame_head> parse_head(std::string_view head) {
  if (head.size() != frame_head_bytes) return fail(errc::corrupt, "a block's head is cut off");
  frame_head h{static_cast<block_kind>(head[0]), load_be32(at(head, 1))};
  bool known = h.kind == block_kind::header || h.kind == block_kind::objects || h.kind == block_kind::end;
  if (!known || h.size > (h.kind == block_kind::objects ? block_bytes_max : header_bytes_max))
    return fail(errc::corrupt, "a block's head is damaged");
  return h;
}

bool sum_is_right(std::string_view head, std::string_view payload, std::string_view sum) {
  std::string whole(head);
  whole += payload;
  return crypto::sha256(as_bytes(whole)) == sum;
}

void append_record(std::string& out, const record& r) {
  append_be32(out, static_cast<std::uint32_t>(r.key.size()));
  append_be32(out, static_cast<std::uint32_t>(r.value.size()));
  append_be32(out, r.lease_seconds);
  append_be64(out, r.at);
  out += r.key;
  out += r.value;
}

result<std::vector<record>> parse_records(std::string_view plain) {
  std::vector<record> out;
  while (!plain.empty()) {
    if (plain.size() < record_head_bytes) return fail(errc::corrupt, "an object is cut off");
    std::size_t key = load_be32(at(plain, 0)), value = load_be32(at(plain, 4));
    record r{.key = {}, .value = {}, .lease_seconds = load_be32(at(plain, 8)), .at = load_be64(at(plain, 12))};
    plain.remove_prefix(record_head_bytes);
    if (key == 0 || key > plain.size() || value > plain.size() - key)
      return fail(errc::corrupt, "an object is cut off");
    r.key = plain.substr(0, key);
    r.value = plain.substr(key, value);
    plain.remove_prefix(key + value);
    out.push_back(std::move(r));
  }
  return out;
}

result<std::string> seal_key(std::string_view key, std::string_view password, random_source& random) {
  return crypto::encrypt_bootstrap(hex(as_bytes(key)), password, random);
}

result<std::string> open_key(std::string_view sealed, std::string_view password) {
  KEDGE_TRY(auto text, crypto::decrypt_bootstrap(sealed, password));
  KEDGE_TRY(auto key, unhex(text));
  if (key.size() != file_key_bytes) return fail(errc::corrupt, "the file's key is none");
  return key;
}

result<std::string> seal_block(std::string_view records, std::string_view key, std::uint64_t number) {
  KEDGE_TRY(auto small, deflate_text(records));
  return crypto::gcm_seal(key, nonce_of(number), small, std::to_string(number));
}

result<std::string> open_block(std::string_view payload, std::string_view key, std::uint64_t number) {
  KEDGE_TRY(auto small, crypto::gcm_open(key, payload, std::to_string(number)));
  return inflate_text(small);
}

}  // namespace kedge::backup
