#include "node/dns/forward.h"

#include <algorithm>
#include <utility>

#include "base/random.h"
#include "crypto/files.h"
#include "node/dns/limits.h"
#include "reactor/loop.h"

namespace kedge::node::dns {

namespace {

// Who says so knows: there is such a name, or there isn't.
bool is_answer(const result<std::string>& said, const query& q) {
  auto r = said ? parse_reply(as_bytes(*said), q.question) : std::nullopt;
  return r && (r->code == rcode::no_error || r->code == rcode::no_name);
}

}  // namespace

forwarder::forwarder(std::vector<upstream_address> all, forward_options options)
    : options_(std::move(options)), cache_(options_.cache) {
  set_upstreams(all);
}

void forwarder::set_upstreams(const std::vector<upstream_address>& all) {
  if (std::ranges::equal(all, upstreams_, {}, {}, [](auto& u) -> auto& { return u->address(); })) return;
  upstreams_.clear();
  auto each = options_.upstream;
  each.check_by_stream = options_.always_tcp;
  for (auto& a : all) upstreams_.push_back(std::make_shared<upstream>(a, each));
  last_good_ = 0;
  away_until_ = {};
  loops_ = is_checked_ = false;
}

void forwarder::set_options(forward_options o) {
  if (o == options_) return;
  std::vector<upstream_address> all;
  for (auto& u : upstreams_) all.push_back(u->address());
  options_ = std::move(o);
  cache_ = cache(options_.cache);
  upstreams_.clear();
  set_upstreams(all);
}

std::string forwarder::upstreams_text() const {
  std::vector<std::string> all;
  for (auto& u : upstreams_) all.push_back(u->address().text());
  return join(all, ", ");
}

std::size_t forwarder::first_of(const upstreams& all) {
  using enum forward_options::order;
  switch (options_.first) {
    case last_good: return last_good_;
    case listed: return 0;
    case in_turn: return turn_++;
    case random: return all.empty() ? 0 : system_random().below(all.size());
  }
  return 0;
}

task<result<std::string>> forwarder::ask_upstreams(query q, bool over_tcp) {
  q.recursion_desired = true;  // what is kept is for whoever asks
  auto all = upstreams_;
  const auto options = options_;
  const auto first = first_of(all);
  const bool all_down = std::ranges::all_of(all, [](auto& u) { return u->is_down(); });
  result<std::string> answer = fail(errc::unavailable, "there is no resolver to ask");
  if (all_down && options.fail_fast && !all.empty()) co_return fail(errc::unavailable, "all resolvers are down");
  for (std::size_t i = 0; i < all.size(); ++i) {
    const auto which = (first + i) % all.size();
    auto& u = *all[which];
    // Where all seem to be down, the checks may be what fails.
    if (u.is_down() && !all_down) continue;
    const bool by_stream = options.always_tcp || (over_tcp && !options.prefer_udp);
    answer = co_await u.ask(q, by_stream);
    if (!answer) continue;
    auto r = parse_reply(as_bytes(*answer), q.question);
    if (r && r->truncated && over_tcp && !by_stream) {
      answer = co_await u.ask(q, true);
      r = answer ? parse_reply(as_bytes(*answer), q.question) : std::nullopt;
    }
    if (!r || r->code == rcode::server_failure || r->code == rcode::refused) continue;  // the next may know
    if (all == upstreams_) last_good_ = which;
    answer = cache_.keep(q, *std::move(answer), *r, reactor::loop::current().now());
    away_until_ = {};
    break;
  }
  co_return answer;
}

// Beside, once for each question; whoever asks meanwhile gets what there is.
void forwarder::refresh(query q, bool over_tcp) {
  const auto key = q.question;
  if (waiting_ >= options_.at_once || !refreshed_.insert(key).second) return;
  ++waiting_;
  tasks_.spawn([](forwarder& f, query asked, bool by_stream) -> task<void> {
    auto said = co_await f.ask_upstreams(asked, by_stream);
    if (!said) f.away_until_ = reactor::loop::current().now() + stale_recheck;
    f.refreshed_.erase(asked.question);
    --f.waiting_;
  }(*this, std::move(q), over_tcp));
}

task<result<std::string>> forwarder::ask(query q, bool over_tcp) {
  const auto now = reactor::loop::current().now();
  auto fits = [&](const std::string& m) { return !m.empty() && (over_tcp || m.size() <= q.udp_bytes); };
  if (auto kept = cache_.find(q, now); fits(kept)) co_return kept;
  auto stale = cache_.find_stale(q, now);
  if (!fits(stale)) stale.clear();
  if (!stale.empty() && (options_.cache.stale_at_once || now < away_until_)) {
    refresh(std::move(q), over_tcp);
    co_return stale;
  }
  if (loops_) co_return fail(errc::unavailable, upstreams_text() + " asks this node again: a loop");
  if (waiting_ >= options_.at_once) co_return fail(errc::exhausted, "too many questions wait for resolvers");
  struct one {
    std::size_t& count;
    explicit one(std::size_t& c) : count(c) { ++count; }
    ~one() { --count; }
  } waits(waiting_);
  if (stale.empty()) co_return co_await ask_upstreams(q, over_tcp);
  auto said = co_await reactor::with_deadline(ask_upstreams(q, over_tcp), now + stale_patience);
  if (is_answer(said, q)) co_return said;
  if (!said) away_until_ = reactor::loop::current().now() + stale_recheck;
  // Who is only slow is heard yet.
  if (!said && said.error().code == errc::timeout) refresh(q, over_tcp);
  co_return stale;
}

std::vector<reactor::endpoint> parse_resolvers(std::string_view text, const std::vector<ip_address>& own) {
  std::vector<reactor::endpoint> all;
  for (auto line : split(text, '\n')) {
    line = trim(line);
    constexpr std::string_view word = "nameserver";
    if (!line.starts_with(word) || line.size() == word.size() ||
        (line[word.size()] != ' ' && line[word.size()] != '\t'))
      continue;
    auto rest = trim(line.substr(word.size()));
    auto address = ip_address::parse(rest.substr(0, rest.find_first_of(" \t#;%")));
    if (!address || std::ranges::find(own, *address) != own.end()) continue;
    if (all.size() < upstreams_max) all.push_back({address->text(), 53});
  }
  return all;
}

std::vector<reactor::endpoint> find_resolvers(const std::string& configured, const std::vector<ip_address>& own) {
  auto read = [&](const std::string& path) {
    return parse_resolvers(crypto::read_file(path).value_or(std::string()), own);
  };
  if (!configured.empty()) return read(configured);
  auto of = [](const reactor::endpoint& e) { return *ip_address::parse(e.address); };
  auto usable = [&](const std::vector<reactor::endpoint>& all) {
    return !all.empty() && std::ranges::all_of(all, [&](auto& e) {
      return of(e).is_global_unicast() || e.address == "169.254.169.254";
    });
  };
  auto machine = read("/etc/resolv.conf");
  if (usable(machine)) return machine;
  if (auto resolved = read("/run/systemd/resolve/resolv.conf"); usable(resolved)) return resolved;
  // A resolver on this machine itself serves this process too, which pods' own could not be given.
  if (!machine.empty()) return machine;
  return {{"8.8.8.8", 53}, {"2001:4860:4860::8888", 53}};
}

}  // namespace kedge::node::dns
