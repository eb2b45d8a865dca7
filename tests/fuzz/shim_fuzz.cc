// Bytes from a hostile client of a shim, and from a hostile containerd in its answers: no input crashes what reads
// them, frames hold no more than was received, and what is read from one place of JSON lies in it.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>

#include "shim/bundle.h"
#include "shim/cgroup.h"
#include "shim/json.h"
#include "shim/limits.h"
#include "shim/messages.h"
#include "shim/mounts.h"
#include "shim/runtime.h"
#include "shim/ttrpc.h"

namespace {

using namespace kedge;
using namespace kedge::shim;

result<std::string> no_file(const std::string& path) { return fail(errc::not_found, path); }

void read_payload(std::string_view text) {
  if (auto r = decode_create(text)) {
    (void)decode_options(r->options, no_file);
    for (auto& m : r->rootfs) (void)read_flags(m, 4096);
  }
  if (auto r = decode_exec(text)) {
    json::members m(r->spec.value);
    while (m.next())
      if (m.value().data() < r->spec.value.data() || m.value().end() > r->spec.value.end()) __builtin_trap();
  }
  (void)decode_process(text);
  (void)decode_update(text);
  (void)ttrpc::decode_response(text);
}

}  // namespace

// Input: a byte that says how large the pieces are in which the rest comes.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  std::string_view all(reinterpret_cast<const char*>(data) + 1, size - 1);
  std::size_t piece = std::size_t(data[0]) + 1;
  ttrpc::frame_reader reader;
  for (auto rest = all; !rest.empty(); rest.remove_prefix(std::min(piece, rest.size())))
    for (auto in = rest.substr(0, piece); !in.empty();) {
      auto f = reader.read(in);
      if (!f) continue;
      if (f->data.size() > message_bytes_max || f->data.size() > all.size()) __builtin_trap();
      if (auto r = ttrpc::decode_request(f->data)) read_payload(r->payload);
    }
  read_payload(all);
  (void)last_error(all);
  (void)json::text_of(all);
  if (json::text_of(json::quote(all)) != all) __builtin_trap();
  (void)cgroup::of(all, "/nonexistent", size % 2).folder("memory");
  return 0;
}
