// fronts.h: the part that opens a front on every loop: from here on requests are answered.
#pragma once

#include "server/gateway.h"
#include "server/identity.h"
#include "server/part.h"

namespace kedge::server {

class fronts final : public part {
 public:
  fronts(shared& s, gateway& g, identity& i) : shared_(s), gateway_(g), identity_(i) {}

  std::string_view name() const noexcept override { return "fronts"; }
  task<result<void>> start() override;
  task<void> stop() override;

  // The home loop's: for what acts in the server's own name.
  front& own() noexcept { return *gateway_.here(); }

 private:
  void add_checks();
  void start_issuers();
  void start_authorization();
  task<void> take_authentication(std::string text);
  task<void> take_authorization(std::string text);
  void follow_encryption();
  task<void> take_encryption(std::string text);
  // Counts that a file was taken over while the server runs, or was not.
  void reload(std::string_view what, bool good);

  shared& shared_;
  gateway& gateway_;
  identity& identity_;
  reactor::scope following_;  // of files that may change
};

}  // namespace kedge::server
