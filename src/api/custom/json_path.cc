#include "api/custom/json_path.h"

#include <fmt/format.h>

#include "base/strings.h"

namespace kedge::api::custom {
namespace {

constexpr std::size_t steps_max = 64;  // hostile paths; real ones have a handful

bool passes(const json::value& item, std::string_view path, std::string_view operation, const json::value& operand) {
  auto v = &item;
  for (auto part : split(path, '.'))
    if (!part.empty()) {
      v = v->find(part);
      if (!v) return false;
    }
  if (operation.empty()) return true;
  return (*v == operand) == (operation == "==");
}

}  // namespace

result<json_path> json_path::parse(std::string_view text) {
  auto all = text;
  auto bad = [&](std::string_view why) {
    return fail(errc::invalid, fmt::format("{} in JSON path {}", why, quote(all)));
  };
  if (text.starts_with('{') && text.ends_with('}')) text = text.substr(1, text.size() - 2);
  if (text.starts_with('$')) text.remove_prefix(1);
  if (text.empty()) return bad("nothing");
  json_path out;
  while (!text.empty()) {
    if (out.steps_.size() == steps_max) return bad("too many steps");
    step s;
    if (text[0] == '[') {
      auto end = text.find(']');
      if (text.starts_with("[?(")) end = text.find(")]") == text.npos ? text.npos : text.find(")]") + 1;
      if (end == text.npos) return bad("unterminated array");
      auto inside = trim(text.substr(1, end - 1));
      text.remove_prefix(end + 1);
      if (inside == "*") {
        s.what = step::kind::every;
      } else if (inside.starts_with("?(") && inside.ends_with(")")) {
        s.what = step::kind::filter;
        auto condition = trim(inside.substr(2, inside.size() - 3));
        if (!condition.starts_with("@.")) return bad("a filter must begin with @.");
        auto at = condition.find("==");
        if (at == condition.npos) at = condition.find("!=");
        s.name = trim(condition.substr(2, at == condition.npos ? condition.npos : at - 2));
        if (at != condition.npos) {
          s.operation = condition.substr(at, 2);
          auto operand = trim(condition.substr(at + 2));
          if (operand.size() >= 2 && (operand[0] == '"' || operand[0] == '\'') && operand.back() == operand[0])
            s.operand = operand.substr(1, operand.size() - 2);
          else if (operand == "true" || operand == "false")
            s.operand = operand == "true";
          else if (auto n = parse_int(operand))
            s.operand = *n;
          else
            return bad("unrecognized operand");
        }
      } else if (inside.size() >= 2 && (inside[0] == '\'' || inside[0] == '"') && inside.back() == inside[0]) {
        for (std::size_t i = 1; i + 1 < inside.size(); ++i)
          if (inside[i] != '\\' || inside[i + 1] == '\\') s.name += inside[i];
      } else if (auto n = parse_int(inside)) {
        s.what = step::kind::index;
        s.index = static_cast<long>(*n);
      } else {
        return bad("invalid array index " + std::string(inside));
      }
    } else {
      if (text[0] == '.') text.remove_prefix(1);
      while (!text.empty() && text[0] != '.' && text[0] != '[') {
        if (text[0] == '\\' && text.size() > 1) text.remove_prefix(1);
        s.name += text[0];
        text.remove_prefix(1);
      }
      if (s.name.empty()) {
        if (text.starts_with('[')) continue;  // ".[0]"
        return bad("an empty step");
      }
      if (s.name == "*") s.what = step::kind::every;
    }
    out.steps_.push_back(std::move(s));
  }
  return out;
}

const json::value* json_path::find(const json::value& v, const step* at, const step* end) {
  if (at == end) return &v;
  switch (at->what) {
    case step::kind::member: {
      auto next = v.find(at->name);
      return next ? find(*next, at + 1, end) : nullptr;
    }
    case step::kind::index: {
      auto n = static_cast<long>(v.size());
      auto i = at->index < 0 ? n + at->index : at->index;
      return v.is_array() && i >= 0 && i < n ? find(v[static_cast<std::size_t>(i)], at + 1, end) : nullptr;
    }
    case step::kind::every:
    case step::kind::filter: {
      auto look = [&](const json::value& item) -> const json::value* {
        if (at->what == step::kind::filter && !passes(item, at->name, at->operation, at->operand)) return nullptr;
        return find(item, at + 1, end);
      };
      if (auto list = v.array()) {
        for (auto& item : *list)
          if (auto found = look(item)) return found;
      } else if (auto members = v.object()) {
        for (auto& m : *members)
          if (auto found = look(m.value)) return found;
      }
      return nullptr;
    }
  }
  return nullptr;
}

const json::value* json_path::first(const json::value& root) const {
  return find(root, steps_.data(), steps_.data() + steps_.size());
}

std::vector<std::string> json_path::members() const {
  std::vector<std::string> out;
  for (auto& s : steps_) {
    if (s.what != step::kind::member) return {};
    out.push_back(s.name);
  }
  return out;
}

}  // namespace kedge::api::custom
