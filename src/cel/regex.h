// regex.h: regular expressions by RE2, with the messages of Go's.
#pragma once

#include <expected>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace re2 {
class RE2;
}

namespace kedge::cel {

// Immutable; shared by cores.
class regex {
 public:
  // The error is Go's text: "error parsing regexp: missing closing ): `(`".
  static std::expected<regex, std::string> compile(std::string_view pattern);

  bool matches(std::string_view text) const;  // anywhere in it
  struct found {
    std::size_t begin, end;
  };
  // The leftmost match from `from` on.
  std::optional<found> find(std::string_view text, std::size_t from) const;

 private:
  explicit regex(std::shared_ptr<const re2::RE2> r) : re_(std::move(r)) {}
  std::shared_ptr<const re2::RE2> re_;
};

}  // namespace kedge::cel
