// mysql_dsn_fuzz.cc: MySQL endpoints of any shape: no crash; what is taken is whole, and holds nothing that would end a
// statement early; what is refused is refused without the password.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/assert.h"
#include "datastore/mysql/settings.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace kedge;
  using namespace kedge::datastore::mysql;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  for (bool files : {false, true}) {
    auto s = parse_dsn(text, files);
    // A password of the usual place is never told.
    constexpr std::string_view secret = "SecretW0rd";  // no escape of quote() ends like it begins
    auto other = parse_dsn("user:" + std::string(secret) + "@" + std::string(text), files);
    if (!other && text.find(secret) == std::string_view::npos)
      kedge_assert(other.error().message.find(secret) == std::string::npos);
    if (!s) {
      kedge_assert(!s.error().message.empty());
      continue;
    }
    kedge_assert(s->port != 0 && !s->database.empty() && s->database.find('`') == std::string::npos);
    kedge_assert(!s->host.empty() || !s->socket.empty());
    for (auto* each : {&s->user, &s->password, &s->host, &s->socket, &s->database})
      kedge_assert(each->find('\0') == std::string::npos);
    for (auto& [name, value] : s->variables) {
      kedge_assert(name.find_first_of("; '\"`=-") == std::string::npos);
      kedge_assert(!value.empty() && value.find('\\') == std::string::npos);
      auto inner =
          value.size() >= 2 && (value[0] == '\'' || value[0] == '"') ? value.substr(1, value.size() - 2) : value;
      kedge_assert(inner.find(value[0] == '"' ? '"' : '\'') == std::string::npos);
      kedge_assert(inner.size() + 2 == value.size() || inner.find_first_of("; \t\n#/") == std::string::npos);
    }
    (void)describe(*s);
  }
  return 0;
}
