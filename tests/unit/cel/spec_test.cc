// The CEL specification's own tests (github.com/google/cel-spec, tests/simple/testdata), from the folder that
// KEDGE_CEL_SPEC names; without one this ends with 77, which is a test that didn't run. What Kubernetes can't express
// is left out, and counted by its reason.
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "base/strings.h"
#include "cel/functions/libraries.h"
#include "cel/literals.h"
#include "cel/program.h"
#include "text_proto.h"

namespace kedge::cel {
namespace {

const std::map<std::string_view, const char*> files_left_out = {
    {"proto2", "protobuf messages"},
    {"proto3", "protobuf messages"},
    {"enums", "protobuf's enums"},
    {"wrappers", "protobuf messages"},
    {"dynamic", "protobuf messages"},
    {"block_ext", "cel.@block is for optimisers"},
    {"math_ext", "not in Kubernetes"},
    {"network_ext", "Kubernetes has its own ip and cidr"},
    {"unknowns", "Kubernetes has no unknown values"},
};

// What cel-go, as kube-apiserver has it, does otherwise than the specification, by the beginning of the test's name.
const std::pair<std::string_view, const char*> otherwise[] = {
    {"string_ext/format", "formats are those of the strings' version 2"},
    {"string_ext/value_errors/indexof_out_of_range", "a place behind the end is none, and no error"},
    {"string_ext/value_errors/lastindexof_out_of_range", "a place behind the end is none, and no error"},
    {"fields/qualified_identifier_resolution/map_value_repeat_key", "a key that is there twice counts the second time"},
    {"optionals/optionals/map_null_entry_no_such_key", "what has no fields hasn't got this one"},
    {"optionals/optionals/map_present_key_invalid_field", "what has no fields hasn't got this one"},
};

const char* known_otherwise(std::string_view name) {
  for (auto [beginning, why] : otherwise)
    if (name.starts_with(beginning)) return why;
  return nullptr;
}

const json::value& first(const json::value& message, std::string_view field) { return message[field][0]; }
std::string text(const json::value& message, std::string_view field) {
  std::string out(first(message, field).as_string());
  if (out.starts_with('"')) out.erase(0, 1);
  return out;
}

struct case_of {
  std::string name, expression;
  const json::value* test;
};

// Why a test can't be meant for Kubernetes; null when it is.
const char* left_out(const case_of& c, const std::string& whole) {
  const std::string& e = c.expression;
  const auto has = [&](std::string_view part) {
    return e.find(part) != std::string::npos || whole.find(part) != std::string::npos;
  };
  if (c.test->find("disable_macros")) return "macros can't be turned off";
  if (has("TestAllTypes") || has("google.protobuf.") || has("cel.expr") || has("NestedTestAllTypes"))
    return "protobuf messages";
  if (c.test->find("container")) return "Kubernetes' expressions are in no container";
  if (c.test->find("disable_check")) return "Kubernetes checks every expression";
  if (e.find(".reverse()") != std::string::npos && e.find("'") != std::string::npos) return "strings of version 3";
  if (c.test->find("check_only")) return "only the type";
  return nullptr;
}

type type_of(const json::value& t) {
  const std::string primitive = text(t, "primitive");
  if (primitive == "INT64") return type::integer();
  if (primitive == "UINT64") return type::unsigned_integer();
  if (primitive == "BOOL") return type::boolean();
  if (primitive == "STRING") return type::string();
  if (primitive == "BYTES") return type::bytes();
  if (primitive == "DOUBLE") return type::real();
  if (t.find("null")) return type::null();
  if (t.find("list_type")) return type::list(type_of(first(first(t, "list_type"), "elem_type")));
  if (t.find("map_type"))
    return type::map(type_of(first(first(t, "map_type"), "key_type")),
                     type_of(first(first(t, "map_type"), "value_type")));
  return type::dyn();
}

// A value of the data; absent when it is of protobuf.
value value_of(const json::value& v, arena& memory) {
  if (v.find("null_value")) return value::null();
  if (v.find("bool_value")) return value::boolean(text(v, "bool_value") == "true");
  if (v.find("int64_value")) return value::integer(std::strtoll(text(v, "int64_value").c_str(), nullptr, 0));
  if (v.find("uint64_value"))
    return value::unsigned_integer(std::strtoull(text(v, "uint64_value").c_str(), nullptr, 0));
  if (v.find("double_value")) return value::real(std::strtod(text(v, "double_value").c_str(), nullptr));
  if (v.find("string_value")) return value::string(memory.copy(text(v, "string_value")));
  if (v.find("bytes_value")) return value::bytes(memory.copy(text(v, "bytes_value")));
  if (v.find("list_value")) {
    std::vector<value> items;
    if (const json::array* values = first(v, "list_value")["values"].array())
      for (const json::value& item : *values) items.push_back(value_of(item, memory));
    return value::list(memory, items);
  }
  if (v.find("map_value")) {
    map_maker out(memory);
    if (const json::array* entries = first(v, "map_value")["entries"].array())
      for (const json::value& e : *entries)
        out.add(value_of(first(e, "key"), memory), value_of(first(e, "value"), memory));
    return out.done();
  }
  return {};
}

bool same(const value& a, const value& b, arena& memory) {
  if (a.is(kind::real) && b.is(kind::real) && a.as_real() != a.as_real()) return b.as_real() != b.as_real();
  return a.kind() == b.kind() && equal(a, b, memory);
}

struct tally {
  std::size_t passed = 0, failed = 0;
  std::map<std::string, std::size_t> out;
};

std::string found_text(const outcome& ran) {
  return ran.result ? text_of(*ran.result) : "error: " + ran.result.error().message;
}

// Empty: as it should be.
std::string judge(const case_of& c) {
  auto b = environment::standard();
  add_bindings(b);
  add_two_variable(b);
  add_strings(b);
  add_sets(b);
  add_lists(b);
  add_encoders(b);
  if (const json::array* declared = (*c.test)["type_env"].array())
    for (const json::value& d : *declared) b.variable(text(d, "name"), type_of(first(first(d, "ident"), "type")));
  const json::array* bound = (*c.test)["bindings"].array();
  if (bound)
    for (const json::value& v : *bound)
      if (!b.build()->find_variable(text(v, "key"))) b.variable(text(v, "key"), type::dyn());
  const auto env = b.build();
  auto program = compile(env, c.expression);
  const bool wants_error = c.test->find("eval_error") != nullptr;
  if (!program) return wants_error ? "" : issues_text(program.error(), c.expression);
  arena memory;
  bindings with(*env);
  if (bound)
    for (const json::value& v : *bound) with.set(text(v, "key"), value_of(first(first(v, "value"), "value"), memory));
  const outcome ran = run(**program, with, memory, UINT64_MAX);
  if (wants_error) return ran.result ? "gives " + found_text(ran) + " instead of an error" : "";
  if (const json::value& typed = first(*c.test, "typed_result"); typed.is_object())
    return (*program)->result_type() == type_of(first(typed, "deduced_type"))
               ? ""
               : "is of type " + (*program)->result_type().text();
  const json::value& wanted = first(*c.test, "value");
  if (wanted.is_null())
    return ran.result && ran.result->is_true() ? "" : "gives " + found_text(ran) + " instead of true";
  if (wanted.find("type_value")) {
    const std::string name = text(wanted, "type_value");
    return ran.result && ran.result->is(kind::type) && ran.result->as_type().name() == name
               ? ""
               : "gives " + found_text(ran);
  }
  const value real = value_of(wanted, memory);
  if (ran.result && same(*ran.result, real, memory)) return "";
  return "gives " + found_text(ran) + " instead of " + text_of(real);
}

void run_file(const std::filesystem::path& path, tally& t) {
  const std::string name = path.stem().string();
  std::ifstream in(path);
  std::stringstream content;
  content << in.rdbuf();
  const std::string all = content.str();
  auto file = text_proto(all).read();
  if (!file) {
    std::printf("%s: not read\n", name.c_str());
    ++t.failed;
    return;
  }
  const json::array* sections = (*file)["section"].array();
  for (const json::value& section : sections ? *sections : json::array{}) {
    const json::array* tests = section["test"].array();
    for (const json::value& test : tests ? *tests : json::array{}) {
      const case_of c{name + "/" + text(section, "name") + "/" + text(test, "name"), text(test, "expr"), &test};
      auto whole_file = files_left_out.find(name);
      std::string values;
      if (const json::array* bound = test["bindings"].array())
        for (const json::value& v : *bound)
          if (first(first(v, "value"), "value").find("object_value")) values = "google.protobuf.";
      if (const json::array* declared = test["type_env"].array())
        for (const json::value& d : *declared)
          if (first(first(d, "ident"), "type").find("message_type")) values = "google.protobuf.";
      if (const json::object* of = first(test, "value")["object_value"][0].object(); of && !of->empty())
        values = "google.protobuf.";
      const char* why = whole_file != files_left_out.end() ? whole_file->second : left_out(c, values);
      if (why) {
        ++t.out[why];
        continue;
      }
      const std::string wrong = judge(c);
      if (wrong.empty()) {
        ++t.passed;
        continue;
      }
      if (const char* known = known_otherwise(c.name)) {
        ++t.out[known];
        continue;
      }
      ++t.failed;
      std::printf("%s: %s\n  %s\n", c.name.c_str(), c.expression.c_str(), wrong.c_str());
    }
  }
}

}  // namespace
}  // namespace kedge::cel

int main() {
  const char* folder = std::getenv("KEDGE_CEL_SPEC");
  if (!folder) {
    std::puts("KEDGE_CEL_SPEC names no folder: not run");
    return 77;
  }
  kedge::cel::tally t;
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    if (entry.path().extension() == ".textproto") kedge::cel::run_file(entry.path(), t);
  std::printf("%zu as specified, %zu not\n", t.passed, t.failed);
  for (const auto& [why, n] : t.out) std::printf("%zu left out: %s\n", n, why.c_str());
  return t.failed == 0 && t.passed > 0 ? 0 : 1;
}
