#include "node/runtime/cri_messages.h"

#include "base/protobuf_wire.h"

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
  return wire::read_fields(message, [&](const wire::field& f) {
    switch (f.id) {
      case 1: out.type = f.data; break;
      case 2: out.ready = f.number != 0; break;
      case 3: out.reason = f.data; break;
      case 4: out.message = f.data; break;
      default: break;
    }
  });
}

// RuntimeStatus: conditions 1.
bool decode_conditions(std::string_view message, cri_status& out) {
  return wire::read_fields(message, [&](const wire::field& f) {
    if (f.id != 1) return true;
    named_condition c;
    if (!decode_condition(f.data, c)) return false;
    if (c.type == "RuntimeReady") out.runtime = c;
    if (c.type == "NetworkReady") out.network = c;
    return true;
  });
}

// RuntimeHandler: name 1, features 2. RuntimeHandlerFeatures: recursive_read_only_mounts 1, user_namespaces 2.
bool decode_handler(std::string_view message, cri_status& out) {
  auto& h = out.handlers.emplace_back();
  return wire::read_fields(message, [&](const wire::field& f) {
    if (f.id == 1) h.name = f.data;
    return f.id != 2 || wire::read_fields(f.data, [&](const wire::field& feature) {
             if (feature.id == 1) h.recursive_read_only = feature.number != 0;
             if (feature.id == 2) h.user_namespaces = feature.number != 0;
           });
  });
}

// Image: repo_tags 2, repo_digests 3, size 4.
bool decode_image(std::string_view message, runtime_image& out) {
  std::vector<std::string> tags;
  bool fine = wire::read_fields(message, [&](const wire::field& f) {
    switch (f.id) {
      case 2: tags.emplace_back(f.data); break;
      case 3: out.names.emplace_back(f.data); break;
      case 4: out.size_bytes = f.number; break;
      default: break;
    }
  });
  for (auto& t : tags) out.names.push_back(std::move(t));
  return fine;
}

// UInt64Value: value 1. FilesystemIdentifier: mountpoint 1.
bool decode_first(std::string_view message, std::uint64_t* number, std::string* text) {
  return wire::read_fields(message, [&](const wire::field& f) {
    if (f.id != 1) return;
    if (number) *number = f.number;
    if (text) *text = f.data;
  });
}

// FilesystemUsage: fs_id 2, used_bytes 3, inodes_used 4.
bool decode_filesystem(std::string_view message, cri_filesystem& out) {
  return wire::read_fields(message, [&](const wire::field& f) {
    switch (f.id) {
      case 2: return decode_first(f.data, nullptr, &out.mountpoint);
      case 3: return decode_first(f.data, &out.used_bytes, nullptr);
      case 4: return decode_first(f.data, &out.inodes_used, nullptr);
      default: return true;
    }
  });
}

}  // namespace

result<cri_version> decode_version_response(std::string_view message) {
  cri_version out;
  bool fine = wire::read_fields(message, [&](const wire::field& f) {
    switch (f.id) {
      case 2: out.runtime_name = f.data; break;
      case 3: out.runtime_version = f.data; break;
      case 4: out.api_version = f.data; break;
      default: break;
    }
  });
  if (!fine) return malformed("VersionResponse");
  return out;
}

// StatusResponse: status 1, runtime_handlers 3.
result<cri_status> decode_status_response(std::string_view message) {
  cri_status out;
  bool fine = wire::read_fields(message, [&](const wire::field& f) {
    if (f.id == 1) return decode_conditions(f.data, out);
    return f.id != 3 || decode_handler(f.data, out);
  });
  if (!fine) return malformed("StatusResponse");
  return out;
}

// ListImagesResponse: images 1.
result<std::vector<runtime_image>> decode_list_images_response(std::string_view message) {
  std::vector<runtime_image> out;
  bool fine = wire::read_fields(
      message, [&](const wire::field& f) { return f.id != 1 || decode_image(f.data, out.emplace_back()); });
  if (!fine) return malformed("ListImagesResponse");
  return out;
}

// ImageFsInfoResponse: image_filesystems 1.
result<std::vector<cri_filesystem>> decode_image_fs_info_response(std::string_view message) {
  std::vector<cri_filesystem> out;
  bool fine = wire::read_fields(
      message, [&](const wire::field& f) { return f.id != 1 || decode_filesystem(f.data, out.emplace_back()); });
  if (!fine) return malformed("ImageFsInfoResponse");
  return out;
}

// RuntimeConfigResponse: linux 1, of it cgroup_driver 1 (SYSTEMD 0, CGROUPFS 1).
result<bool> decode_uses_systemd(std::string_view message) {
  bool said = false;
  std::uint64_t driver = 0;
  bool fine = wire::read_fields(message, [&](const wire::field& f) {
    if (f.id != 1) return true;
    said = true;
    return decode_first(f.data, &driver, nullptr);
  });
  if (!fine) return malformed("RuntimeConfigResponse");
  return said && driver == 0;
}

}  // namespace kedge::node
