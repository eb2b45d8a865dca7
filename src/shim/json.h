// json.h: as much of JSON as a shim reads: members of an object by name, strings, the messages of a runtime's log. A
// whole parser is what the other programs have; this one looks through a container's configuration once and keeps
// nothing.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace kedge::shim::json {

// The members of an object, in their order: while (m.next()) m.name(), m.value(). Values are their text.
class members {
 public:
  explicit members(std::string_view object);
  bool next();
  // Without escapes; a name that has some is given as it is written.
  std::string_view name() const noexcept { return name_; }
  std::string_view value() const noexcept { return value_; }
  // Whether all until here was well-formed.
  bool ok() const noexcept { return ok_; }

 private:
  std::string_view rest_, name_, value_;
  bool ok_ = true, first_ = true;
};

// The elements of an array: the value's text, until there is none.
class elements {
 public:
  explicit elements(std::string_view array);
  std::optional<std::string_view> next();
  bool ok() const noexcept { return ok_; }

 private:
  std::string_view rest_;
  bool ok_ = true, first_ = true;
};

// The value of the last member of that name; nothing when there is none or the text is no object.
std::optional<std::string_view> member(std::string_view object, std::string_view name);

// What a string means; nothing when the text is no string.
std::optional<std::string> text_of(std::string_view value);
std::string quote(std::string_view text);

// The next value at the front of `in`, which it is taken off; nothing when it is malformed. Depth is counted, not
// recursed into; brackets must match.
std::optional<std::string_view> take_value(std::string_view& in);

}  // namespace kedge::shim::json
