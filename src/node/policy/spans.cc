#include "node/policy/spans.h"

#include <algorithm>

#include "node/nft/expression.h"

namespace kedge::node {

namespace {

// The number after `s` and the one before it; empty behind the last and before the first.
std::string after(std::string s) {
  for (auto i = s.rbegin(); i != s.rend(); ++i) {
    auto n = static_cast<unsigned char>(*i);
    *i = static_cast<char>(n + 1);
    if (n != 0xff) return s;
  }
  return {};
}
std::string before(std::string s) {
  for (auto i = s.rbegin(); i != s.rend(); ++i) {
    auto n = static_cast<unsigned char>(*i);
    *i = static_cast<char>(n - 1);
    if (n != 0) return s;
  }
  return {};
}
span_of span_of_range(const ip_range& r) {
  auto from = nft::key_address(r.network()), to = from;
  for (unsigned bit = r.prefix(); bit < to.size() * 8; ++bit)
    to[bit / 8] = static_cast<char>(to[bit / 8] | 0x80 >> bit % 8);
  return {std::move(from), std::move(to)};
}

}  // namespace

std::vector<span_of> united(std::vector<span_of> all) {
  std::ranges::sort(all);
  std::vector<span_of> out;
  for (auto& s : all) {
    if (!out.empty()) {
      auto next = after(out.back().to);
      if (next.empty() || next >= s.from) {  // touches or overlaps
        if (out.back().to < s.to) out.back().to = std::move(s.to);
        continue;
      }
    }
    out.push_back(std::move(s));
  }
  return out;
}

std::vector<span_of> without(const std::vector<span_of>& all, const std::vector<span_of>& except) {
  std::vector<span_of> out;
  auto e = except.begin();
  for (auto s : all) {
    while (e != except.end() && e->to < s.from) ++e;
    bool left = true;
    for (auto i = e; i != except.end() && s.to >= i->from; ++i) {
      if (s.from < i->from) out.push_back({s.from, before(i->from)});
      s.from = after(i->to);
      if (s.from.empty() || s.to < s.from) {
        left = false;
        break;
      }
    }
    if (left) out.push_back(std::move(s));
  }
  return out;
}

std::vector<span_of> addresses_of_blocks(const std::vector<policy_peer>& peers, bool v4) {
  std::vector<span_of> all;
  for (auto& p : peers) {
    if (!p.block || p.block->range.is_v4() != v4) continue;
    std::vector<span_of> except;
    for (auto& r : p.block->except)
      if (r.is_v4() == v4) except.push_back(span_of_range(r));
    for (auto& s : without({span_of_range(p.block->range)}, united(std::move(except)))) all.push_back(std::move(s));
  }
  return united(std::move(all));
}

std::vector<port_span> numbers_of_ports(const std::vector<policy_port>& ports) {
  std::vector<port_span> all, out;
  for (auto& p : ports)
    if (p.name.empty()) all.push_back({p.protocol, p.first, p.last});
  std::ranges::sort(all);
  for (auto& p : all) {
    if (!out.empty() && out.back().protocol == p.protocol && p.first <= unsigned(out.back().last) + 1)
      out.back().last = std::max(out.back().last, p.last);
    else
      out.push_back(p);
  }
  return out;
}

}  // namespace kedge::node
