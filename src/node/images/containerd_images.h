// containerd_images.h: containerd's own services (api/services/*/v1) as far as importing images needs them: CRI has no
// words for it. All in the namespace of CRI's images, "k8s.io".
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "net/grpc.h"
#include "node/images/archive.h"

namespace kedge::node {

// Bytes on their way into containerd's content store.
class content_writer {
 public:
  content_writer(std::unique_ptr<net::grpc::call> call, std::string ref)
      : call_(std::move(call)), ref_(std::move(ref)) {}
  task<result<void>> write(std::string piece);
  // What was written is content from now on. Success too when it was there already.
  task<result<void>> commit(std::string digest);

 private:
  task<result<void>> exchange(std::string message);

  std::unique_ptr<net::grpc::call> call_;
  std::string ref_;
  std::uint64_t offset_ = 0;
};

class containerd_images {
 public:
  containerd_images(std::string socket, reactor::network* network);

  // What is written under a lease isn't collected while that stands; it ends by itself after a day.
  task<result<void>> begin_lease(std::string id);
  task<void> end_lease(std::string id);

  task<result<bool>> has_content(std::string digest);
  // `ref` names the way of these bytes: another start goes on where this one ended.
  task<result<content_writer>> write_content(std::string ref);
  // Keeps `children` as long as `digest`.
  task<result<void>> label_content(std::string digest, std::vector<std::string> children);

  // Says which repositories of which registries it is of, as a pull does. Success too when it isn't there.
  task<result<void>> label_origins(std::string digest, std::map<std::string, std::vector<std::string>> registries);

  // Makes it, or lets the name mean this from now on; pinned: never collected.
  task<result<void>> put_image(archive_image image);
  task<result<void>> pin(std::string name);
  task<result<std::vector<std::string>>> names();

 private:
  task<result<std::string>> call(std::string method, std::string message);
  net::http::headers metadata() const;

  net::grpc::channel channel_;
  std::string lease_;
};

}  // namespace kedge::node
