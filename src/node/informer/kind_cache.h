// kind_cache.h: the node's copy of one kind's objects, each decoded once to what the node uses.
//
//   list ─▶ begin_list, set …, end_list        what was there and is no longer listed is removed
//   watch ─▶ set | remove
//                └─▶ on_change(key)            after the cache has it
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "json/value.h"

namespace kedge::node {

// Where a watch's news go. Called on one loop, in order.
class kind_sink {
 public:
  virtual ~kind_sink() = default;
  virtual void begin_list() = 0;
  virtual void set(const json::value& object) = 0;
  virtual void remove(const json::value& object) = 0;
  virtual void end_list() = 0;
};

// "namespace/name", or "name" of what has no namespace.
std::string key_of_object(const json::value& object);

template <typename T>
class kind_cache : public kind_sink {
 public:
  using decode = std::optional<T> (*)(const json::value&);
  // nullopt of `d`: the node doesn't care for that object.
  explicit kind_cache(decode d) : decode_(d) {}

  // The key of what is new, another, or gone.
  std::function<void(const std::string& key)> on_change = [](const std::string&) {};
  // After each list: what is here is complete.
  std::function<void()> on_listed = [] {};

  const T* find(const std::string& key) const {
    auto i = all_.find(key);
    return i == all_.end() ? nullptr : &i->second.value;
  }
  template <typename F>
  void each(F f) const {
    for (auto& [key, e] : all_) f(key, e.value);
  }
  std::size_t size() const noexcept { return all_.size(); }
  bool listed() const noexcept { return listed_; }

  void begin_list() override { ++round_; }
  void set(const json::value& object) override {
    auto key = key_of_object(object);
    auto now = decode_(object);
    if (!now) return drop(key);
    auto [i, fresh] = all_.try_emplace(key);
    i->second.round = round_;
    if (!fresh && i->second.value == *now) return;
    i->second.value = *std::move(now);
    on_change(key);
  }
  void remove(const json::value& object) override { drop(key_of_object(object)); }
  void end_list() override {
    std::vector<std::string> gone;
    for (auto& [key, e] : all_)
      if (e.round != round_) gone.push_back(key);
    for (auto& key : gone) drop(key);
    listed_ = true;
    on_listed();
  }

 private:
  struct entry {
    T value{};
    std::uint32_t round = 0;
  };
  void drop(const std::string& key) {
    if (all_.erase(key)) on_change(key);
  }
  decode decode_;
  std::map<std::string, entry> all_;
  std::uint32_t round_ = 0;
  bool listed_ = false;
};

}  // namespace kedge::node
