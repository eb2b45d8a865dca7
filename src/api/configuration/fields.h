// fields.h: a configuration file of Kubernetes' own kinds (audit.k8s.io, apiserver.config.k8s.io), read field by field.
//
//   text ─▶ read_document (YAML or JSON, kind, apiVersion) ─▶ fields: text, flag, list … ─▶ findings
//
// What is wrong is gathered with its path and told all at once; what nobody asked for is a field unknown here. Nothing
// of a file counts when there are findings: whoever reads decides after the last field.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/time.h"
#include "json/value.h"

namespace kedge::api {

struct findings {
  std::vector<std::string> wrong;    // "rules[0].level: Required value", in the order of the file
  std::vector<std::string> unknown;  // fields that this version doesn't know: an error or a warning, as the kind says
  bool shows_values = true;          // false: the file has secrets, and one may stand where something else is wanted
  void add(std::string path, std::string_view what);
  // errc::invalid with all of `wrong` in one message; fine when there is nothing.
  result<void> verdict() const;
};

// One object of the document. A field of another type than it is asked for as is a finding.
class fields {
 public:
  // `v` outlives this and what comes of it; anything but an object or null is a finding.
  fields(const json::value& v, std::string path, findings& found);
  // Findings are told as of `told_as`, unknown fields as of `path`: some kinds' checks leave a level of the path out.
  fields(const json::value& v, std::string path, std::string told_as, findings& found);
  fields(const fields&) = delete;
  fields& operator=(const fields&) = delete;
  fields(fields&&) = default;

  bool has(std::string_view name) const noexcept;
  std::string text(std::string_view name, std::string otherwise = {});
  // One of these words; empty when it isn't there, which is a finding where it is `needed`.
  std::string word(std::string_view name, const std::vector<std::string>& allowed, bool needed);
  std::optional<bool> flag(std::string_view name);
  std::optional<std::int64_t> number(std::string_view name);
  std::optional<duration> time(std::string_view name);  // as Go writes it: 1m30s
  std::vector<std::string> texts(std::string_view name);
  fields child(std::string_view name);  // an absent one has no fields
  std::vector<fields> children(std::string_view name);
  const json::value& any(std::string_view name);
  // A child whose findings are told as of this object.
  fields child_told_here(std::string_view name);

  // The path of a field (an empty name: of the object itself), and a finding about it.
  std::string path_of(std::string_view name) const;
  void wrong(std::string_view name, std::string_view what);
  // The rest of its fields is unknown. Of the children, too, when they ask for it themselves.
  void done();

 private:
  const json::value* find(std::string_view name);
  std::string shown(const json::value& v) const;
  const json::value* value_;
  std::string path_, told_as_;
  findings* found_;
  std::set<std::string, std::less<>> known_;
};

// The document's value, if it is YAML or JSON of this kind in one of these versions ("audit.k8s.io/v1").
result<json::value> read_document(std::string_view text, std::string_view kind,
                                  const std::vector<std::string>& versions);

// The document's value, of whatever kind; some have none.
result<json::value> read_any_document(std::string_view text);

// A document that stands within another: the same checks.
result<json::value> check_document(const json::value& document, std::string_view kind,
                                   const std::vector<std::string>& versions);

// A configuration file's text (blocking). errc::invalid names the flag it was given with, and the file.
result<std::string> read_configuration_file(std::string_view flag, const std::string& path);

}  // namespace kedge::api
