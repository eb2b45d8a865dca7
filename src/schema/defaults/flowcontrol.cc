// flowcontrol.apiserver.k8s.io/v1: pkg/apis/flowcontrol/v1/defaults.go
#include "schema/defaults/rules.h"

namespace kedge::schema::defaults {

namespace {

void queuing(const target& t) {
  t.fill_zero("handSize", 8);
  t.fill_zero("queues", 64);
  t.fill_zero("queueLengthLimit", 50);
}

void concurrency(const target& t, int shares) {
  t.fill("nominalConcurrencyShares", shares);
  t.fill("lendablePercent", 0);
}

constexpr rule rules[] = {
    {"flowcontrol/v1.FlowSchemaSpec", [](const target& t) { t.fill_zero("matchingPrecedence", 1000); }},
    {"flowcontrol/v1.ExemptPriorityLevelConfiguration", [](const target& t) { concurrency(t, 0); }},
    {"flowcontrol/v1.LimitedPriorityLevelConfiguration", [](const target& t) { concurrency(t, 30); }},
    {"flowcontrol/v1.QueuingConfiguration", queuing},
};

}  // namespace

std::span<const rule> flowcontrol_rules() { return rules; }

}  // namespace kedge::schema::defaults
