#include "server/etcd/version_guard.h"

#include <fmt/format.h>

#include <cstdint>
#include <string_view>
#include <utility>

#include "base/strings.h"
#include "datastore/etcd/bolt_file.h"
#include "reactor/offload.h"
#include "reactor/process.h"
#include "reactor/sync.h"

namespace kedge::server {

namespace {

constexpr std::size_t answer_bytes_max = 4096;
constexpr auto answer_time = std::chrono::seconds(30);  // of a disk that is busy; a program that is none may never end

// "3.4.23" as 304; 0 when it is no version.
std::uint64_t number_of(std::string_view version) {
  auto parts = split(version, '.');
  if (parts.size() < 2) return 0;
  auto major = parse_uint(parts[0]), minor = parse_uint(parts[1]);
  return major && minor ? *major * 100 + *minor : 0;
}

task<result<std::string>> ask_version(std::string binary) {
  KEDGE_CO_TRY(auto asked, reactor::process::spawn({.argv = {std::move(binary), "--version"}, .capture_output = true}));
  KEDGE_CO_TRY(auto text, co_await asked.output(answer_bytes_max));
  KEDGE_CO_CHECK(co_await asked.wait());
  co_return text;
}

}  // namespace

std::string storage_version(const std::string& data) {
  auto said = datastore::etcd::read_bolt(data + "/member/snap/db", "meta", "storageVersion");
  return said && number_of(*said) ? *std::move(said) : std::string();
}

task<result<void>> check_version(std::string binary, std::string data) {
  constexpr std::string_view says = "etcd Version: ";
  auto asked = co_await reactor::with_deadline(ask_version(binary), reactor::loop::current().now() + answer_time);
  if (!asked) co_return fail(std::move(asked).error().with(binary + " --version: "));
  const auto& text = *asked;
  auto at = text.find(says);
  auto version =
      at == text.npos ? std::string() : text.substr(at + says.size(), text.find('\n', at) - at - says.size());
  if (!number_of(version) || number_of(version) >= 306) co_return result<void>();
  KEDGE_CO_TRY(auto written, co_await reactor::offload([data] { return storage_version(data); }));
  if (written.empty()) co_return result<void>();
  co_return fail(
      errc::unsupported,
      fmt::format("{} holds what etcd {} has written, and {} is etcd {}: put the binary of a newer etcd beside "
                  "kedge, or on PATH",
                  data, written, binary, version));
}

}  // namespace kedge::server
