#include "cli/config_file.h"

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <filesystem>

#include "crypto/files.h"

namespace kedge::cli {
namespace {

namespace fs = std::filesystem;

error at(const std::string& file, int line, std::string_view text) {
  return {errc::invalid, fmt::format("{}:{}: {}", file, line, text)};
}

// YAML 1.1, which K3s reads, knows more words for the two truths than Go's flag package.
std::string plain_text(const YAML::Node& node) {
  const std::string& text = node.Scalar();
  if (node.Tag() == "?") {  // unquoted
    for (const char* yes : {"yes", "Yes", "YES", "on", "On", "ON"})
      if (text == yes) return "true";
    for (const char* no : {"no", "No", "NO", "off", "Off", "OFF"})
      if (text == no) return "false";
  }
  return text;
}

result<config_entry> entry_of(const YAML::Node& key, const YAML::Node& value, const std::string& name) {
  const int key_line = key.Mark().line + 1;
  if (!key.IsScalar() || key.Scalar().empty()) return fail(at(name, key_line, "a key must be the name of a flag"));
  config_entry entry{.key = key.Scalar()};
  if (value.IsSequence()) {
    entry.list = true;
    for (const auto& item : value) {
      if (!item.IsScalar())
        return fail(at(name, item.Mark().line + 1, fmt::format("{}: a list of plain values is wanted", entry.key)));
      entry.values.push_back({plain_text(item), name, item.Mark().line + 1});
    }
  } else if (value.IsScalar()) {
    entry.values.push_back({plain_text(value), name, value.Mark().line + 1});
  } else if (value.IsMap()) {
    return fail(at(name, key_line, fmt::format("{}: a plain value or a list is wanted, not a mapping", entry.key)));
  }
  return entry;  // `key:` with nothing behind it resets the key, and gives nothing
}

result<std::vector<config_entry>> parse_or_throw(std::string_view yaml, const std::string& name) {
  const YAML::Node document = YAML::Load(std::string(yaml));
  std::vector<config_entry> entries;
  if (!document.IsDefined() || document.IsNull()) return entries;
  if (!document.IsMap()) return fail(at(name, document.Mark().line + 1, "a mapping of flag names to values is wanted"));
  for (const auto& pair : document) {
    KEDGE_TRY(auto entry, entry_of(pair.first, pair.second, name));
    const auto same = [&](const config_entry& e) { return e.key == entry.key; };
    if (std::any_of(entries.begin(), entries.end(), same))
      return fail(at(name, pair.first.Mark().line + 1, fmt::format("{}: this key stands here twice", entry.key)));
    entries.push_back(std::move(entry));
  }
  return entries;
}

// The drop-ins in the order of their names. No folder is no drop-ins.
result<std::vector<std::string>> drop_ins(const std::string& folder) {
  std::vector<std::string> names;
  std::error_code failed;
  fs::directory_iterator entry(folder, failed);
  if (failed == std::errc::no_such_file_or_directory || failed == std::errc::not_a_directory) return names;
  for (; !failed && entry != fs::directory_iterator(); entry.increment(failed)) {
    const auto extension = entry->path().extension();
    if (extension == ".yaml" || extension == ".yml") names.push_back(entry->path().string());
  }
  if (failed) return fail(os_error(failed.value(), "read " + folder));
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace

result<std::vector<config_entry>> parse_config(std::string_view yaml, const std::string& name) {
  try {
    return parse_or_throw(yaml, name);
  } catch (const YAML::Exception& e) { return fail(at(name, e.mark.line + 1, e.msg)); }
}

void merge_config(std::vector<config_entry>& accumulated, std::vector<config_entry> file) {
  for (auto& entry : file) {
    const bool adds = entry.key.ends_with('+');
    if (adds) entry.key.pop_back();
    const auto earlier =
        std::find_if(accumulated.begin(), accumulated.end(), [&](const config_entry& e) { return e.key == entry.key; });
    if (earlier == accumulated.end()) {
      entry.list |= adds;
      accumulated.push_back(std::move(entry));
    } else if (adds) {
      earlier->list = true;
      for (auto& value : entry.values) earlier->values.push_back(std::move(value));
    } else {
      *earlier = std::move(entry);
    }
  }
}

result<std::vector<config_entry>> read_config(const std::string& path) {
  std::vector<config_entry> merged;
  KEDGE_TRY(auto files, drop_ins(path + ".d"));
  files.insert(files.begin(), path);
  for (const auto& file : files) {
    auto text = crypto::read_file(file, config_file_max_bytes);
    if (!text && text.error().code == errc::not_found && file == path) continue;
    if (!text) return fail(std::move(text).error());
    KEDGE_TRY(auto entries, parse_config(*text, file));
    merge_config(merged, std::move(entries));
  }
  return merged;
}

}  // namespace kedge::cli
