#include "control/view.h"

#include <list>
#include <unordered_map>

#include "api/answer/encode.h"
#include "base/log.h"
#include "control/limits.h"
#include "json/parse.h"

namespace kedge::control {

namespace {

// What was looked at last, by the object's address: the entry holds the object, so that no other can have that address.
class value_cache {
 public:
  std::shared_ptr<const json::value> get(const store::object_ref& o) {
    if (auto it = index_.find(&*o); it != index_.end()) {
      order_.splice(order_.begin(), order_, it->second);
      return it->second->value;
    }
    auto v = json::parse(o->bytes());
    if (!v) {
      log::error("{} can't be read: {}", o->key(), v.error().message);
      return nullptr;
    }
    auto shared = std::make_shared<const json::value>(*std::move(v));
    order_.push_front({o, shared});
    index_[&*o] = order_.begin();
    bytes_ += o->bytes().size();
    while (order_.size() > values_max || (bytes_ > values_text_max_bytes && order_.size() > 1)) {
      auto& last = order_.back();
      bytes_ -= last.object->bytes().size();
      index_.erase(&*last.object);
      order_.pop_back();
    }
    return shared;
  }

 private:
  struct entry {
    store::object_ref object;
    std::shared_ptr<const json::value> value;
  };
  std::list<entry> order_;  // the one looked at last in front
  std::unordered_map<const store::object*, std::list<entry>::iterator> index_;
  std::size_t bytes_ = 0;
};

}  // namespace

std::shared_ptr<const json::value> value_of(const store::object_ref& o) {
  thread_local value_cache cache;
  return cache.get(o);
}

std::string_view name_under(std::string_view prefix, std::string_view key) {
  return key.starts_with(prefix) ? key.substr(prefix.size()) : key;
}

ns_name split_name(std::string_view key) {
  auto slash = key.find('/');
  if (slash == key.npos) return {{}, key};
  return {key.substr(0, slash), key.substr(slash + 1)};
}

std::string_view namespace_in_key(std::string_view key) {
  auto end = key.rfind('/');
  auto begin = end == key.npos || end == 0 ? key.npos : key.rfind('/', end - 1);
  return begin == key.npos ? std::string_view() : key.substr(begin + 1, end - begin - 1);
}

std::string view::prefix(const api::resource_id& r, std::string_view ns) const {
  auto* s = find(r);
  return s ? s->prefix(ns) : std::string();
}

const json::value* view::value(const store::object_ref& o) const {
  auto v = value_of(o);
  if (!v) return nullptr;
  held_.push_back(std::move(v));
  return held_.back().get();
}

const json::value* view::get(const api::served& s, std::string_view ns, std::string_view name) const {
  auto found = cluster_.find(s.key(ns, name));
  if (!found) return nullptr;
  if (api::is_ready(s, *found)) return value(found);
  auto v = api::served_value(s, *found);
  if (!v) return nullptr;
  held_.push_back(std::make_shared<const json::value>(*std::move(v)));
  return held_.back().get();
}

const json::value* view::get(const api::resource_id& r, std::string_view ns, std::string_view name) const {
  auto* s = find(r);
  return s ? get(*s, ns, name) : nullptr;
}

const json::value* view::get(const api::resource_id& r, std::string_view key) const {
  auto [ns, name] = split_name(key);
  return get(r, ns, name);
}

}  // namespace kedge::control
