// What kube-apiserver answered to objects just inside and just outside of each rule (tests/answers/rules/*.jsonl),
// Kedge answers as well: the same code, reason, message, causes and warnings, and the same object where the rule lets
// it pass.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <set>

#include "../harness.h"
#include "api/admission/chain.h"
#include "api/authorization/rbac.h"
#include "api/authorization/review.h"
#include "api/bootstrap.h"
#include "api/registry/imported.h"
#include "api/write/not_yet.h"
#include "base/strings.h"

namespace kedge::api {
namespace {

// The handler with the admission that the judge had, too.
struct judged_world {
  reactor::loop loop{*reactor::make_backend(reactor::io_backend::epoll)};
  reactor::loop::current_guard here{loop};
  datastore::memory_database database;
  std::unique_ptr<store::store> objects;
  everyone who;
  rule_source* rules = nullptr;
  std::unique_ptr<authorizer> may = make_authorizer(&rules);
  std::unique_ptr<admission_chain> chain;
  std::optional<token_authenticator> tokens;
  std::unique_ptr<reviews> questions;
  health checks;
  metrics measures;
  service_ranges ranges;
  std::unique_ptr<api_handler> handler;

  judged_world() {
    who.user = {"admin", "admin", {"system:masters", "system:authenticated"}, {}};
    store::store_options o;
    o.log = datastore::make_memory_log(database);
    o.loops = {&loop};
    auto opened = loop.run_until(store::open_store(std::move(o)));
    REQUIRE(opened.has_value());
    objects = *std::move(opened);
    auto made = admission_chain::create({}, *may, *rules, objects.get());
    REQUIRE(made.has_value());
    chain = *std::move(made);
    auto verified = token_authenticator::create({});
    REQUIRE(verified.has_value());
    tokens.emplace(*std::move(verified));
    questions = std::make_unique<reviews>(*may, *rules, *tokens, nullptr);
    virtual_resource virtuals{.handles = &reviews::handles,
                              .create = [this](const authorized& to, const json::value& body, const store::snapshot& at,
                                               std::vector<std::string>&) -> task<api_result<json::value>> {
                                co_return questions->create(to.asked(), body, at);
                              }};
    handler = std::make_unique<api_handler>(api_parts{.objects = *objects,
                                                      .who = who,
                                                      .may = *may,
                                                      .rules = *chain,
                                                      .checks = checks,
                                                      .measures = measures,
                                                      .ranges = ranges,
                                                      .virtuals = std::move(virtuals)});
    auto client = make_objects(*objects, *chain, ranges);
    REQUIRE(loop.run_until(bootstrap_cluster(*client, {.endpoint_addresses = {"10.0.0.1"}})).has_value());
  }
  ~judged_world() {
    handler.reset();
    loop.run_until(objects->close());
  }

  answer_text ask(std::string_view method, std::string_view target, const json::value& body = nullptr,
                  std::string_view type = "application/json") {
    // As between any two requests of a server: the loop's clock goes on, whatever this one then waits for.
    loop.turn(loop.now());
    memory_exchange e;
    api_world::fill(e, method, target, body.is_null() ? std::string() : json::write(body),
                    {{"Content-Type", std::string(type)}});
    loop.run_until(handler->serve(e));
    return {e.head.status, e.answer, e.head.headers};
  }

  // Behind the server's back, as a database written by an older one has it.
  void plant(std::string key, const json::value& o) {
    auto text = imported_text(key, o);
    REQUIRE(text.has_value());
    REQUIRE(loop.run_until(objects->write({store::write_kind::create, std::move(key), *std::move(text), 0, 0}))
                .has_value());
  }
  void uproot(const std::string& key) {
    if (objects->current().find(key))
      REQUIRE(loop.run_until(objects->write({store::write_kind::remove, key, {}, 0, 0})).has_value());
  }
};

std::vector<std::string> steps_of(std::string_view pointer) {
  std::vector<std::string> out;
  if (pointer.empty()) return out;
  for (auto part : split(pointer.substr(1), '/')) {
    std::string step;
    for (std::size_t i = 0; i < part.size(); ++i)
      if (part[i] == '~' && i + 1 < part.size())
        step += part[++i] == '1' ? '/' : '~';
      else
        step += part[i];
    out.push_back(std::move(step));
  }
  return out;
}

// What stands at `pointer` replaced, appended (an index one behind the end) or, without a value, taken away.
void change(json::value& v, std::string_view pointer, const json::value* to) {
  auto steps = steps_of(pointer);
  auto at = &v;
  auto index = [](const std::string& s) { return static_cast<std::size_t>(parse_uint(s).value_or(0)); };
  for (std::size_t i = 0; i + 1 < steps.size(); ++i) {
    if (auto a = at->array()) {
      if (index(steps[i]) >= a->size()) a->resize(index(steps[i]) + 1);
      at = &(*a)[index(steps[i])];
    } else {
      at = &at->member(steps[i]);
    }
    // The recorder made lists on the way where a number follows.
    const bool number = parse_uint(steps[i + 1]).has_value();
    if (number && !at->is_object()) at->make_array();
  }
  auto& last = steps.back();
  if (auto a = at->array()) {
    if (!to)
      index(last) < a->size() ? static_cast<void>(a->erase(a->begin() + static_cast<std::ptrdiff_t>(index(last))))
                              : void();
    else if (index(last) == a->size())
      a->push_back(*to);
    else if (index(last) < a->size())
      (*a)[index(last)] = *to;
  } else if (to) {
    at->set(last, *to);
  } else {
    at->erase(last);
  }
}

void change(json::value& v, const json::value& operations) {
  for (std::size_t i = 0; i < operations.size(); ++i)
    change(v, operations[i][0].as_string(), operations[i].size() > 1 ? &operations[i][1] : nullptr);
}

constexpr const char* system_members[] = {"uid", "resourceVersion", "creationTimestamp", "managedFields"};

// Random ones are another each time.
std::string without_uids(std::string_view text) {
  constexpr std::string_view shape = "00000000-0000-0000-0000-000000000000";
  std::string out;
  while (!text.empty()) {
    bool uid = text.size() >= shape.size();
    for (std::size_t i = 0; uid && i < shape.size(); ++i)
      uid = shape[i] == '-' ? text[i] == '-' : (text[i] >= '0' && text[i] <= '9') || (text[i] >= 'a' && text[i] <= 'f');
    out += uid ? std::string_view("UID") : text.substr(0, 1);
    text.remove_prefix(uid ? shape.size() : 1);
  }
  return out;
}

// Times of just now are TIME, uids UID.
void forget_times(json::value& v) {
  constexpr std::chrono::minutes just{10};
  if (auto a = v.array())
    for (auto& e : *a) forget_times(e);
  else if (auto o = v.object())
    for (auto& m : *o) forget_times(m.value);
  else if (auto text = v.is_string() ? without_uids(v.as_string()) : std::string(); text != v.as_string())
    v = std::move(text);
  else if (auto at = v.is_string() && v.as_string().size() >= 20 ? parse_rfc3339(v.as_string())
                                                                 : result<wall_time>(fail(errc::invalid, "")))
    if (auto age = reactor::loop::current().wall_now() - *at; age < just && age > -just) v = "TIME";
}

json::value plain(json::value object) {
  forget_times(object);
  for (auto name : system_members) object.member("metadata").erase(name);
  return object;
}

// What Kedge alone warns of: that it doesn't obey an object yet.
bool is_own_warning(std::string_view text) {
  for (auto& one : all_not_yet())
    if (one.text == text) return true;
  return false;
}

std::vector<std::string> warnings_of(const answer_text& a) {
  std::vector<std::string> out;
  for (auto& h : a.headers)
    if (iequals(h.first, "Warning")) {
      std::string_view text = h.second;
      if (text.starts_with("299 - \"")) text.remove_prefix(7);
      if (text.ends_with('"')) text.remove_suffix(1);
      std::string plain;
      for (std::size_t i = 0; i < text.size(); ++i)
        plain += text[i] == '\\' && i + 1 < text.size() ? text[++i] : text[i];
      if (!is_own_warning(plain)) out.push_back(plain);
    }
  return out;
}

// Rows that are answered otherwise on purpose, each a line of tests/answers/departures.
std::set<std::string> departures_of(std::string_view table) {
  std::ifstream in(KEDGE_ANSWERS "/departures");
  std::set<std::string> out;
  for (std::string line; std::getline(in, line);)
    if (line.starts_with(fmt::format("{} ", table))) out.insert(line);
  return out;
}

class table {
 public:
  table(judged_world& w, const std::filesystem::path& file)
      : w_(w), name_(file.stem().string()), departures_(departures_of(name_)) {
    std::ifstream in(file);
    std::string line;
    REQUIRE(std::getline(in, line));
    head_ = *json::parse(line);
    path_ = head_["path"].as_string();
    while (std::getline(in, line)) rows_.push_back(*json::parse(line));
    REQUIRE_MESSAGE(!rows_.empty(), file.string());
  }

  // Tells each row that is answered otherwise; gives how many.
  std::size_t play() {
    for (std::size_t i = 0; i < head_["before"].size(); ++i)
      for (std::size_t j = 0; j < head_["before"][i][1].size(); ++j)
        w_.ask("POST", head_["before"][i][0].as_string(), head_["before"][i][1][j]);
    for (auto& m : *head_["answers"].object()) {
      auto a = w_.ask("POST", path_ + "?dryRun=All", head_["bases"][m.name]);
      if (a.code != 201) {
        tell(json::object{{"base", m.name}}, "a base is refused", a.body);
        continue;
      }
      answers_[m.name] = plain(a.json());
      if (!(answers_[m.name] == m.value))
        tell(json::object{{"base", m.name}}, json::write(m.value), json::write(answers_[m.name]));
    }
    for (auto& row : rows_) row["on"].as_string() == "create" ? create(row) : update(row);
    for (auto& left : departures_) {
      ++wrong_;
      FAIL_CHECK(fmt::format("a departure that is none: {}", left));
    }
    return wrong_;
  }

 private:
  void create(const json::value& row) {
    auto base = std::string(row["base"].as_string());
    auto sent = head_["bases"][base];
    change(sent, row["do"]);
    auto expected = answers_[base];
    change(expected, row["do"]);
    judge(row, w_.ask("POST", path_ + "?dryRun=All", sent), std::move(expected), sent);
  }

  void update(const json::value& row) {
    auto stored = head_["bases"][row["base"].as_string()];
    change(stored, row["from"]);
    auto name = std::string(stored["metadata"]["name"].as_string());
    auto key = fmt::format("{}/{}", head_["key"].as_string(), name);
    auto here = fmt::format("{}/{}", path_, name);
    if (json::write(row["from"]) + std::string(row["base"].as_string()) + (row["planted"].as_bool() ? "!" : "") !=
        standing_) {
      put_away();
      if (row["planted"].as_bool()) {
        auto& m = stored.member("metadata");
        m.set("uid", "11111111-2222-3333-4444-555555555555");
        m.set("creationTimestamp", "2026-01-02T03:04:05Z");
        w_.plant(key, stored);
        check_served(row, here);
      } else if (auto a = w_.ask("POST", path_, stored); a.code != 201) {
        return tell(row, "the object before is refused", a.body);
      } else if (stored["status"].is_object()) {
        auto held = w_.ask("GET", here).json();
        held.set("status", stored["status"]);
        if (auto b = w_.ask("PUT", here + "/status", held); b.code != 200)
          return tell(row, "the status before is refused", b.body);
      }
      standing_ =
          json::write(row["from"]) + std::string(row["base"].as_string()) + (row["planted"].as_bool() ? "!" : "");
      standing_key_ = key;
      standing_path_ = here;
    }
    auto held = w_.ask("GET", here).json();
    auto sent = held;
    change(sent, row["do"]);
    auto expected = plain(held);
    change(expected, row["do"]);
    auto on = row["on"].as_string();
    judge(row,
          w_.ask("PUT", fmt::format("{}{}{}?dryRun=All", here, on == "update" ? "" : "/", on == "update" ? "" : on),
                 sent),
          std::move(expected), sent);
  }

  // What an older server left is kept and served, whatever would be said of it today.
  void check_served(const json::value& row, const std::string& here) {
    auto alone = w_.ask("GET", here);
    auto all = w_.ask("GET", path_);
    if (alone.code != 200 || all.code != 200)
      return tell(row, "a planted object is served", alone.code != 200 ? alone.body : all.body);
    auto items = all.json()["items"];
    for (std::size_t i = 0; i < items.size(); ++i)
      if (items[i]["metadata"]["name"] == alone.json()["metadata"]["name"] && items[i]["spec"] == alone.json()["spec"])
        return;
    tell(row, "a planted object is listed", all.body);
  }

  void put_away() {
    if (standing_key_.empty()) return;
    w_.ask("PATCH", standing_path_, json::object{{"metadata", json::object{{"finalizers", nullptr}}}}, merge);
    w_.ask("DELETE", standing_path_, json::object{{"gracePeriodSeconds", 0}});
    w_.uproot(standing_key_);
    standing_key_.clear();
    standing_.clear();
  }

  void judge(const json::value& row, const answer_text& a, json::value expected, const json::value& sent) {
    json::object wanted{{"code", row["code"]}}, got{{"code", a.code}};
    if (row["code"].as_integer() >= 300) {
      wanted.set("causes", row["causes"].is_null() ? json::array() : row["causes"]);
      if (row["message"].is_string()) {
        wanted.set("reason", row["reason"]);
        wanted.set("message", row["message"]);
      }
    }
    auto body = json::parse(a.body).value_or(json::value());
    if (a.code >= 300) {
      json::array causes;
      for (std::size_t i = 0; i < body["details"]["causes"].size(); ++i) {
        auto& c = body["details"]["causes"][i];
        causes.push_back(json::array{c["field"].as_string(), c["reason"], without_uids(c["message"].as_string())});
      }
      got.set("causes", causes);
      if (row["message"].is_string() || row["code"].as_integer() < 300) {
        got.set("reason", body["reason"].as_string());
        got.set("message", without_uids(body["message"].as_string()));
      }
      if (a.code == 422 && row["code"].as_integer() == 422 && !row["message"].is_string() &&
          without_uids(body["message"].as_string()) != implied(sent, causes))
        got.set("message", body["message"]);
    }
    if (row["order"].as_string() == "any")
      for (auto o : {&wanted, &got}) sort((*o)["causes"]);
    // Their order is often that of a Go map.
    auto warnings = warnings_of(a);
    json::value said = json::array(warnings.begin(), warnings.end()),
                should = row["warnings"].is_array() ? row["warnings"] : json::array();
    sort(said);
    sort(should);
    if (!said.empty() || !should.empty()) {
      wanted.set("warnings", should);
      got.set("warnings", said);
    }
    if (a.code < 300 && row["code"].as_integer() < 300) {
      change(expected, row["also"]);
      auto object = plain(body);
      for (std::size_t i = 0; i < row["varies"].size(); ++i) {
        change(expected, row["varies"][i].as_string(), nullptr);
        change(object, row["varies"][i].as_string(), nullptr);
      }
      if (!(object == expected)) {
        wanted.set("object", expected);
        got.set("object", object);
      }
    }
    if (!(json::value(wanted) == json::value(got)))
      tell(row, json::write(json::value(wanted)), json::write(json::value(got)));
  }

  // The message of a 422, which the recorder left out where it follows from the causes.
  std::string implied(const json::value& sent, const json::array& causes) const {
    auto version = sent["apiVersion"].as_string();
    auto group = version.substr(0, version.find('/') == version.npos ? 0 : version.find('/'));
    std::vector<std::string> texts;
    for (auto& c : causes) {
      auto text = fmt::format("{}: {}", c[0].as_string(), c[2].as_string());
      if (std::find(texts.begin(), texts.end(), text) == texts.end()) texts.push_back(std::move(text));
    }
    return fmt::format("{}{}{} \"{}\" is invalid: {}", head_["kind"].as_string(), group.empty() ? "" : ".", group,
                       sent["metadata"]["name"].as_string(),
                       texts.size() == 1 ? texts[0] : "[" + join(texts, ", ") + "]");
  }

  static void sort(json::value& list) {
    if (auto a = list.array())
      std::sort(a->begin(), a->end(), [](auto& x, auto& y) { return json::write(x) < json::write(y); });
  }

  void tell(const json::value& row, std::string_view wanted, std::string_view got) {
    auto which = fmt::format("{} {} {} {} {}", name_, row["on"].as_string(), row["base"].as_string(),
                             json::write(row["from"]), json::write(row["do"]));
    if (departures_.erase(which)) return;
    ++wrong_;
    FAIL_CHECK(fmt::format("{}\n  wanted {}\n  got    {}", which, wanted, got));
  }

  judged_world& w_;
  std::string name_, path_;
  json::value head_;
  std::vector<json::value> rows_;
  std::set<std::string> departures_;  // not met yet
  std::map<std::string, json::value, std::less<>> answers_;
  std::string standing_, standing_key_, standing_path_;
  std::size_t wrong_ = 0;
};

TEST_CASE("objects are judged as kube-apiserver judges them") {
  std::vector<std::filesystem::path> files;
  for (auto& e : std::filesystem::directory_iterator(KEDGE_ANSWERS "/rules"))
    if (e.path().extension() == ".jsonl") files.push_back(e.path());
  std::sort(files.begin(), files.end());
  REQUIRE(!files.empty());
  for (auto& file : files) {
    auto only = std::getenv("KEDGE_TABLE");  // one of them, while its kind is worked on
    if (only && file.stem() != only) continue;
    judged_world w;
    CHECK_MESSAGE(table(w, file).play() == 0, file.stem().string());
  }
}

}  // namespace
}  // namespace kedge::api
