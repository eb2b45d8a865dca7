#include "node/volumes/csi_messages.h"

#include "base/protobuf_wire.h"
#include "node/volumes/limits.h"

namespace kedge::node {

namespace {

// csi.v1.VolumeCapability.AccessMode.Mode
enum class mode : unsigned char {
  unknown = 0,
  single_node_writer = 1,
  multi_node_reader_only = 3,
  multi_node_multi_writer = 5,
  single_node_single_writer = 6,
  single_node_multi_writer = 7
};

// Drivers that know no difference between one pod and one node take ReadWriteOncePod for ReadWriteOnce.
mode mode_of(std::string_view access, bool tells_pods) {
  if (access == "ReadWriteOnce") return tells_pods ? mode::single_node_multi_writer : mode::single_node_writer;
  if (access == "ReadWriteOncePod") return tells_pods ? mode::single_node_single_writer : mode::single_node_writer;
  if (access == "ReadOnlyMany") return mode::multi_node_reader_only;
  if (access == "ReadWriteMany") return mode::multi_node_multi_writer;
  return mode::unknown;
}

void put_texts(wire::writer& w, int id, const csi_texts& texts) {
  for (auto& [key, text] : texts) w.message(id, wire::writer().text(1, key).text(2, text).take());
}

std::string capability(const csi_access& a, const csi_capabilities& has) {
  wire::writer w;
  if (a.block) {
    w.message(1, {});
  } else {
    wire::writer mount;
    mount.text(1, a.fs_type);
    for (auto& flag : a.mount_flags) mount.message(2, flag);
    if (a.group) mount.text(3, std::to_string(*a.group));
    w.message(2, mount.take());
  }
  auto m = mode_of(a.access_mode, has.single_node_multi_writer);
  return w.message(3, wire::writer().number(1, static_cast<std::uint64_t>(m)).take()).take();
}

bool decode_text_entry(std::string_view message, csi_texts& out) {
  std::string key, text;
  wire::fields f(message);
  while (f.next()) (f.field() == 1 ? key : text) = f.bytes();
  if (!f.ok() || out.size() >= csi_texts_max) return false;
  out.insert_or_assign(std::move(key), std::move(text));
  return true;
}

std::unexpected<error> malformed(std::string_view what) {
  return fail(errc::protocol, "a CSI driver's " + std::string(what) + " is malformed");
}

}  // namespace

std::string encode_stage(const csi_request& r, const csi_capabilities& has) {
  wire::writer w;
  w.text(1, r.volume_id);
  put_texts(w, 2, r.publish_context);
  w.text(3, r.staging_path).message(4, capability(r.access, has));
  put_texts(w, 5, r.secrets);
  put_texts(w, 6, r.volume_context);
  return w.take();
}

std::string encode_publish(const csi_request& r, const csi_capabilities& has) {
  wire::writer w;
  w.text(1, r.volume_id);
  put_texts(w, 2, r.publish_context);
  w.text(3, r.staging_path).text(4, r.target_path).message(5, capability(r.access, has)).number(6, r.read_only);
  put_texts(w, 7, r.secrets);
  put_texts(w, 8, r.volume_context);
  return w.take();
}

std::string encode_unstage(std::string_view volume_id, std::string_view staging_path) {
  return wire::writer().text(1, volume_id).text(2, staging_path).take();
}
std::string encode_unpublish(std::string_view volume_id, std::string_view target_path) {
  return wire::writer().text(1, volume_id).text(2, target_path).take();
}

std::string encode_expand(const csi_expansion& e, const csi_capabilities& has) {
  wire::writer w;
  w.text(1, e.volume_id).text(2, e.volume_path);
  w.message(3, wire::writer().number(1, static_cast<std::uint64_t>(e.bytes)).take());
  w.text(4, e.staging_path).message(5, capability(e.access, has));
  put_texts(w, 6, e.secrets);
  return w.take();
}

std::string encode_stats_request(std::string_view volume_id, std::string_view volume_path) {
  return wire::writer().text(1, volume_id).text(2, volume_path).take();
}

result<csi_node_info> decode_node_info(std::string_view message) {
  csi_node_info out;
  bool fine = true;
  wire::fields f(message);
  while (f.next()) switch (f.field()) {
      case 1: out.id = f.bytes(); break;
      case 2: out.volumes_max = static_cast<std::int64_t>(f.number()); break;
      case 3:
        fine &= wire::read_fields(f.bytes(), [&](const wire::field& segment) {
          return segment.id != 1 || decode_text_entry(segment.data, out.topology);
        });
        break;
    }
  if (!f.ok() || !fine) return malformed("NodeGetInfoResponse");
  return out;
}

result<csi_capabilities> decode_capabilities(std::string_view message) {
  csi_capabilities out;
  auto take = [&](std::uint64_t type) {
    switch (type) {
      case 1: out.stage = true; break;
      case 2: out.stats = true; break;
      case 3: out.expand = true; break;
      case 5: out.single_node_multi_writer = true; break;
      case 6: out.mount_group = true; break;
      default: break;
    }
  };
  const bool fine = wire::read_fields(message, [&](const wire::field& one) {
    return one.id != 1 || wire::read_fields(one.data, [&](const wire::field& rpc) {
             return rpc.id != 1 || wire::read_fields(rpc.data, [&](const wire::field& type) {
                      if (type.id == 1) take(type.number);
                    });
           });
  });
  if (!fine) return malformed("NodeGetCapabilitiesResponse");
  return out;
}

result<csi_stats> decode_stats(std::string_view message) {
  csi_stats out;
  const bool fine = wire::read_fields(message, [&](const wire::field& one) {
    if (one.id != 1) return true;
    csi_usage usage;
    std::uint64_t unit = 0;
    wire::fields f(one.data);
    while (f.next()) switch (f.field()) {
        case 1: usage.available = static_cast<std::int64_t>(f.number()); break;
        case 2: usage.total = static_cast<std::int64_t>(f.number()); break;
        case 3: usage.used = static_cast<std::int64_t>(f.number()); break;
        case 4: unit = f.number(); break;
      }
    if (unit == 1) out.bytes = usage;
    if (unit == 2) out.inodes = usage;
    return f.ok();
  });
  if (!fine) return malformed("NodeGetVolumeStatsResponse");
  return out;
}

}  // namespace kedge::node
