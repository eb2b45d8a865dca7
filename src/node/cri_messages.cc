#include "node/cri_messages.h"

#include "node/wire.h"

namespace kedge::node {

namespace {

std::unexpected<error> malformed(std::string_view message) {
  return fail(errc::protocol, "the container runtime answered with a malformed " + std::string(message));
}

struct named_condition : runtime_condition {
  std::string type;
};

// RuntimeCondition: type 1, status 2, reason 3, message 4.
bool decode_condition(std::string_view message, named_condition& out) {
  wire_reader r(message);
  while (r.next()) {
    switch (r.field()) {
      case 1: out.type = r.bytes(); break;
      case 2: out.ready = r.number() != 0; break;
      case 3: out.reason = r.bytes(); break;
      case 4: out.message = r.bytes(); break;
      default: break;
    }
  }
  return r.ok();
}

// RuntimeStatus: conditions 1.
bool decode_conditions(std::string_view message, cri_status& out) {
  wire_reader r(message);
  while (r.next()) {
    if (r.field() != 1) continue;
    named_condition c;
    if (!decode_condition(r.bytes(), c)) return false;
    if (c.type == "RuntimeReady") out.runtime = c;
    if (c.type == "NetworkReady") out.network = c;
  }
  return r.ok();
}

// RuntimeHandler: name 1.
bool decode_handler(std::string_view message, cri_status& out) {
  wire_reader r(message);
  std::string name;
  while (r.next())
    if (r.field() == 1) name = r.bytes();
  out.handlers.push_back(std::move(name));
  return r.ok();
}

// Image: repo_tags 2, repo_digests 3, size 4.
bool decode_image(std::string_view message, runtime_image& out) {
  wire_reader r(message);
  std::vector<std::string> tags;
  while (r.next()) {
    switch (r.field()) {
      case 2: tags.emplace_back(r.bytes()); break;
      case 3: out.names.emplace_back(r.bytes()); break;
      case 4: out.size_bytes = r.number(); break;
      default: break;
    }
  }
  for (auto& t : tags) out.names.push_back(std::move(t));
  return r.ok();
}

// UInt64Value: value 1. FilesystemIdentifier: mountpoint 1.
bool decode_first(std::string_view message, std::uint64_t* number, std::string* text) {
  wire_reader r(message);
  while (r.next()) {
    if (r.field() != 1) continue;
    if (number) *number = r.number();
    if (text) *text = r.bytes();
  }
  return r.ok();
}

// FilesystemUsage: fs_id 2, used_bytes 3, inodes_used 4.
bool decode_filesystem(std::string_view message, cri_filesystem& out) {
  wire_reader r(message);
  bool fine = true;
  while (fine && r.next()) {
    switch (r.field()) {
      case 2: fine = decode_first(r.bytes(), nullptr, &out.mountpoint); break;
      case 3: fine = decode_first(r.bytes(), &out.used_bytes, nullptr); break;
      case 4: fine = decode_first(r.bytes(), &out.inodes_used, nullptr); break;
      default: break;
    }
  }
  return fine && r.ok();
}

}  // namespace

result<cri_version> decode_version_response(std::string_view message) {
  cri_version out;
  wire_reader r(message);
  while (r.next()) {
    switch (r.field()) {
      case 2: out.runtime_name = r.bytes(); break;
      case 3: out.runtime_version = r.bytes(); break;
      case 4: out.api_version = r.bytes(); break;
      default: break;
    }
  }
  if (!r.ok()) return malformed("VersionResponse");
  return out;
}

// StatusResponse: status 1, runtime_handlers 3.
result<cri_status> decode_status_response(std::string_view message) {
  cri_status out;
  wire_reader r(message);
  bool fine = true;
  while (fine && r.next()) {
    if (r.field() == 1) fine = decode_conditions(r.bytes(), out);
    if (r.field() == 3) fine = decode_handler(r.bytes(), out);
  }
  if (!fine || !r.ok()) return malformed("StatusResponse");
  return out;
}

// ListImagesResponse: images 1.
result<std::vector<runtime_image>> decode_list_images_response(std::string_view message) {
  std::vector<runtime_image> out;
  wire_reader r(message);
  while (r.next()) {
    if (r.field() != 1) continue;
    if (!decode_image(r.bytes(), out.emplace_back())) return malformed("ListImagesResponse");
  }
  if (!r.ok()) return malformed("ListImagesResponse");
  return out;
}

// ImageFsInfoResponse: image_filesystems 1.
result<std::vector<cri_filesystem>> decode_image_fs_info_response(std::string_view message) {
  std::vector<cri_filesystem> out;
  wire_reader r(message);
  while (r.next()) {
    if (r.field() != 1) continue;
    if (!decode_filesystem(r.bytes(), out.emplace_back())) return malformed("ImageFsInfoResponse");
  }
  if (!r.ok()) return malformed("ImageFsInfoResponse");
  return out;
}

}  // namespace kedge::node
