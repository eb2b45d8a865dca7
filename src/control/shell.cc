#include "control/shell.h"

#include <algorithm>

#include "base/assert.h"
#include "base/log.h"
#include "control/limits.h"
#include "schema/resources.h"

namespace kedge::control {

void own_key(const seen& s, keys& k) { k.add(std::string(s.name())); }

void living_key(const seen& s, keys& k) {
  if (!s.deleted()) own_key(s, k);
}

std::function<void(const seen&, keys&)> controller_key(std::string api_version, std::string kind) {
  return [api_version = std::move(api_version), kind = std::move(kind)](const seen& s, keys& k) {
    auto name = [&](const json::value& o) {
      auto& owners = o["metadata"]["ownerReferences"];
      for (std::size_t i = 0; i < owners.size(); ++i)
        if (owners[i]["controller"].as_bool() && owners[i]["kind"].as_string() == kind &&
            owners[i]["apiVersion"].as_string() == api_version)
          k.add(std::string(o["metadata"]["namespace"].as_string()) + "/" + std::string(owners[i]["name"].as_string()));
    };
    name(s.value());
    if (s.previous() && !s.deleted()) name(s.value_before());
  };
}

plan controller::look(const view&, const std::string&, const moment&) { return {}; }

task<api::api_result<void>> controller::work(shell& s, std::string key) { return s.look_and_write(key); }

namespace {
class plain final : public controller {
 public:
  plain(std::vector<source> s, plan (*look)(const view&, const std::string&, const moment&))
      : sources_(std::move(s)), look_(look) {}
  std::vector<source> sources() override { return std::move(sources_); }
  plan look(const view& cluster, const std::string& key, const moment& now) override {
    return look_(cluster, key, now);
  }

 private:
  std::vector<source> sources_;
  plan (*look_)(const view&, const std::string&, const moment&);
};
}  // namespace

std::unique_ptr<controller> plain_controller(std::vector<source> sources,
                                             plan (*look)(const view&, const std::string&, const moment&)) {
  return std::make_unique<plain>(std::move(sources), look);
}

shell::shell(parts p, controller& what) : parts_(std::move(p)), controller_(what) {}

void shell::join(feed& f) {
  auto served = client().resources();
  for (auto& s : controller_.sources()) {
    auto* found = served->find(s.resource.group, s.resource.version, s.resource.plural);
    kedge_assert(found || s.is_custom || s.resource.plural.empty());
    auto elsewhere = s.is_custom ? schema::custom_key_prefix(s.resource.group, s.resource.plural) : "/registry/";
    f.follow(found ? found->prefix({}) : std::move(elsewhere),
             [this, names = std::move(s.names)](const seen& change) { names(change, queue_); });
  }
}

moment shell::when(const api::status* refused) const {
  auto& l = reactor::loop::current();
  return {l.now(), l.wall_now(), refused};
}

task<void> shell::run() {
  controller_.begin(queue_);
  reactor::scope workers;
  for (unsigned i = 0; i < parts_.workers; ++i) workers.spawn(worker());
  co_await workers.join();
}

task<void> shell::worker() {
  for (;;) {
    auto key = co_await queue_.next();
    reactor::named_activity a("controller " + parts_.name + ", " + key);
    auto done = co_await controller_.work(*this, key);
    co_await reactor::maybe_yield();
    if (done) {
      queue_.done(key);
      continue;
    }
    // Somebody else wrote first, or removed it: that is looked at as it is now.
    if (done.error().code == 409 || done.error().code == 404) {
      queue_.retry(key);
      continue;
    }
    // That the database is away is told elsewhere, once.
    if (done.error().code == 503)
      log::debug("{}: {}: {}", parts_.name, key, done.error().message);
    else
      log::warning("{}: {}: {}", parts_.name, key, done.error().message);
    queue_.retry(key, refused_pause);
  }
}

task<api::api_result<void>> shell::look_and_write(const std::string& key) {
  auto done = co_await write(controller_.look(now(), key, when()), key);
  if (done || done.error().code == 409 || done.error().code == 404) co_return done;
  // What was refused is told, in a condition perhaps; the refusal stays the answer.
  auto refused = std::move(done).error();
  auto told = co_await write(controller_.look(now(), key, when(&refused)), key);
  if (!told && told.error().code == 409) co_return told;
  co_return api::fail(std::move(refused));
}

task<api::api_result<void>> shell::write(plan p, const std::string& key) {
  for (auto& s : p.steps)
    if (auto done = co_await write_step(std::move(s)); !done) co_return done;
  for (auto& n : p.notices) parts_.recorder.tell(std::move(n));
  if (p.again) queue_.add_after(key, *p.again);
  co_return api::api_result<void>();
}

task<std::vector<api::api_result<void>>> shell::write_group(std::vector<change> changes) {
  kedge_assert(changes.size() <= writes_at_once);
  std::vector<api::api_result<void>> answers(changes.size());
  reactor::scope group;
  for (std::size_t i = 0; i < changes.size(); ++i)
    group.spawn([](shell& self, change c, api::api_result<void>& answer) -> task<void> {
      answer = co_await self.write_change(std::move(c));
    }(*this, std::move(changes[i]), answers[i]));
  co_await group.join();
  co_return answers;
}

task<api::api_result<void>> shell::write_step(step s) {
  api::api_result<void> first_refusal;
  std::size_t at_once = s.how == pace::together ? writes_at_once : 1;
  for (std::size_t i = 0; i < s.changes.size();) {
    auto end = std::min(s.changes.size(), i + at_once);
    std::vector<change> group(std::make_move_iterator(s.changes.begin() + static_cast<std::ptrdiff_t>(i)),
                              std::make_move_iterator(s.changes.begin() + static_cast<std::ptrdiff_t>(end)));
    i = end;
    for (auto& done : co_await write_group(std::move(group)))
      if (!done && first_refusal) first_refusal = std::move(done);
    if (!first_refusal && s.how != pace::together) break;
    if (s.how == pace::slow_start) at_once = std::min(2 * at_once, writes_at_once);
  }
  co_return first_refusal;
}

task<api::api_result<void>> shell::write_change(change c) {
  api::api_result<void> answer;
  auto keep = [&](auto done) {
    if (!done) answer = api::fail(std::move(done).error());
  };
  switch (c.kind) {
    case change::what::create: {
      auto done = co_await client().create(std::move(c.resource), std::move(c.ns), std::move(c.object));
      if (done && c.on_done && c.on_done->message.ends_with(": "))
        c.on_done->message += (*done)["metadata"]["name"].as_string();
      keep(std::move(done));
      break;
    }
    case change::what::update:
      keep(co_await client().update(std::move(c.resource), std::move(c.ns), std::move(c.object),
                                    std::move(c.subresource)));
      break;
    case change::what::apply:
      keep(co_await client().apply(std::move(c.resource), std::move(c.ns), std::move(c.object), std::move(c.manager)));
      break;
    case change::what::remove: {
      auto done =
          co_await client().remove(std::move(c.resource), std::move(c.ns), std::move(c.name), std::move(c.options));
      if (!done && done.error().code == 404) done = {};  // gone is what was wanted
      keep(std::move(done));
      break;
    }
  }
  if (answer && c.on_done) parts_.recorder.tell(std::move(*c.on_done));
  // That somebody was faster is looked at again, and nothing to tell.
  if (!answer && c.on_refused && answer.error().code != 409) {
    c.on_refused->message += answer.error().message;
    parts_.recorder.tell(std::move(*c.on_refused));
  }
  co_return answer;
}

}  // namespace kedge::control
