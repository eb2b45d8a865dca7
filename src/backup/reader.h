// reader.h: what a snapshot file holds, block by block, and whether it is whole. Blocking, one thread at a time.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "backup/source.h"

namespace kedge::backup {

class reader final : public source {
 public:
  // Errors name the file. errc::unsupported: of a newer version; errc::invalid: no snapshot of kedge's; errc::corrupt:
  // its header is damaged.
  static result<reader> open(const std::string& path);
  reader(reader&& other) noexcept;
  reader& operator=(reader&&) = delete;
  ~reader() override;

  const header& about() const noexcept override { return about_; }
  std::uint64_t bytes() const noexcept override { return size_; }
  // Whether it ends as a whole file does: cheap, for lists.
  bool has_end() const;

  // errc::unauthenticated: this password is not the one that sealed it.
  result<void> unlock(std::string_view password);

  // After unlock().
  result<std::optional<std::vector<record>>> next() override;
  bool ends() const noexcept override { return ended_; }

 private:
  reader(std::string path, int file) : path_(std::move(path)), file_(file) {}
  result<std::string> read(std::size_t size);
  result<std::pair<frame_head, std::string>> read_frame();
  error damaged(std::string_view what) const;

  std::string path_, key_;
  int file_;
  std::uint64_t size_ = 0, at_ = 0, block_ = 0;
  header about_;
  totals seen_;
  bool ended_ = false;
};

// What can be had of a file.
struct examined {
  header about;
  std::uint64_t bytes = 0, objects = 0;  // objects: that can be read
  std::vector<std::string> damage;       // in words; empty: it is whole
};
// Reads all of it; `told` after each block how many objects there were, and how many were saved.
result<examined> examine(source& in, const std::function<void(std::uint64_t done, std::uint64_t of)>& told);

}  // namespace kedge::backup
