// manifests.h: the part that applies what lies in this server's folder of manifests, and brings what K3s packages
// there (control/addons/).
#pragma once

#include <memory>

#include "api/objects.h"
#include "control/addons/deployer.h"
#include "control/addons/traefik.h"
#include "server/fronts.h"
#include "server/membership.h"
#include "server/part.h"

namespace kedge::server {

class manifests final : public part {
 public:
  manifests(shared& s, fronts& f, membership& m) : shared_(s), fronts_(f), membership_(m) {}

  std::string_view name() const noexcept override { return "manifests"; }
  task<result<void>> start() override;
  task<void> stop() override;

 private:
  task<void> keep();
  control::addons::deploy_settings settings(const control::addons::traefik_charts& charts) const;

  shared& shared_;
  fronts& fronts_;
  membership& membership_;
  std::unique_ptr<api::objects> client_;
  std::unique_ptr<control::addons::deployer> deployer_;
  reactor::scope running_;
};

}  // namespace kedge::server
