#include "node/offline/checkpoint_file.h"

#include "crypto/files.h"
#include "reactor/offload.h"

namespace kedge::node {

task<result<std::optional<std::string>>> checkpoint_file::read() {
  KEDGE_CO_TRY(auto text,
               co_await reactor::offload([path = path_, most = bytes_max_] { return crypto::read_file(path, most); }));
  if (!text && text.error().code == errc::not_found) co_return std::nullopt;
  if (!text) co_return fail(std::move(text).error());
  has_ = *text;
  co_return std::optional(*std::move(text));
}

task<result<void>> checkpoint_file::replace(std::string text) {
  if (text == has_) co_return result<void>();
  KEDGE_CO_TRY(auto written, co_await reactor::offload([path = path_, text]() -> result<void> {
                 KEDGE_CHECK(crypto::make_folder(path.substr(0, path.find_last_of('/')), 0755));
                 return crypto::write_file(path, text);
               }));
  if (written) has_ = std::move(text);
  co_return written;
}

}  // namespace kedge::node
