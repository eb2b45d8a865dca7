#include "api/read/listing.h"

#include <fmt/format.h>

#include "api/custom/conversion.h"
#include "api/custom/limits.h"
#include "api/read/continue_token.h"
#include "api/read/limits.h"
#include "base/strings.h"
#include "reactor/loop.h"

namespace kedge::api {

namespace {

status from_the_future(store::revision wanted, store::revision now) {
  auto s = timeout(fmt::format("Too large resource version: {}, current: {}", wanted, now), 1);
  s.causes.push_back({"ResourceVersionTooLarge", "Too large resource version", ""});
  return s;
}

template <typename T>
api_result<T> or_status(result<T> r) {
  if (!r) return fail(from_error(r.error()));
  return *std::move(r);
}

status too_old_for_list() { return expired("The resourceVersion for the provided list is too old."); }

status continue_expired(const continue_point& p) {
  auto s = expired(
      "The provided continue parameter is too old to display a consistent list result. You can start a new list "
      "without the continue "
      "parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with "
      "the provided "
      "token results in an inconsistent list - objects that were created, modified, or deleted between the time the "
      "first chunk was "
      "returned and now may show up in the list.");
  s.continue_token = write_continue({-1, p.start});
  return s;
}

}  // namespace

namespace {

// Whether a list wants the state at its very revision.
bool wants_exactly(std::string_view revision, std::string_view match, bool limited) {
  return !revision.empty() && revision != "0" && (match == "Exact" || (limited && match.empty()));
}

}  // namespace

task<api_result<store::snapshot>> snapshot_for(store::store& s, const served& what, std::string text, std::string match,
                                               bool limited) {
  KEDGE_CO_TRY(auto wanted, parse_resource_version(text));
  if (!wanted) co_return or_status(co_await s.latest());
  if (*wanted == 0) co_return s.current();
  const auto deadline = reactor::loop::current().now() + future_revision_wait;
  auto found = wants_exactly(text, match, limited) ? co_await s.exactly(*wanted, what.key_prefix, deadline)
                                                   : co_await s.at_least(*wanted, deadline);
  if (found) co_return *std::move(found);
  if (found.error().code == errc::timeout) co_return fail(from_the_future(*wanted, s.current().at()));
  if (found.error().code == errc::expired) co_return fail(too_old_for_list());
  co_return fail(from_error(found.error()));
}

namespace {

// Objects that a webhook may have to convert: what they are selected by shows only then. Piece by piece, until `take`
// gives false.
task<api_result<void>> walk_converted(object_walk& walk, const served& what, const selection& which,
                                      custom::converter* versions, const tracing::live_span* within,
                                      const std::function<bool(const store::object_ref&)>& take) {
  for (auto reached = object_walk::end::none; reached != object_walk::end::all;) {
    std::vector<store::object_ref> piece;
    reached = walk.step([&](const store::object_ref& o) {
      if (piece.size() == conversion_objects_max) return false;
      piece.push_back(o);
      return true;
    });
    KEDGE_CO_TRY(piece, co_await custom::show_all(versions, what, std::move(piece), within));
    for (auto& o : piece)
      if (which.matches(what, o) && !take(o)) co_return api_result<void>();
    co_await reactor::maybe_yield();
  }
  co_return api_result<void>();
}

}  // namespace

task<api_result<page>> read_page(store::store& s, const authorized& target, list_options o, selection which,
                                 custom::converter* versions, const tracing::live_span* within) {
  page p;
  auto& what = target.what();
  const auto prefix = target.prefix();
  continue_point from;
  if (!o.continue_token.empty()) {
    if (!o.resource_version.empty() && o.resource_version != "0")
      co_return fail(bad_request("specifying resource version is not allowed when using continue"));
    KEDGE_CO_TRY(from, read_continue(o.continue_token));
    auto found = from.revision < 0 ? co_await s.latest()
                                   : co_await s.exactly(static_cast<store::revision>(from.revision), what.key_prefix,
                                                        reactor::loop::current().now() + future_revision_wait);
    if (!found && found.error().code == errc::expired) co_return fail(continue_expired(from));
    if (!found) co_return fail(from_error(found.error()));
    p.cluster = *std::move(found);
  } else {
    KEDGE_CO_TRY(p.cluster, co_await snapshot_for(s, what, o.resource_version, o.resource_version_match, o.limit > 0));
  }
  p.revision = p.cluster.at();
  // All pages tell the first page's revision.
  if (from.revision > 0) p.revision = static_cast<store::revision>(from.revision);
  const bool exact = wants_exactly(o.resource_version, o.resource_version_match, o.limit > 0);
  if (exact)
    if (auto wanted = parse_uint(o.resource_version); wanted && *wanted > 0) p.revision = *wanted;
  const bool all = which.everything();
  const auto limit = static_cast<std::size_t>(o.limit);
  if (!limit && all) p.objects.reserve(p.cluster.count(prefix));
  p.ready = what.custom || what.native();
  bool more = false;  // with selectors one more is enough to know that there is more
  auto take = [&](const store::object_ref& object) {
    more = limit && p.objects.size() == limit;
    if (more) return false;
    if (what.custom) p.ready = p.ready && is_ready(what, *object);
    p.objects.push_back(&*object);
    return true;
  };
  const bool converts = custom::may_need_call(what);
  const selection everything;
  object_walk walk(p.cluster, what, search_for(target, which, p.cluster), converts ? everything : which,
                   from.start.empty() ? std::string() : prefix + from.start);
  if (converts) {
    KEDGE_CO_CHECK(co_await walk_converted(walk, what, which, versions, within, [&](const store::object_ref& object) {
      if (take(object)) p.converted.push_back(object);
      return !more;
    }));
  } else {
    while (walk.step(take) == object_walk::end::none) co_await reactor::yield();
  }
  if (more) {
    auto key = p.objects.back()->key();
    p.continue_token =
        write_continue({static_cast<std::int64_t>(p.revision), std::string(key.substr(prefix.size())) + '\0'});
    // Who reads the next page soon finds it without anything to undo.
    if (o.continue_token.empty() && !exact) s.keep(p.cluster);
    if (all)
      p.remaining =
          static_cast<std::int64_t>(p.cluster.count_from(prefix, std::string(p.objects.back()->key()) + '\0'));
  }
  co_return p;
}

}  // namespace kedge::api
