// informer.h: keeps copies of kinds true: a list in pages, then a watch from there, for ever.
//
// Losing the servers loses nothing: the copies stay as they were, and the next list says what changed meanwhile.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "net/http/client.h"
#include "node/informer/kind_cache.h"
#include "node/join/supervisor_client.h"
#include "reactor/scope.h"
#include "reactor/sync.h"

namespace kedge::node {

class informer {
 public:
  static result<informer> make(std::string api_url, const std::string& ca, const client_identity& identity,
                               reactor::network* network);
  // From now on as that: watches are begun again where they were, and no connection is kept that was made before.
  result<void> use(const std::string& ca, const client_identity& identity);

  // `path`: "/api/v1/services", perhaps with "?fieldSelector=…". Never ends. `into` outlives the task.
  task<void> follow(std::string path, kind_sink& into);
  // One document. errc::not_found when there is none.
  task<result<json::value>> read(std::string path);

 private:
  informer() = default;
  task<result<void>> list(const std::string& path, kind_sink& into, std::string& version);
  task<result<void>> watch(const std::string& path, kind_sink& into, std::string& version,
                           std::optional<time_point>& watching);

  net::http::target target_;
  std::unique_ptr<net::http::client> http_;
  std::unique_ptr<reactor::event> renewed_ = std::make_unique<reactor::event>();  // pulsed
};

}  // namespace kedge::node
