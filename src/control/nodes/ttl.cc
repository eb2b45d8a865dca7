// ttl.cc: how long a kubelet may keep Secrets and ConfigMaps without asking, by the number of nodes (ttl-controller).
#include <array>

#include "base/strings.h"
#include "control/controllers.h"
#include "control/resources.h"

namespace kedge::control {
namespace {

constexpr std::string_view ttl_note = "node.alpha.kubernetes.io/ttl";

// From so many nodes on, and down to so few: between them it stays as it is.
struct range {
  std::size_t least, most;
  int seconds;
};
constexpr std::array<range, 5> ranges{
    {{0, 100, 0}, {90, 500, 15}, {450, 1000, 30}, {900, 2000, 60}, {1800, ~std::size_t(0), 300}}};

class ttl final : public controller {
 public:
  std::vector<source> sources() override {
    return {{nodes, [this](const seen& s, keys& k) {
               if (s.deleted() && nodes_ > 0) --nodes_;
               if (s.added()) ++nodes_;
               if (nodes_ > ranges[at_].most) ++at_;
               if (nodes_ < ranges[at_].least) --at_;
               living_key(s, k);
             }}};
  }

  plan look(const view& cluster, const std::string& key, const moment& now) override {
    plan p;
    auto node = cluster.get(nodes, key);
    if (!node || now.refused) return p;
    auto wanted = ranges[at_].seconds;
    auto has = parse_int((*node)["metadata"]["annotations"][ttl_note].as_string());
    if (has && *has == wanted) return p;
    auto next = *node;
    next.member("metadata").member("annotations").set(ttl_note, std::to_string(wanted));
    return p.write(update_of(nodes, std::move(next))), p;
  }

 private:
  std::size_t nodes_ = 0, at_ = 0;
};

}  // namespace

std::unique_ptr<controller> make_ttl(const settings&) { return std::make_unique<ttl>(); }

}  // namespace kedge::control
