// dns_fuzz.cc: DNS messages of anybody: as a query, and as a resolver's answer; what is answered is always a message
// that can be read.
#include "base/assert.h"
#include "json/parse.h"
#include "node/dns/custom.h"
#include "node/dns/forward.h"
#include "node/dns/limits.h"
#include "node/dns/names.h"

using namespace kedge;
using namespace kedge::node;
using namespace kedge::node::dns;

namespace {

struct cluster {
  service_view view;
  names zone{{.domain = "cluster.local", .servers = {*ip_address::parse("10.43.0.10")}}, view};
  seeded_random random{1};
  cluster() {
    view.services.begin_list();
    for (
        auto* s :
        {R"({"metadata":{"namespace":"a","name":"b"},"spec":{"clusterIPs":["10.43.0.1"],"ports":[{"name":"p","port":1}]}})",
         R"({"metadata":{"namespace":"a","name":"c"},"spec":{"type":"ExternalName","externalName":"c.a.svc.cluster.local"}})",
         R"({"metadata":{"namespace":"a","name":"d"},"spec":{"clusterIP":"None","ports":[{"name":"p","port":1}]}})"})
      view.services.set(*json::parse(s));
    view.services.end_list();
    view.slices.begin_list();
    view.slices.set(*json::parse(
        R"({"metadata":{"namespace":"a","name":"d1","labels":{"kubernetes.io/service-name":"d"}},"addressType":"IPv4","ports":[{"name":"p","port":1}],"endpoints":[{"addresses":["10.42.0.1"],"hostname":"h"}]})"));
    view.slices.end_list();
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  // As a configuration's text, too: whatever it is, it is read or its fault is told.
  std::string text(reinterpret_cast<const char*>(data), size);
  auto configured =
      read_custom({.custom = {{"a.override", text}, {"b.server", text}}, .node_hosts = text, .corefile = text});
  (void)configured.zone_of("b.a.test").rewritten("b.a.test");
  static cluster c;
  bytes message{reinterpret_cast<const std::byte*>(data), size};
  auto p = parse_query(message);
  if (p.query) {
    auto found = c.zone.find(*p.query, 1, c.random);
    auto a = found ? found->answer : answer{};
    for (std::size_t most : {plain_udp_bytes, message_bytes_max}) {
      auto said = write_answer(*p.query, a, most);
      kedge_assert(said.size() <= most);
      auto r = parse_reply(as_bytes(said), p.query->question);
      kedge_assert(r && r->id == p.query->id && r->code == a.code);
    }
    cache kept;
    auto said = write_answer(*p.query, a, message_bytes_max);
    if (auto r = parse_reply(as_bytes(said), p.query->question)) {
      kept.keep(*p.query, said, *r, time_point());
      (void)kept.find(*p.query, time_point() + std::chrono::seconds(1));
    }
  }
  // As an answer to the question that stands in it.
  if (size > 16) {
    auto question = as_text(message).substr(12, 16);
    if (auto r = parse_reply(message, question))
      for (auto at : r->ttls) kedge_assert(at + 4 <= size);
  }
  (void)parse_resolvers(as_text(message), {});
  return 0;
}
