#include "cli/node_args.h"

#include <algorithm>
#include <cstdint>

#include "base/bytes.h"
#include "cli/flags.h"
#include "crypto/digest.h"
#include "json/write.h"

namespace kedge::cli {
namespace {

constexpr std::string_view mask = "********";

// A string as Go's json.Marshal writes it, which escapes HTML's characters too: the hash is over these bytes.
std::string go_json_string(std::string_view text) {
  std::string plain, out;
  json::write_string(text, plain);
  for (char c : plain) {
    if (c == '<' || c == '>' || c == '&')
      out += c == '<' ? "\\u003c" : c == '>' ? "\\u003e" : "\\u0026";
    else
      out += c;
  }
  return out;
}

std::string base32(std::string_view data) {
  constexpr std::string_view alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
  std::string out;
  std::uint32_t bits = 0;
  unsigned held = 0;
  for (char c : data) {
    bits = bits << 8 | static_cast<unsigned char>(c);
    for (held += 8; held >= 5; held -= 5) out += alphabet[bits >> (held - 5) & 31];
  }
  if (held > 0) out += alphabet[bits << (5 - held) & 31];
  while (out.size() % 8 != 0) out += '=';
  return out;
}

// The flag of `-t`, `--token`; nullptr for what is none.
const flag* flag_of(std::string_view word) {
  if (word.size() < 2 || word[0] != '-') return nullptr;
  return find_flag(flag_table(), word.substr(word[1] == '-' ? 2 : 1));
}

}  // namespace

std::vector<std::string> masked_arguments(std::span<const std::string> arguments) {
  std::vector<std::string> items;
  for (std::string_view word : arguments) {
    const auto equals = word.find('=');
    // K3s splits only `--a=b`; one-letter flags with a value attached are split too where that value must be hidden.
    const auto* f = flag_of(word.substr(0, equals));
    if (equals != std::string_view::npos && (word.starts_with("--") || (f != nullptr && f->secret))) {
      items.emplace_back(word.substr(0, equals));
      items.emplace_back(word.substr(equals + 1));
    } else {
      items.emplace_back(word);
    }
  }
  for (std::size_t i = 0; i + 1 < items.size(); ++i)
    if (const auto* f = flag_of(items[i]); f != nullptr && f->secret) items[++i] = mask;
  return items;
}

std::vector<std::pair<std::string, std::string>> masked_environment(
    std::span<const std::pair<std::string, std::string>> environment) {
  std::vector<std::pair<std::string, std::string>> kept;
  for (const auto& [name, value] : environment) {
    if (!name.starts_with("K3S_")) continue;
    const auto is_secret = [&](const flag& f) { return f.secret && f.env == name; };
    // K3S_CLUSTER_SECRET is the token's name of K3s's first versions.
    const bool hide = name == "K3S_CLUSTER_SECRET" || std::ranges::any_of(flag_table(), is_secret);
    kept.emplace_back(name, hide ? std::string(mask) : value);
  }
  std::sort(kept.begin(), kept.end());
  return kept;
}

node_configuration describe_node(std::span<const std::string> masked_args,
                                 std::span<const std::pair<std::string, std::string>> masked_env) {
  node_configuration described{.args = "[", .env = "{", .hash = {}};
  for (const auto& item : masked_args) described.args += (described.args.size() > 1 ? "," : "") + go_json_string(item);
  described.args += ']';
  for (const auto& [name, value] : masked_env) {
    if (described.env.size() > 1) described.env += ',';
    described.env += go_json_string(name) + ':' + go_json_string(value);
  }
  described.env += '}';
  described.hash = base32(crypto::sha256(as_bytes(described.args + described.env)));
  return described;
}

}  // namespace kedge::cli
