#include "api/registry/lookup.h"

#include "base/log.h"
#include "json/parse.h"

namespace kedge::api {

std::string object_key(std::string_view directory, std::string_view ns, std::string_view name) {
  std::string key = directory_prefix(directory, ns);
  key += name;
  return key;
}

std::string directory_prefix(std::string_view directory, std::string_view ns) {
  std::string key;
  key.reserve(12 + directory.size() + ns.size() + 64);
  key += "/registry/";
  key += directory;
  key += '/';
  if (!ns.empty()) {
    key += ns;
    key += '/';
  }
  return key;
}

std::optional<json::value> read_object(const store::object_ref& stored) {
  if (!stored) return std::nullopt;
  auto parsed = json::parse(stored->bytes());
  if (!parsed) {
    log::error("stored object {} can't be read: {}", stored->key(), parsed.error().message);
    return std::nullopt;
  }
  return std::move(*parsed);
}

std::optional<json::value> read_object(const store::snapshot& cluster, const std::string& key) {
  return read_object(cluster.find(key));
}

void each_object(const store::snapshot& cluster, const std::string& prefix,
                 const std::function<bool(json::value&)>& visit) {
  cluster.scan(prefix, {}, [&](const store::object_ref& stored) {
    auto object = read_object(stored);
    return !object || visit(*object);
  });
}

}  // namespace kedge::api
