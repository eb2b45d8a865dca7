// printer.h: the cells of a kind's Table row, as `kubectl get` shows them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/time.h"
#include "json/value.h"

namespace kedge::api {

struct table_row {
  json::array cells;       // one a column of the schema table, name first
  json::array conditions;  // of the row; usually none
};

// `object` in the stored version.
using printer = table_row (*)(const json::value& object, wall_time now);

// The kind's own printer; for kinds without one the generic row: name, and creation time for the other columns that are
// dates.
printer printer_of(std::string_view group, std::string_view resource) noexcept;

// "28s", "5m3s", "3h", "2d10h": duration.HumanDuration.
std::string human_duration(duration d);
// The time since an RFC 3339 text, or "<unknown>".
std::string age(const json::value& timestamp, wall_time now);
std::string age_of(const json::value& object, wall_time now);  // of metadata.creationTimestamp
// "a=b,c=d" or "<none>".
std::string format_labels(const json::value& map);
// A LabelSelector as kubectl prints it; "<none>" when empty, "<unset>"-free.
std::string format_selector(const json::value& selector);
// Names and images of a pod spec's containers, joined by commas.
std::string container_names(const json::value& pod_spec);
std::string container_images(const json::value& pod_spec);
// A list of strings joined; "<none>" when empty.
std::string joined(const json::value& list, std::string_view separator = ",");
inline json::value number(const json::value& v) { return v.is_number() ? v : json::value(0); }
inline std::string_view text(const json::value& v) { return v.as_string(); }
inline std::string or_text(const json::value& v, std::string_view otherwise) {
  auto s = v.as_string();
  return std::string(s.empty() ? otherwise : s);
}
inline json::value name_cell(const json::value& o) { return o["metadata"]["name"]; }

}  // namespace kedge::api
