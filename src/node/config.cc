#include "node/config.h"

#include "base/bytes.h"
#include "base/strings.h"
#include "crypto/digest.h"

namespace kedge::node {

namespace {

bool is_alphanumeric(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'); }

// A label value, or the name part of a key: at most 63 letters, digits and -_. with a letter or digit at both ends.
bool is_name(std::string_view text) {
  if (text.empty() || text.size() > 63 || !is_alphanumeric(text.front()) || !is_alphanumeric(text.back())) return false;
  for (char c : text)
    if (!is_alphanumeric(c) && c != '-' && c != '_' && c != '.') return false;
  return true;
}

// prefix/name, the prefix a DNS subdomain.
bool is_key(std::string_view text) {
  auto slash = text.find('/');
  if (slash == std::string_view::npos) return is_name(text);
  auto prefix = text.substr(0, slash);
  if (prefix.empty() || prefix.size() > 253) return false;
  for (auto label : split(prefix, '.')) {
    if (label.empty() || label.front() == '-' || label.back() == '-') return false;
    for (char c : label)
      if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && c != '-') return false;
  }
  return is_name(text.substr(slash + 1));
}

std::string base32(bytes data) {
  static constexpr char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
  std::string out;
  unsigned held = 0, bits = 0;
  for (auto b : data) {
    held = held << 8 | std::to_integer<unsigned>(b);
    bits += 8;
    while (bits >= 5) {
      bits -= 5;
      out += alphabet[held >> bits & 31];
    }
  }
  if (bits > 0) out += alphabet[held << (5 - bits) & 31];
  while (out.size() % 8 != 0) out += '=';
  return out;
}

}  // namespace

result<taint> parse_taint(std::string_view text) {
  auto bad = [&](std::string_view why) {
    return fail(errc::invalid, "node taint " + quote(text) + ": " + std::string(why) +
                                   "; write key=value:Effect with NoSchedule, PreferNoSchedule or NoExecute");
  };
  auto colon = text.rfind(':');
  if (colon == std::string_view::npos) return bad("no effect");
  taint t;
  t.effect = text.substr(colon + 1);
  if (t.effect != "NoSchedule" && t.effect != "PreferNoSchedule" && t.effect != "NoExecute")
    return bad("unknown effect");
  auto rest = text.substr(0, colon);
  auto equals = rest.find('=');
  t.key = rest.substr(0, equals);
  if (equals != std::string_view::npos) t.value = rest.substr(equals + 1);
  if (!is_key(t.key)) return bad("bad key");
  if (!t.value.empty() && !is_name(t.value)) return bad("bad value");
  return t;
}

result<std::pair<std::string, std::string>> parse_label(std::string_view text) {
  auto equals = text.find('=');
  std::string key(text.substr(0, equals));
  std::string value(equals == std::string_view::npos ? std::string_view() : text.substr(equals + 1));
  if (equals == std::string_view::npos || !is_key(key) || (!value.empty() && !is_name(value)))
    return fail(errc::invalid,
                "node label " + quote(text) + " is not of the form key=value with Kubernetes' characters");
  return std::pair(std::move(key), std::move(value));
}

std::string default_runtime_state_folder(std::string_view data_dir) {
  if (data_dir == "/var/lib/rancher/k3s") return "/run/k3s/containerd";
  return "/run/k3s-" + crypto::sha256_hex(as_bytes(data_dir)).substr(0, 8) + "/containerd";
}

std::string config_hash(std::string_view node_args, std::string_view node_env) {
  std::string text(node_args);
  text += node_env;
  return base32(as_bytes(crypto::sha256(as_bytes(text))));
}

}  // namespace kedge::node
