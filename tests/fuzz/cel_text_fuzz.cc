// cel_text_fuzz.cc: an expression's text, in Kubernetes' environment: what is accepted has an estimate and a type, and
// gives the same when it is compiled again; what isn't is told with its place.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "api/expressions/environment.h"
#include "base/assert.h"
#include "cel/program.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace kedge;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  static const auto env =
      api::expressions::admission_environment({.params = true, .authorizer = true, .patches = true});
  auto compiled = cel::compile(env, text);
  if (!compiled) {
    kedge_assert(!compiled.error().empty());
    kedge_assert(!cel::issues_text(compiled.error(), text).empty());
    return 0;
  }
  kedge_assert((*compiled)->cost().min <= (*compiled)->cost().max);
  auto again = cel::compile(env, text);
  kedge_assert(again && (*again)->result_type() == (*compiled)->result_type() &&
               (*again)->cost() == (*compiled)->cost());
  return 0;
}
