// selector.h: label and field selectors, parsed once and matched often.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "json/value.h"
#include "meta/status.h"

namespace kedge::api {

enum class selector_operator : unsigned char { equals, not_equals, in, not_in, exists, not_exists, greater, less };

struct requirement {
  std::string key;
  selector_operator op = selector_operator::equals;
  std::vector<std::string> values;

  // `value` is null when the object lacks the key.
  bool matches(const std::string_view* value) const noexcept;
};

// The value of `key` in the JSON text of a labels object; nullopt when absent. The text is of our own writing: names
// and values hold no escapes (the characters that labels may have need none).
std::optional<std::string_view> label_in_text(std::string_view labels, std::string_view key) noexcept;

class label_selector {
 public:
  // The query's grammar: `a=b,c!=d,e in (f,g),h,!i,j>5`. 400 "unable to parse requirement: …".
  static api_result<label_selector> parse(std::string_view text);
  // A LabelSelector object (matchLabels, matchExpressions); null selects nothing, {} everything.
  static label_selector from_object(const json::value& selector);
  // A plain map as Services and ReplicationControllers have.
  static label_selector from_map(const json::value& map);

  bool everything() const noexcept { return !nothing_ && requirements_.empty(); }
  bool nothing() const noexcept { return nothing_; }
  void add(requirement r) { requirements_.push_back(std::move(r)); }
  bool matches_text(std::string_view labels) const noexcept;  // JSON text of metadata.labels; "" for none
  bool matches(const json::value& labels) const noexcept;     // metadata.labels
  const std::vector<requirement>& requirements() const noexcept { return requirements_; }
  std::string text() const;  // canonical: sorted by key, as labels.Selector.String()

 private:
  bool nothing_ = false;
  std::vector<requirement> requirements_;
};

// The EndpointSlices of a Service.
label_selector slices_of(std::string_view service);

struct field_requirement {
  std::string field, value;
  bool equal = true;
};

class field_selector {
 public:
  static api_result<field_selector> parse(std::string_view text);  // 400 "invalid selector: …"
  bool empty() const noexcept { return requirements_.empty(); }
  // The value that `field` must have, when the selector says so.
  std::optional<std::string> exact(std::string_view field) const;
  // Whether nothing is selected but what has this value.
  bool demands(std::string_view field, std::string_view value) const noexcept;
  const std::vector<field_requirement>& requirements() const noexcept { return requirements_; }
  std::vector<field_requirement>& requirements() noexcept { return requirements_; }

 private:
  std::vector<field_requirement> requirements_;
};

// metav1.LabelSelector against a labels object; a null selector selects nothing, an empty one everything.
bool selects(const json::value& selector, const json::value& labels) noexcept;

}  // namespace kedge::api
