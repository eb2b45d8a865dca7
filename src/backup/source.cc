#include "backup/source.h"

#include "backup/etcd_snapshot.h"
#include "backup/reader.h"

namespace kedge::backup {

result<std::unique_ptr<source>> open_source(const std::string& path, std::string_view password, bool partial) {
  auto own = reader::open(path);
  if (own) {
    KEDGE_CHECK(own->unlock(password));
    return std::make_unique<reader>(*std::move(own));
  }
  if (own.error().code == errc::invalid && is_etcd_snapshot(path)) return open_etcd_snapshot(path, password, partial);
  return fail(std::move(own).error());
}

}  // namespace kedge::backup
