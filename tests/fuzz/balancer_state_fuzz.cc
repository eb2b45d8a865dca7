// The balancer's state file and server URLs: what is accepted is written back as it was read.
#include "balancer/state_file.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace kedge;
  std::string_view text(reinterpret_cast<const char*>(data), size);
  (void)balancer::default_address(text);
  auto addresses = balancer::parse_state(text, "https://fixed:6443");
  if (!addresses) return 0;
  for (auto& a : *addresses)
    for (unsigned char c : a)
      if (c < 0x20 || c >= 0x7f) return 0;  // no address; Go's quoting and JSON's differ there
  auto again = balancer::parse_state(balancer::state_text("https://fixed:6443", *addresses), "https://fixed:6443");
  if (!again || *again != *addresses) __builtin_trap();
  return 0;
}
