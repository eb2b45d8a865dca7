// object_cache.h: what the API server said of objects that pods name, for others that name them too: a burst of pods of
// one template asks once. Values, no I/O.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "base/time.h"
#include "json/value.h"

namespace kedge::node {

class object_cache {
 public:
  // The answer to a question that was asked at `since` or later, and not long before `now`; null: it has to be asked.
  // Good until the next change. An answer that holds nothing: there is no such object.
  const std::optional<json::value>* find(std::string_view path, time_point since, time_point now) const;
  // `asked`: when the question left. What a slow server read long ago is as old as that.
  void keep(std::string path, std::optional<json::value> object, time_point asked, time_point now);

 private:
  struct answer {
    std::optional<json::value> object;
    time_point asked{};
  };
  std::map<std::string, answer, std::less<>> answers_;  // at most objects_kept_max, no older than object_age_max
};

}  // namespace kedge::node
