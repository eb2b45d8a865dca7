#include "control/fence.h"

#include "base/log.h"
#include "control/limits.h"
#include "json/write.h"
#include "reactor/loop.h"

namespace kedge::control {

std::string term_key(std::string_view name) { return "/kedge/terms/" + std::string(name); }

task<store::revision> begin_term(store::store& s, std::string name, std::string identity) {
  auto key = term_key(name);
  auto text = json::write(json::object{{"holder", identity}});
  for (;;) {
    auto latest = co_await s.latest();
    auto row = latest ? latest->find(key) : store::object_ref();
    auto done = latest ? co_await s.write({row ? store::write_kind::update : store::write_kind::create, key, text,
                                           row ? row->mod() : 0, 0})
                       : result<store::commit>(std::unexpected(latest.error()));
    if (done) co_return done->at;
    log::debug("the term of {}: {}; trying again", name, done.error().message);
    co_await reactor::sleep_for(restart_pause);
  }
}

}  // namespace kedge::control
