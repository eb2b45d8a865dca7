#include "api/audit/log.h"

#include <dirent.h>
#include <stdlib.h>
#include <unistd.h>

#include "../access_harness.h"
#include "crypto/files.h"

namespace kedge::api {
namespace {

using namespace testing;

audit_record example() {
  audit_record r;
  r.audit_id = "id-1";
  r.uri = "/api/v1/namespaces/default/pods/p?x=\"";
  r.source_address = "10.0.0.7";
  r.user_agent = "kubectl";
  r.request = ask(user("ann"), "get", "", "pods/log", "default", "p");
  r.code = 403;
  r.reason = "Forbidden";
  r.decision = "forbid";
  return r;
}

TEST_CASE("an audit event is one line of JSON") {
  auto line = audit_line(example(), false);
  CHECK(line.find('\n') == std::string::npos);
  auto event = json::parse(line);
  REQUIRE(event.has_value());
  CHECK((*event)["stage"].as_string() == "ResponseComplete");
  CHECK((*event)["objectRef"]["subresource"].as_string() == "log");
  CHECK((*event)["responseStatus"]["code"].as_integer() == 403);
  CHECK((*event)["impersonatedUser"].is_null());
  auto acting = example();
  acting.authenticated = admin();
  event = json::parse(audit_line(acting, true));
  CHECK((*event)["user"]["username"].as_string() == "system:admin");
  CHECK((*event)["impersonatedUser"]["username"].as_string() == "ann");
}

TEST_CASE("the file is rotated by size, and old files go") {
  char folder[] = "/tmp/kedge-audit-XXXXXX";
  REQUIRE(::mkdtemp(folder) != nullptr);
  auto path = std::string(folder) + "/audit.log";
  {
    auto log = audit_log::open({.path = path, .max_bytes = 2'000, .max_backups = 2});
    REQUIRE(log.has_value());
    for (int i = 0; i < 40; ++i) {
      (*log)->record(example(), false);
      (*log)->flush();
      ::usleep(1'500);  // rotated files are told apart by the millisecond
    }
    CHECK((*log)->dropped() == 0);
  }
  std::vector<std::string> names;
  auto opened = ::opendir(folder);
  while (auto entry = ::readdir(opened))
    if (entry->d_name[0] != '.') names.emplace_back(entry->d_name);
  ::closedir(opened);
  CHECK(names.size() == 3);
  auto text = crypto::read_file(path);
  REQUIRE(text.has_value());
  CHECK(text->size() <= 2'000);
  CHECK(text->ends_with("}\n"));
  for (auto& name : names) ::unlink((std::string(folder) + '/' + name).c_str());
  ::rmdir(folder);
  CHECK(!audit_log::open({.path = "/nope/audit.log"}).has_value());
}

}  // namespace
}  // namespace kedge::api
