#include "shim/arguments.h"

#include <algorithm>
#include <iterator>
#include <string_view>

namespace kedge::shim {

result<arguments> read_arguments(int argc, char** argv) {
  arguments a;
  std::string ignored;  // -socket: we are given our socket open, as the Go shim is
  struct {
    std::string_view name;
    std::string* text;
    bool* flag;
  } known[] = {
      {"namespace", &a.space, {}}, {"id", &a.id, {}},        {"bundle", &a.bundle, {}},
      {"address", &a.address, {}}, {"socket", &ignored, {}}, {"publish-binary", &a.publish_binary, {}},
      {"debug", {}, &a.debug},     {"v", {}, &a.version},    {"info", {}, &a.info},
  };
  for (int i = 1; i < argc; ++i) {
    std::string_view word = argv[i];
    if (!word.starts_with('-')) {
      a.action = word;
      break;
    }
    word.remove_prefix(word.starts_with("--") ? 2 : 1);
    auto equals = word.find('=');
    auto name = word.substr(0, equals);
    auto found = std::ranges::find_if(known, [&](auto& k) { return k.name == name; });
    if (found == std::end(known)) return fail(errc::invalid, "flag provided but not defined: -" + std::string(name));
    if (found->flag) {
      *found->flag = equals == std::string_view::npos || word.substr(equals + 1) == "true";
    } else if (equals != std::string_view::npos) {
      *found->text = word.substr(equals + 1);
    } else if (++i < argc) {
      *found->text = argv[i];
    } else {
      return fail(errc::invalid, "flag needs an argument: -" + std::string(name));
    }
  }
  return a;
}

}  // namespace kedge::shim
