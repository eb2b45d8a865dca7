#include "net/http/client_detail.h"

namespace kedge::net::http {
class h2_session {};
std::shared_ptr<h2_session> make_h2_client(std::unique_ptr<reactor::stream>, std::vector<std::string>) { return {}; }
bool h2_usable(const h2_session&) noexcept { return false; }
bool h2_idle(const h2_session&, time_point) noexcept { return true; }
task<result<std::unique_ptr<client_exchange>>> open_h2_exchange(std::shared_ptr<h2_session>, client_request) {
  co_return fail(errc::unsupported, "HTTP/2");
}
}  // namespace kedge::net::http
