#include "api/audit/trail.h"

#include <algorithm>

#include "api/audit/limits.h"
#include "base/strings.h"
#include "json/write.h"
#include "reactor/loop.h"

namespace kedge::api {
namespace {

constexpr std::string_view truncated = "audit.k8s.io/truncated";

void drop_managed_fields(json::value& object) {
  if (auto metadata = object.find("metadata")) metadata->erase("managedFields");
}

// Of an object, of a list's items, and of what a Table's rows hold.
void drop_all_managed_fields(json::value& shown) {
  drop_managed_fields(shown);
  auto each = [&](std::string_view list, auto drop) {
    auto found = shown.find(list);
    if (auto items = found ? found->array() : nullptr) std::ranges::for_each(*items, drop);
  };
  each("items", drop_managed_fields);
  each("rows", [](json::value& row) {
    if (auto object = row.find("object")) drop_managed_fields(*object);
  });
}

wall_time now() { return reactor::loop::current().wall_now(); }

}  // namespace

audit_trail::audit_trail(audit_sink& to, audit_event e) : to_(to), event_(std::move(e)) {}

audit_trail::~audit_trail() {
  if (!began_ || over_) return;
  // Whoever asked has gone: the end of a stream that stood, or of a request without an answer.
  note_code(0);
  to_.post(event_, audit_stage::response_complete, now());
}

task<bool> audit_trail::begin() {
  if (!co_await to_.process(event_, audit_stage::request_received, event_.received)) {
    over_ = true;
    co_return false;
  }
  began_ = true;
  co_return true;
}

void audit_trail::acts_as(const user_info& user) { event_.acting_as = user; }

void audit_trail::decided(const decision& d) {
  if (d.what != decision::kind::allow && !d.error.empty())
    return annotate("authorization.k8s.io/reason", "internal error");
  annotate("authorization.k8s.io/decision", d.what == decision::kind::allow ? "allow" : "forbid");
  annotate("authorization.k8s.io/reason", d.reason);
}

void audit_trail::annotate(std::string key, std::string value) {
  event_.annotations.try_emplace(std::move(key), std::move(value));
}

std::string audit_trail::text_of(json::value object) {
  if (event_.verdict.omit_managed_fields) drop_all_managed_fields(object);
  auto text = json::write(object);
  if (text.size() <= audit_object_max_bytes) return text;
  annotate(std::string(truncated), "true");
  return {};
}

void audit_trail::asked(const json::value& object) {
  auto fill = [](std::string& into, const json::value& from) {
    if (into.empty()) into = from.as_string();
  };
  auto& metadata = object["metadata"];
  fill(event_.request.ns, metadata["namespace"]);
  fill(event_.request.name, metadata["name"]);
  fill(event_.uid, metadata["uid"]);
  fill(event_.resource_version, metadata["resourceVersion"]);
  if (event_.verdict.level >= audit_level::request) event_.request_object = text_of(object);
}

void audit_trail::asked_to_patch(const json::value& patch) {
  if (event_.verdict.level >= audit_level::request) event_.request_object = json::write(patch);
}

bool audit_trail::wants_objects() const noexcept { return event_.verdict.level >= audit_level::request_response; }

void audit_trail::answered(json::value shown) {
  // The outcome of a deletion and the like.
  if (shown["kind"].as_string() == "Status" && shown["apiVersion"].as_string() == "v1") {
    event_.status = shown;
    event_.status.erase("kind");
    event_.status.erase("apiVersion");
  }
  if (wants_objects()) event_.response_object = text_of(std::move(shown));
}

void audit_trail::refused(const status& s) {
  auto whole = s.to_json();
  event_.status = whole;
  event_.status.erase("kind");
  event_.status.erase("apiVersion");
  if (wants_objects()) event_.response_object = text_of(std::move(whole));
}

void audit_trail::note_code(int code) {
  if (code == 0) {
    if (!event_.status.is_null()) return;
    event_.status = json::object{
        {"metadata", json::object{}}, {"status", "Success"}, {"message", "Connection closed early"}, {"code", 200}};
    return;
  }
  if (event_.status.is_null()) event_.status = json::object{{"metadata", json::object{}}};
  event_.status.set("code", code);
}

task<void> audit_trail::started(int code) {
  note_code(code);
  co_await to_.process(event_, audit_stage::response_started, now());
}

task<void> audit_trail::complete(int code) {
  if (std::exchange(over_, true)) co_return;
  note_code(code);
  co_await to_.process(event_, audit_stage::response_complete, now());
}

task<void> audit_trail::not_authenticated(int code, std::string tried) {
  over_ = true;
  if (event_.status.is_null()) event_.status = json::object{{"metadata", json::object{}}, {"message", tried}};
  note_code(code);
  co_await to_.process(event_, audit_stage::response_started, now());
}

std::string authentication_tried(const net::http::request& q, bool certificate) {
  std::vector<std::string> ways;
  auto given = trim(q.headers.get("Authorization"));
  if (const auto space = given.find(' '); space != std::string_view::npos) {
    auto scheme = lower(given.substr(0, space));
    if (scheme == "basic" || scheme == "bearer") ways.push_back(std::move(scheme));
  }
  if (certificate) ways.emplace_back("x509");
  return ways.empty() ? "Authentication failed, no credentials provided"
                      : "Authentication failed, attempted: " + join(ways, ", ");
}

}  // namespace kedge::api
