// content_store.h: what containerd has of images, read from its own services (api/services/content/v1, images/v1): CRI
// has no words for it. All in the namespace of CRI's images, "k8s.io": what other users of containerd have stays
// theirs.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "net/grpc.h"

namespace kedge::node {

struct content_info {
  std::uint64_t size = 0;
  std::vector<std::string> registries;  // that it was pulled from, by containerd's labels
};

// Bytes on their way out of the store.
class content_reader {
 public:
  explicit content_reader(std::unique_ptr<net::grpc::call> call) : call_(std::move(call)) {}
  // Up to a MiB; empty at the end.
  task<result<std::string>> next();

 private:
  std::unique_ptr<net::grpc::call> call_;
};

class content_store {
 public:
  content_store(std::string socket, reactor::network* network);

  // What the image's name means now. errc::not_found: there is no such image.
  task<result<std::string>> digest_of(std::string image_name);
  // errc::not_found: it isn't there, or not whole.
  task<result<content_info>> info(std::string digest);
  task<result<content_reader>> read(std::string digest);

 private:
  task<result<std::string>> call(std::string method, std::string message);

  net::grpc::channel channel_;
};

}  // namespace kedge::node
