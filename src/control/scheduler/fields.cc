#include "control/scheduler/fields.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/strings.h"

namespace kedge::control::scheduler {
namespace {

using type = field::type;

std::string place(std::string_view path, std::string_view name) {
  return path.empty() ? std::string(name) : fmt::format("{}.{}", path, name);
}

std::string_view words(type t) {
  switch (t) {
    case type::text: return "a string";
    case type::number: return "a whole number";
    case type::fraction: return "a number";
    case type::truth: return "true or false";
    case type::object: return "an object";
    case type::texts: return "a list of strings";
    case type::objects: return "a list of objects";
    case type::anything: break;
  }
  return "anything";
}

bool is_of(const json::value& v, type t) {
  auto all = [&](auto right) {
    if (!v.is_array()) return false;
    for (std::size_t i = 0; i < v.size(); ++i)
      if (!right(v[i])) return false;
    return true;
  };
  switch (t) {
    case type::text: return v.is_string();
    case type::number: return v.is_integer();
    case type::fraction: return v.is_number();
    case type::truth: return v.is_bool();
    case type::object: return v.is_object();
    case type::texts: return all([](auto& e) { return e.is_string(); });
    case type::objects: return all([](auto& e) { return e.is_object(); });
    case type::anything: break;
  }
  return true;
}

}  // namespace

result<void> check_fields(const json::value& v, std::span<const field> fields, std::string_view path) {
  for (auto& m : *v.object()) {
    auto where = place(path, m.name);
    auto known = std::ranges::find(fields, std::string_view(m.name), &field::name);
    if (known == fields.end()) return fail(errc::invalid, fmt::format("unknown field {}", quote(where)));
    if (m.value.is_null()) continue;
    if (!is_of(m.value, known->is))
      return fail(errc::invalid, fmt::format("{}: Invalid value: must be {}", where, words(known->is)));
    if (known->is == type::object && !known->of.empty()) KEDGE_CHECK(check_fields(m.value, known->of, where));
    if (known->is == type::objects && !known->of.empty())
      for (std::size_t i = 0; i < m.value.size(); ++i)
        KEDGE_CHECK(check_fields(m.value[i], known->of, fmt::format("{}[{}]", where, i)));
  }
  return {};
}

}  // namespace kedge::control::scheduler
