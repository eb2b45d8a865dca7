#include "api/write/reservations.h"

#include "json/parse.h"
#include "json/write.h"

namespace kedge::api {

std::string reservations_prefix(std::string_view kind) { return "/kedge/" + std::string(kind) + "/"; }
std::string reservation_key(std::string_view kind, std::string_view what) {
  return reservations_prefix(kind) + std::string(what);
}

reservation parse_reservation(const store::object& row) {
  reservation out{.at = row.mod()};
  if (auto v = json::parse(row.bytes())) {
    out.uid = (*v)["uid"].as_string();
    out.ns = (*v)["namespace"].as_string();
    out.name = (*v)["name"].as_string();
  }
  return out;
}

std::optional<reservation> find_reservation(const store::snapshot& cluster, std::string_view kind,
                                            std::string_view what) {
  auto row = cluster.find(reservation_key(kind, what));
  if (!row) return std::nullopt;
  return parse_reservation(*row);
}

task<result<bool>> reserve(store::store& s, std::string_view kind, std::string_view what, const json::value& owner,
                           store::revision replaces) {
  auto& m = owner["metadata"];
  auto text = json::write(json::object{{"uid", m["uid"]}, {"namespace", m["namespace"]}, {"name", m["name"]}});
  auto done = co_await s.write({replaces ? store::write_kind::update : store::write_kind::create,
                                reservation_key(kind, what), std::move(text), replaces, 0});
  if (done) co_return true;
  auto code = done.error().code;
  if (code == errc::already_exists || code == errc::conflict || code == errc::not_found) co_return false;
  co_return std::unexpected(std::move(done).error());
}

task<void> drop_reservation(store::store& s, std::string_view kind, std::string_view what, std::string_view uid) {
  auto found = find_reservation(s.current(), kind, what);
  if (found && found->uid == uid)
    (void)co_await s.write({store::write_kind::remove, reservation_key(kind, what), {}, found->at, 0});
}

}  // namespace kedge::api
