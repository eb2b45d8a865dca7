#include "cli/commands/certificate.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "base/strings.h"
#include "cli/checks.h"
#include "cli/commands/admin.h"
#include "cli/commands/commands.h"
#include "cli/commands/common_flags.h"
#include "crypto/certificate.h"
#include "crypto/files.h"
#include "json/write.h"
#include "node/machine/certificates.h"

namespace kedge::cli::commands {
namespace {

namespace fs = std::filesystem;

const auto owned_files = node::certificate_files();
using owned_file = node::certificate_file;
using node::status_of;
using node::subject_text;
using node::usages_text;
// The k3s-server certificate itself is kept by the server in dynamic-cert.json and renewed by a mark beside it.
constexpr std::string_view server_certificate = "k3s-server";
constexpr const char* regenerate_mark =
    "dynamic-cert-regenerate";  // in server/tls; the server makes its certificate anew

bool wanted(std::string_view service, std::span<const std::string> services) {
  return services.empty() || std::find(services.begin(), services.end(), service) != services.end();
}

std::string residual_text(duration left) {
  const auto days = std::chrono::duration_cast<std::chrono::days>(left).count();
  if (left < duration::zero()) return "none";
  return days > 0 ? fmt::format("{} days", days)
                  : fmt::format("{} hours", std::chrono::duration_cast<std::chrono::hours>(left).count());
}

void print_text(std::span<const certificate_state> states) {
  for (const auto& s : states)
    fmt::print("{}: certificate {} ({}) is {}, until {}\n", s.file, s.subject, s.usages, s.status,
               format_rfc3339(s.expires));
}

void print_table(std::span<const certificate_state> states, wall_time now) {
  constexpr const char* row = "{:<28}{:<44}{:<24}{:<23}{:<15}{}\n";
  fmt::print(fmt::runtime(row), "FILENAME", "SUBJECT", "USAGES", "EXPIRES", "RESIDUAL TIME", "STATUS");
  for (const auto& s : states)
    fmt::print(fmt::runtime(row), fs::path(s.file).filename().string(), s.subject, s.usages, format_rfc3339(s.expires),
               residual_text(s.expires - now), s.status);
}

json::value as_json(std::span<const certificate_state> states, wall_time now) {
  json::array items;
  for (const auto& s : states)
    items.push_back(json::object{{"service", s.service},
                                 {"file", s.file},
                                 {"subject", s.subject},
                                 {"usages", s.usages},
                                 {"expires", format_rfc3339(s.expires)},
                                 {"residualTime", residual_text(s.expires - now)},
                                 {"status", s.status}});
  return items;
}

result<void> print_certificates(const scanned& given, const machine& here) {
  const auto format = given.value("output", "text");
  if (const auto complaint = check_output_format(format))
    return fail(errc::invalid, fmt::format("--output: {} {}", quote(format), *complaint));
  const auto now = system_wall_time();
  KEDGE_TRY(const auto states, read_certificates(data_dir_of(given, here), given.values("service"), now));
  if (format == "text") print_text(states);
  if (format == "table") print_table(states, now);
  if (format == "json") fmt::print("{}\n", json::write_indented(as_json(states, now), 2));
  if (format == "yaml") fmt::print("{}", json::write_yaml(as_json(states, now)));
  return {};
}

// The copy of a folder beside it; existing copies are never written over.
result<std::string> back_up(const fs::path& from, const fs::path& to) {
  std::error_code failed;
  if (fs::exists(to, failed))
    return fail(errc::already_exists, to.string() + " is there already; wait a second, and try again");
  fs::copy(from, to, fs::copy_options::recursive | fs::copy_options::copy_symlinks, failed);
  if (failed) return fail(os_error(failed.value(), fmt::format("copy {} to {}", from.string(), to.string())));
  return to.string();
}

// An agent's certificates lie among its other files; only they are copied.
result<std::string> back_up_agent(const fs::path& agent, const fs::path& to) {
  std::error_code failed;
  if (!fs::create_directory(to, failed))
    return fail(failed ? os_error(failed.value(), "create " + to.string())
                       : error(errc::already_exists, to.string() + " is there already; wait a second, and try again"));
  fs::permissions(to, fs::perms::owner_all, failed);
  for (const auto& owned : owned_files) {
    if (!owned.stem.starts_with("agent/")) continue;
    for (const char* extension : {".crt", ".key"}) {
      const auto name = std::string(owned.stem.substr(6)) + extension;
      if (!fs::exists(agent / name, failed)) continue;
      fs::copy_file(agent / name, to / name, failed);
      if (failed) return fail(os_error(failed.value(), "copy " + (agent / name).string()));
    }
  }
  return to.string();
}

constexpr flag flags_of_check[] = {
    data_dir_flag,
    {.name = "service",
     .short_name = 's',
     .who = audience::both,
     .kind = value_kind::list,
     .comma_separated = true,
     .help = "Only the certificates of these services"},
    {.name = "output",
     .short_name = 'o',
     .who = audience::both,
     .fallback = "text",
     .help = "text, table, json or yaml"},
};

}  // namespace

result<void> check_services(std::span<const std::string> services) {
  for (const auto& name : services) {
    const auto same = [&](const owned_file& f) { return f.service == name; };
    if (name == server_certificate || std::any_of(owned_files.begin(), owned_files.end(), same)) continue;
    std::vector<std::string> known;
    for (const auto& f : owned_files)
      if (known.empty() || known.back() != f.service) known.emplace_back(f.service);
    known.emplace_back(server_certificate);
    return fail(errc::invalid, fmt::format("--service: {} is none of {}", quote(name), join(known, ", ")));
  }
  return {};
}

result<std::vector<certificate_state>> read_certificates(const std::string& data_dir,
                                                         std::span<const std::string> services, wall_time now) {
  KEDGE_CHECK(check_services(services));
  std::vector<certificate_state> states;
  for (const auto& owned : owned_files) {
    if (!wanted(owned.service, services)) continue;
    const auto file = fmt::format("{}/{}.crt", data_dir, owned.stem);
    auto text = crypto::read_file(file);
    if (!text && text.error().code == errc::not_found) continue;
    if (!text) return fail(std::move(text).error());
    auto bundle = crypto::parse_bundle(*text);
    if (!bundle) return fail(std::move(bundle).error().with(file));
    for (const auto& c : *bundle)
      states.push_back({std::string(owned.service), file, subject_text(c.subject()), usages_text(c), c.not_after(),
                        status_of(c, now)});
  }
  if (states.empty())
    return fail(
        errc::not_found,
        fmt::format("no certificates in {}; has a server or agent been started with this data directory?", data_dir));
  return states;
}

result<std::vector<std::string>> set_certificates_aside(const std::string& data_dir,
                                                        std::span<const std::string> services, wall_time now) {
  KEDGE_CHECK(check_services(services));
  const fs::path server = fs::path(data_dir) / "server", agent = fs::path(data_dir) / "agent";
  const auto copy_name =
      fmt::format("tls-{}", std::chrono::duration_cast<std::chrono::seconds>(now.time_since_epoch()).count());
  std::vector<std::string> copies;
  std::error_code failed;
  const bool has_server = fs::is_directory(server / "tls", failed), has_agent = fs::is_directory(agent, failed);
  if (!has_server && !has_agent) return fail(errc::not_found, "no certificates in " + data_dir);
  if (has_server) {
    KEDGE_TRY(auto copy, back_up(server / "tls", server / copy_name));
    copies.push_back(std::move(copy));
  }
  if (has_agent) {
    KEDGE_TRY(auto copy, back_up_agent(agent, agent / copy_name));
    copies.push_back(std::move(copy));
  }
  for (const auto& owned : owned_files) {
    if (!wanted(owned.service, services)) continue;
    for (const char* extension : {".crt", ".key"}) {
      const auto file = fs::path(data_dir) / (std::string(owned.stem) + extension);
      fs::remove(file, failed);
      if (failed) return fail(os_error(failed.value(), "remove " + file.string()));
    }
  }
  if (has_server && wanted(server_certificate, services))
    KEDGE_CHECK(crypto::write_file((server / "tls" / regenerate_mark).string(), ""));
  return copies;
}

std::span<const flag> certificate_check_flags() { return flags_of_check; }
std::span<const flag> certificate_rotate_flags() { return std::span(flags_of_check).first(2); }

int certificate_check(const invocation& call) {
  constexpr std::string_view name = "certificate check";
  const auto given = scan_flags_only(flags_of_check, call.arguments);
  if (!given) return report(name, given.error());
  if (auto printed = print_certificates(*given, call.here); !printed) return report(name, printed.error());
  return 0;
}

int certificate_rotate(const invocation& call) {
  constexpr std::string_view name = "certificate rotate";
  const auto given = scan_flags_only(certificate_rotate_flags(), call.arguments);
  if (!given) return report(name, given.error());
  const auto copies =
      set_certificates_aside(data_dir_of(*given, call.here), given->values("service"), system_wall_time());
  if (!copies) return report(name, copies.error());
  for (const auto& folder : *copies) fmt::print("The certificates so far are in {}\n", folder);
  fmt::print("A server or agent that runs makes new ones within seconds; else the next start does.\n");
  return 0;
}

}  // namespace kedge::cli::commands
