#include "api/listing.h"

#include <fmt/format.h>

#include <algorithm>

#include "api/continue_token.h"
#include "api/limits.h"
#include "base/strings.h"
#include "json/parse.h"
#include "json/write.h"
#include "reactor/loop.h"
#include "schema/protobuf.h"
#include "schema/types.h"

namespace kedge::api {

bool selection::matches(const served& s, const store::object_ref& o) const {
  if (!labels.everything() && !labels.matches_text(o->labels_text())) return false;
  if (fields.empty()) return true;
  if (by_key) return matches_key(s, fields, o->key());
  return matches_fields(s, fields, *parsed(o));
}

api_result<selection> make_selection(const authorized& to, std::string_view labels, std::string_view fields) {
  selection out;
  if (!labels.empty()) {
    KEDGE_TRY(out.labels, label_selector::parse(labels));
  }
  if (!fields.empty()) {
    KEDGE_TRY(out.fields, field_selector::parse(fields));
    KEDGE_CHECK(check_fields(to.what(), out.fields));
  }
  if (!to.name().empty()) {
    if (out.fields.empty())
      out.fields.requirements().push_back({"metadata.name", to.name(), true});
    else if (out.fields.exact("metadata.name") != to.name())
      return fail(bad_request("fieldSelector metadata.name doesn't match requested name"));
  }
  out.by_key = key_decides(out.fields);
  return out;
}

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
  auto s = expired("The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue "
                   "parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided "
                   "token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was "
                   "returned and now may show up in the list.");
  s.continue_token = write_continue({-1, p.start});
  return s;
}

}  // namespace

task<api_result<store::snapshot>> snapshot_for(store::store& s, const served& what, std::string text, std::string match, bool limited) {
  KEDGE_CO_TRY(auto wanted, parse_resource_version(text));
  if (!wanted) co_return or_status(co_await s.latest());
  if (*wanted == 0) co_return s.current();
  const auto deadline = reactor::loop::current().now() + future_revision_wait;
  const bool exact = match == "Exact" || (limited && match.empty());
  auto found = exact ? co_await s.exactly(*wanted, what.key_prefix, deadline) : co_await s.at_least(*wanted, deadline);
  if (found) co_return *std::move(found);
  if (found.error().code == errc::timeout) co_return fail(from_the_future(*wanted, s.current().at()));
  if (found.error().code == errc::expired) co_return fail(too_old_for_list());
  co_return fail(from_error(found.error()));
}

task<api_result<page>> read_page(store::store& s, const authorized& target, list_options o, selection which) {
  page p;
  auto& what = target.what();
  const auto prefix = target.prefix();
  continue_point from;
  if (!o.continue_token.empty()) {
    if (!o.resource_version.empty() && o.resource_version != "0")
      co_return fail(bad_request("specifying resource version is not allowed when using continue"));
    KEDGE_CO_TRY(from, read_continue(o.continue_token));
    auto found = from.revision < 0 ? co_await s.latest()
                                   : co_await s.exactly(static_cast<store::revision>(from.revision), what.key_prefix, reactor::loop::current().now() + future_revision_wait);
    if (!found && found.error().code == errc::expired) co_return fail(continue_expired(from));
    if (!found) co_return fail(from_error(found.error()));
    p.cluster = *std::move(found);
  } else {
    KEDGE_CO_TRY(p.cluster, co_await snapshot_for(s, what, o.resource_version, o.resource_version_match, o.limit > 0));
  }
  p.revision = p.cluster.at();
  // All pages tell the first page's revision.
  if (from.revision > 0) p.revision = static_cast<store::revision>(from.revision);
  if (o.resource_version_match == "Exact" || (o.limit > 0 && o.resource_version_match.empty() && o.continue_token.empty()))
    if (auto exact = parse_uint(o.resource_version); exact && *exact > 0) p.revision = *exact;
  const bool all = which.everything();
  const auto limit = static_cast<std::size_t>(o.limit);
  if (!limit && all) p.objects.reserve(p.cluster.count(prefix));
  std::string last;
  std::int64_t more = 0;
  p.cluster.scan(prefix, from.start.empty() ? std::string() : prefix + from.start, [&](const store::object_ref& object) {
    if (limit && p.objects.size() == limit) {
      ++more;
      return all;  // with selectors one more is enough to know that there is more
    }
    if (!all && !which.matches(what, object)) return true;
    p.objects.push_back(&*object);
    return true;
  });
  if (more > 0) {
    auto key = p.objects.back()->key();
    p.continue_token = write_continue({static_cast<std::int64_t>(p.revision), std::string(key.substr(prefix.size())) + '\0'});
    if (all) p.remaining = more;
  }
  co_return p;
}

namespace {

std::string list_opening(const served& s, const page& p) {
  auto out = s.list_head + std::to_string(p.revision) + "\"";
  if (!p.continue_token.empty()) {
    out += ",\"continue\":\"" + p.continue_token + "\"";
    if (p.remaining >= 0) out += ",\"remainingItemCount\":" + std::to_string(p.remaining);
  }
  out += "},\"items\":[";
  return out;
}

json::value list_metadata(const page& p) {
  json::object m{{"resourceVersion", std::to_string(p.revision)}};
  if (!p.continue_token.empty()) {
    m.set("continue", p.continue_token);
    if (p.remaining >= 0) m.set("remainingItemCount", p.remaining);
  }
  return m;
}

constexpr std::string_view first_item = "{", next_item = ",{", list_end = "]}\n";

// Items of built-in kinds go without kind and apiVersion: an opening brace and the rest. Custom resources go whole.
struct item_form {
  bool whole = false;
  std::string_view lead(bool first) const { return whole ? (first ? "" : ",") : first ? first_item : next_item; }
  std::string_view body(const store::object& o) const { return whole ? o.bytes() : o.item_tail(); }
};

std::size_t ready_size(const page& p) {
  std::size_t n = 0;
  for (auto o : p.objects) n += o->bytes().size() + 2;
  return n;
}

// The items from `begin` on as spans over the objects' own bytes.
void gather(const page& p, item_form form, std::size_t begin, std::size_t end, std::vector<bytes>& out) {
  for (auto i = begin; i < end; ++i) {
    if (auto lead = form.lead(i == 0); !lead.empty()) out.push_back(as_bytes(lead));
    out.push_back(as_bytes(form.body(*p.objects[i])));
  }
}

task<void> send_ready_pieces(net::http::exchange& e, const net::http::response& head, const page& p, item_form form, std::string_view opening) {
  if (!co_await e.start(head)) co_return;
  std::vector<bytes> parts;
  for (std::size_t at = 0; at < p.objects.size(); at += list_piece_items) {
    parts.clear();
    if (at == 0) parts.push_back(as_bytes(opening));
    gather(p, form, at, std::min(at + list_piece_items, p.objects.size()), parts);
    if (!co_await e.write(parts)) co_return;
  }
  const bytes end[] = {as_bytes(list_end)};
  if (!co_await e.write(end)) co_return;
  (void)co_await e.finish();
}

task<void> send_ready(net::http::exchange& e, reply& r, const served& s, const page& p) {
  const auto opening = list_opening(s, p);
  const item_form form{s.custom != nullptr};
  if (r.gzip && ready_size(p) > gzip_min_bytes) {
    std::string body = opening;
    body.reserve(opening.size() + ready_size(p) + 8);
    for (std::size_t i = 0; i < p.objects.size(); ++i) {
      body += form.lead(i == 0);
      body += form.body(*p.objects[i]);
    }
    body += list_end;
    co_await send_text(e, r, 200, std::move(body), "application/json");
    co_return;
  }
  r.code = 200;
  const auto head = head_of(r, 200, "application/json");
  if (p.objects.size() > list_piece_items) {
    co_await send_ready_pieces(e, head, p, form, opening);
    co_return;
  }
  std::vector<bytes> parts;
  parts.reserve(2 * p.objects.size() + 2);
  parts.push_back(as_bytes(opening));
  gather(p, form, 0, p.objects.size(), parts);
  parts.push_back(as_bytes(list_end));
  (void)co_await e.respond(head, parts);
}

// Items one by one, so that a large list neither blocks the loop nor is held as values all at once.
task<void> send_protobuf(net::http::exchange& e, reply& r, const served& s, const page& p) {
  std::vector<std::string> items;
  items.reserve(p.objects.size());
  for (std::size_t i = 0; i < p.objects.size(); ++i) {
    auto v = served_value(s, *p.objects[i]);
    if (!v) {
      co_await send_status(e, r, v.error());
      co_return;
    }
    auto bytes = schema::to_protobuf(s.type(), *v);
    if (!bytes) {
      co_await send_status(e, r, internal_error(bytes.error().message));
      co_return;
    }
    items.push_back(*std::move(bytes));
    if (i % 256 == 255) co_await reactor::yield();
  }
  auto body = schema::encode_list(s.api_version, s.list_kind, list_metadata(p), items);
  co_await send_text(e, r, 200, std::move(body), r.as.as.content_type());
}

json::value list_head_value(const served& s, const reply& r, const page& p) {
  json::value out;
  if (r.as.as.as == shape::table) {
    out = table_head(s, r.as.as.v1beta1, true);
  } else if (r.as.as.as == shape::partial_list) {
    out = json::object{{"kind", "PartialObjectMetadataList"}, {"apiVersion", r.as.as.v1beta1 ? "meta.k8s.io/v1beta1" : "meta.k8s.io/v1"}};
  } else {
    out = json::object{{"kind", s.list_kind}, {"apiVersion", s.api_version}};
  }
  out.set("metadata", list_metadata(p));
  return out;
}

task<void> send_values(net::http::exchange& e, reply& r, const served& s, const page& p) {
  auto out = list_head_value(s, r, p);
  const auto now = reactor::loop::current().wall_now();
  json::array items;
  items.reserve(p.objects.size());
  for (std::size_t i = 0; i < p.objects.size(); ++i) {
    auto v = json::parse(p.objects[i]->bytes());
    if (!v) {
      co_await send_status(e, r, internal_error(fmt::format("the stored object {} can't be read: {}", p.objects[i]->key(), v.error().message)));
      co_return;
    }
    switch (r.as.as.as) {
      case shape::table: items.push_back(table_row_of(s, *v, r.as, now)); break;
      case shape::partial:
      case shape::partial_list: items.push_back(partial_metadata(*v, r.as.as.v1beta1)); break;
      case shape::whole:
        to_served(s, *v);
        if (!s.custom) {
          v->erase("kind");
          v->erase("apiVersion");
        }
        items.push_back(*std::move(v));
        break;
    }
    if (i % 256 == 255) co_await reactor::yield();
  }
  out.set(r.as.as.as == shape::table ? "rows" : "items", std::move(items));
  co_await send_value(e, r, 200, out);
}

}  // namespace

task<void> send_page(net::http::exchange& e, reply& r, const served& s, page p) {
  if (r.as.as.as == shape::partial) {
    co_await send_status(e, r, not_acceptable(fmt::format("you requested PartialObjectMetadata, but the requested object is a list (*{}.{}List)", s.version, s.kind)));
    co_return;
  }
  if (r.as.as.plain_json() && std::all_of(p.objects.begin(), p.objects.end(), [&](auto o) { return is_ready(s, *o); }))
    co_await send_ready(e, r, s, p);
  else if (r.as.as.format == wire::protobuf && r.as.as.as == shape::whole)
    co_await send_protobuf(e, r, s, p);
  else
    co_await send_values(e, r, s, p);
}

}  // namespace kedge::api
