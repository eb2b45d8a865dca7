#include "control/addons/manifest.h"

#include <fmt/format.h>

#include "base/strings.h"
#include "control/addons/limits.h"
#include "json/parse.h"

namespace kedge::control::addons {

namespace {

// A line that ends a document: three hyphens, then nothing but a comment.
bool separates(std::string_view line) {
  if (!line.starts_with("---")) return false;
  auto rest = trim(line.substr(3));
  return rest.empty() || rest.starts_with('#');
}

bool is_empty(std::string_view document) {
  for (auto line : split(document, '\n')) {
    auto text = trim(line);
    if (!text.empty() && text != "---" && !text.starts_with('#')) return false;
  }
  return true;
}

class reading {
 public:
  manifest read(std::string_view text) {
    std::size_t begin = 0;
    for (std::size_t at = 0; at < text.size();) {
      auto end = std::min(text.find('\n', at), text.size());
      auto next = std::min(end + 1, text.size());
      if (separates(text.substr(at, end - at))) {
        document(text.substr(begin, at - begin));
        begin = next;
      }
      at = next;
    }
    document(text.substr(begin));
    return std::move(out_);
  }

 private:
  void problem(std::string_view what) {
    if (out_.problems.size() < problems_max) out_.problems.push_back(fmt::format("document {}: {}", number_, what));
  }

  void document(std::string_view text) {
    if (is_empty(text)) return;
    ++number_;
    auto v = json::parse_yaml(text);
    if (!v) return problem(v.error().message);
    add(*std::move(v), 0);
  }

  void add(json::value v, std::size_t depth) {
    if (v.is_null()) return;
    if (!v.is_object()) return problem(fmt::format("it is a {}, not an object", json::kind_name(v)));
    if (v["kind"].as_string().empty()) return problem("Object 'Kind' is missing");
    if (v["apiVersion"].as_string().empty()) return problem("Object 'apiVersion' is missing");
    if (auto* items = v.find("items"); items && items->is_array()) {
      if (depth == list_depth_max) return problem("lists in lists are too deep");
      for (auto& item : *items->array()) add(std::move(item), depth + 1);
      return;
    }
    if (out_.objects.size() == objects_max) return problem(fmt::format("more than {} objects", objects_max));
    if (!v["metadata"].is_object() || v["metadata"]["name"].as_string().empty())
      return problem(fmt::format("{} without metadata.name", v["kind"].as_string()));
    out_.objects.push_back(std::move(v));
  }

  manifest out_;
  std::size_t number_ = 0;
};

}  // namespace

manifest read_manifest(std::string_view text) { return reading().read(text); }

}  // namespace kedge::control::addons
