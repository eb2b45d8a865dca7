#include "backup/restore.h"

#include <fmt/format.h>

#include <map>

#include "backup/limits.h"
#include "backup/reader.h"
#include "backup/save.h"
#include "base/strings.h"
#include "crypto/at_rest.h"
#include "crypto/files.h"
#include "json/parse.h"
#include "json/write.h"
#include "reactor/sync.h"

namespace kedge::backup {

namespace {

using datastore::change;
using datastore::operation;

// A server that lives renews its row: Kedge's every 2 s, K3s's every 10 s.
constexpr auto renewal_wait = std::chrono::seconds(12);
constexpr auto look_again = std::chrono::seconds(2);  // all of it is read each time
constexpr std::string_view server_rows = "/registry/masterleases/";
constexpr std::string_view secrets = "/registry/secrets/", sealed_value = "k8s:enc:";

// The newest revision of each name that stands.
struct standing {
  using revisions = std::map<std::string, datastore::revision, std::less<>>;
  revisions names;
  datastore::revision at = 0;

  revisions servers() const {
    revisions out;
    for (auto i = names.lower_bound(server_rows); i != names.end() && i->first.starts_with(server_rows); ++i)
      out.insert(*i);
    return out;
  }
  bool cut_off() const { return names.contains(restore_row); }
  std::uint64_t objects() const {
    std::uint64_t n = 0;
    for (auto& [name, revision] : names) n += !is_left_out(name) && name != "compact_rev_key";
    return n;
  }
};

task<result<standing>> look(datastore::log& log) {
  standing out;
  for (bool done = false; !done;) {
    KEDGE_CO_TRY(auto page, co_await log.load_live(out.at));
    for (auto& e : page.entries)
      if (e.kind == change::remove)
        out.names.erase(e.name);
      else
        out.names.insert_or_assign(std::move(e.name), e.at);
    out.at = std::max(out.at, page.at);
    done = page.done;
  }
  co_return out;
}

// A server that uses the datastore shows within a few seconds: its row changes.
task<result<void>> wait_for_servers(datastore::log& log, const standing& found) {
  auto rows = found.servers();
  if (rows.empty() || !log.shared()) co_return result<void>();
  for (auto until = reactor::loop::current().now() + renewal_wait; reactor::loop::current().now() < until;) {
    co_await reactor::sleep_for(look_again);
    KEDGE_CO_TRY(auto now, co_await look(log));
    for (auto& [name, at] : now.servers())
      if (auto before = rows.find(name); before == rows.end() || before->second != at)
        co_return fail(errc::conflict, fmt::format("the server at {} uses {}: stop all servers first",
                                                   name.substr(server_rows.size()), log.description()));
  }
  co_return result<void>();
}

// Operations, a batch a commit.
class batches {
 public:
  explicit batches(datastore::log& log) : log_(log) {}

  task<result<void>> add(operation op) {
    bytes_ += op.name.size() + op.value.size();
    waiting_.push_back(std::move(op));
    if (waiting_.size() < restore_batch_operations && bytes_ < restore_batch_bytes) co_return result<void>();
    co_return co_await flush();
  }

  task<result<void>> flush() {
    if (waiting_.empty()) co_return result<void>();
    auto ops = std::make_shared<const std::vector<operation>>(std::exchange(waiting_, {}));
    bytes_ = 0;
    KEDGE_CO_TRY(auto done, co_await log_.append(ops));
    for (std::size_t i = 0; i < done.outcomes.size(); ++i) {
      if (done.outcomes[i].what != datastore::outcome::status::committed)
        co_return fail(errc::conflict,
                       fmt::format("somebody else writes to {}: {} has changed meanwhile; stop all servers",
                                   log_.description(), (*ops)[i].name));
      last_ = done.outcomes[i].at;
    }
    co_return result<void>();
  }
  datastore::revision last() const noexcept { return last_; }

 private:
  datastore::log& log_;
  std::vector<operation> waiting_;
  std::size_t bytes_ = 0;
  datastore::revision last_ = 0;
};

error cut_off(std::string_view value) {
  auto told = json::parse(value);
  auto text = [&](const char* name) { return told ? std::string((*told)[name].as_string()) : std::string(); };
  return {
      errc::unavailable,
      fmt::format("the restore of {} that began at {} has not been finished, so this is no whole cluster: run `kedge "
                  "snapshot restore` again, with the same or another snapshot",
                  text("file"), text("began"))};
}

std::string mark_text(const std::string& file) {
  return json::write(json::object{{"file", file}, {"began", format_rfc3339(system_wall_time())}});
}

}  // namespace

result<void> check_restored(const store::snapshot& now) {
  auto row = now.find(restore_row);
  return row ? result<void>(fail(cut_off(row->bytes()))) : result<void>();
}

std::string restore_mark(const std::string& server_dir) { return server_dir + "/db/restore.json"; }

result<void> check_restored(const std::string& server_dir) {
  auto text = crypto::read_file(restore_mark(server_dir));
  if (!text && text.error().code == errc::not_found) return {};
  if (!text) return fail(std::move(text).error());
  return fail(cut_off(*text));
}

result<void> mark_restore(const std::string& server_dir, const std::string& file) {
  KEDGE_CHECK(crypto::make_folder(server_dir + "/db"));
  return crypto::write_file(restore_mark(server_dir), mark_text(file));
}

result<restored> look_into(const restore_options& o) {
  restored out;
  KEDGE_TRY(auto in, open_source(o.path, o.password, o.partial));
  KEDGE_TRY(auto found, examine(*in, [&](std::uint64_t done, std::uint64_t of) {
              if (o.told) o.told("reading the snapshot", done, of);
            }));
  auto& damage = found.damage;
  out.objects = found.objects;
  out.about = std::move(found.about);
  auto text = crypto::decrypt_bootstrap(out.about.identity, o.password);
  if (!text) return fail(std::move(text).error().with(o.path + ": the cluster's CAs and keys: "));
  KEDGE_TRY(out.identity, crypto::parse_bootstrap_files(*text));
  if (!damage.empty() && !o.partial)
    return fail(
        errc::corrupt,
        fmt::format("{}{}; {} of {} objects can be read, and the cluster's CAs and keys: --partial restores these",
                    damage.front(), damage.size() > 1 ? fmt::format(" (and {} more like that)", damage.size() - 1) : "",
                    out.objects, out.about.objects));
  return out;
}

namespace {

task<result<restored>> write_all(datastore::log& log, restore_options o) {
  KEDGE_CO_TRY(auto out, look_into(o));
  crypto::encryption_config rules;
  if (auto config = out.identity.find("EncryptionConfig"); config != out.identity.end()) {
    KEDGE_CO_TRY(rules, crypto::encryption_config::parse(config->second.content));
  }
  KEDGE_CO_CHECK(co_await log.open());
  KEDGE_CO_TRY(auto before, co_await look(log));
  if (auto n = before.objects(); n && !before.cut_off() && !o.overwrite)
    co_return fail(errc::already_exists,
                   fmt::format("{} holds a cluster of {} objects; --overwrite puts the snapshot's in "
                               "its place",
                               log.description(), n));
  KEDGE_CO_CHECK(co_await wait_for_servers(log, before));
  KEDGE_CO_CHECK(co_await log.begin());
  KEDGE_CO_TRY(before, co_await look(log));  // what begin has written, too

  batches writing(log);
  auto mark = before.names.find(restore_row);
  auto mark_at = mark == before.names.end() ? datastore::revision(0) : mark->second;
  if (!mark_at) {
    KEDGE_CO_CHECK(
        co_await writing.add({.kind = change::create, .name = std::string(restore_row), .value = mark_text(o.path)}));
    KEDGE_CO_CHECK(co_await writing.flush());
    mark_at = writing.last();
  }
  if (o.revision_jump)
    KEDGE_CO_CHECK(co_await log.pass_over(std::max(out.about.revision + *o.revision_jump, before.at)));
  KEDGE_CO_TRY(before, co_await look(log));  // from where the log goes on now
  std::uint64_t done = 0;
  for (auto& [name, at] : before.names) {
    if (name == restore_row || name == "compact_rev_key" || name == "/registry/health") continue;
    KEDGE_CO_CHECK(co_await writing.add({.kind = change::remove, .name = name, .value = {}, .expected = at}));
    if (o.told) o.told("removing what was there", ++done, before.names.size());
  }
  KEDGE_CO_CHECK(co_await writing.flush());

  auto record_key = crypto::bootstrap_key(o.password);
  KEDGE_CO_CHECK(co_await writing.add({.kind = change::create, .name = record_key, .value = out.about.identity}));
  KEDGE_CO_TRY(auto in, open_source(o.path, o.password, o.partial));
  auto& random = reactor::loop::current().random();
  for (done = 0;;) {
    auto block = in->next();
    if (!block && !o.partial) co_return fail(std::move(block).error());
    if (!block && in->ends()) break;
    if (!block) continue;
    if (!*block) break;
    for (auto& r : **block) {
      if (is_left_out(r.key) || r.key == record_key) continue;
      // What etcd itself had saved is sealed already, by the same keys.
      if (r.key.starts_with(secrets) && !r.value.starts_with(sealed_value)) {
        KEDGE_CO_TRY(r.value, rules.for_resource("secrets", "").seal(r.value, r.key, random));
      }
      KEDGE_CO_CHECK(co_await writing.add({.kind = change::create,
                                           .name = std::move(r.key),
                                           .value = std::move(r.value),
                                           .lease_seconds = r.lease_seconds}));
    }
    done += (*block)->size();
    if (o.told) o.told("restoring", done, out.about.objects);
  }
  KEDGE_CO_CHECK(co_await writing.flush());
  KEDGE_CO_CHECK(co_await writing.add(
      {.kind = change::remove, .name = std::string(restore_row), .value = {}, .expected = mark_at}));
  KEDGE_CO_CHECK(co_await writing.flush());
  co_return out;
}

}  // namespace

task<result<restored>> restore(datastore::log& log, restore_options o) {
  auto done = co_await write_all(log, std::move(o));
  co_await log.close();
  co_return done;
}

}  // namespace kedge::backup
