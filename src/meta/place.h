// place.h: where something stands in an object, as messages spell it: spec.containers[0].ports, metadata.labels[app].
//
// A chain of steps that lie on the stack, each pointing at the one before: nothing is spelled, nor allocated, but for
// what is wrong. So a step must not outlive the one it was made from; making one from a temporary doesn't compile.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace kedge::api {

class place {
 public:
  // The object itself (""), or a member of it; `name` may hold several steps: "spec.template".
  place(std::string_view name) noexcept : name_(name) {}
  place(const char* name) noexcept : name_(name) {}
  place(const std::string& name) noexcept : name_(name) {}
  // up.member, which may hold several steps, too; up[index]; up.member[index].
  place(const place& up, std::string_view member) noexcept : up_(&up), name_(member) {}
  place(const place& up, std::size_t index) noexcept : up_(&up), index_(index) {}
  place(const place& up, std::string_view member, std::size_t index) noexcept
      : up_(&up), name_(member), index_(index) {}
  place(place&&, std::string_view) = delete;
  place(place&&, std::size_t) = delete;
  place(place&&, std::string_view, std::size_t) = delete;
  // up[key], of a map; up.member[key].
  static place of_key(const place& up, std::string_view key) noexcept { return of_key(up, {}, key); }
  static place of_key(const place& up, std::string_view member, std::string_view key) noexcept {
    place out(up, member);
    out.key_ = key;
    out.keyed_ = true;
    return out;
  }
  static place of_key(place&&, std::string_view) = delete;
  static place of_key(place&&, std::string_view, std::string_view) = delete;

  std::string text() const {
    std::string out;
    append(out);
    return out;
  }
  operator std::string() const { return text(); }

 private:
  static constexpr auto none = static_cast<std::size_t>(-1);

  void append(std::string& out) const {
    if (up_) up_->append(out);
    if (!name_.empty()) {
      if (!out.empty()) out += '.';
      out += name_;
    }
    if (index_ == none && !keyed_) return;
    out += '[';
    if (keyed_)
      out += key_;
    else
      out += std::to_string(index_);
    out += ']';
  }

  const place* up_ = nullptr;
  std::string_view name_, key_;
  std::size_t index_ = none;
  bool keyed_ = false;
};

}  // namespace kedge::api
