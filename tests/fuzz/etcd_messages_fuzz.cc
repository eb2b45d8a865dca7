// etcd's answers, whatever bytes they are: each decoder gives a value or an error.
#include <cstddef>
#include <cstdint>

#include "datastore/etcd/members.h"
#include "datastore/etcd/messages.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view message(reinterpret_cast<const char*>(data), size);
  using namespace kedge::datastore::etcd;
  (void)decode_range(message);
  (void)decode_transaction(message);
  (void)decode_watch(message);
  (void)decode_status(message);
  (void)decode_authenticate(message);
  (void)decode_members(message);
  return 0;
}
