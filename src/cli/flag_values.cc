#include "cli/flag_values.h"

#include <fmt/format.h>

#include "base/strings.h"
#include "cli/flags.h"

namespace kedge::cli {
namespace {

std::string text_of(bool v) { return v ? "true" : "false"; }
std::string text_of(const std::string& v) { return v; }
std::string text_of(const std::vector<std::string>& v) { return "[" + join(v, ",") + "]"; }
std::string text_of(unsigned v) { return std::to_string(v); }
std::string text_of(std::uint16_t v) { return std::to_string(v); }
std::string text_of(log::format v) { return v == log::format::json ? "json" : "text"; }
std::string text_of(file_mode v) { return fmt::format("{:o}", v.bits); }
std::string text_of(port_range v) { return fmt::format("{}-{}", v.first, v.last); }

struct reader {
  const server_options& from;
  std::string operator()(std::monostate) const { return {}; }
  template <typename T>
  std::string operator()(T agent_options::* field) const {
    return text_of(from.agent.*field);
  }
  template <typename T>
  std::string operator()(T server_options::* field) const {
    return text_of(from.*field);
  }
};

}  // namespace

std::map<std::string, std::string> flag_values(const server_options& o) {
  std::map<std::string, std::string> out;
  for (auto& f : flag_table()) {
    if (f.state != support::supported || !serves(f, audience::server)) continue;
    if (std::holds_alternative<std::monostate>(f.into)) continue;
    auto text = std::visit(reader{o}, f.into);
    if (f.secret && !text.empty() && text != "[]") text = "********";
    out.emplace(f.name, std::move(text));
  }
  return out;
}

}  // namespace kedge::cli
