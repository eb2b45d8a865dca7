#include "supervisor/proxied_links.h"

#include <doctest/doctest.h>

#include <random>

using namespace kedge;
using namespace kedge::supervisor;

namespace {

const proxied_origin origin{.prefix = "/p", .target = "10.42.0.7:80", .request = "localhost:8001"};

std::string rewritten(std::string_view page, std::size_t piece = std::string_view::npos) {
  link_rewriter r(origin);
  std::string out;
  for (std::size_t at = 0; at < page.size(); at += std::min(piece, page.size() - at))
    r.feed(page.substr(at, piece), out);
  r.finish(out);
  return out;
}

}  // namespace

TEST_CASE("a link of the page's host leads through the proxy, others stay") {
  for (auto& [url, wanted] : {std::pair{"/x", "/p/x"},
                              {"/", "/p/"},
                              {"/x?q=/y#z", "/p/x?q=/y#z"},
                              {"///x", "/p///x"},
                              {"http://10.42.0.7:80/x", "/p/x"},
                              {"//10.42.0.7:80/x/", "/p/x/"},
                              {"http://localhost:8001/x", "http://localhost:8001/p/x"},
                              {"http://localhost:8001/p/x", ""},
                              {"/p/x", ""},
                              {"http://10.42.0.7:80/p/x", "/p/x"},
                              {"http://10.42.0.7/x", ""},
                              {"http://10.42.0.7:80", ""},
                              {"http://elsewhere/x", ""},
                              {"//elsewhere/x", ""},
                              {"http://user@10.42.0.7:80/x", ""},
                              {"x", ""},
                              {"../x", ""},
                              {"?q=/x", ""},
                              {"#/x", ""},
                              {"mailto:a@b", ""},
                              {"javascript:/x/", "/p/x/"},
                              {" /x", ""},
                              {"", ""}}) {
    CAPTURE(url);
    auto got = proxied_link(url, origin);
    if (std::string_view(wanted).empty())
      CHECK((!got || *got == url));
    else
      CHECK(got.value_or("stays") == wanted);
  }
}

TEST_CASE("a page's links are rewritten where HTML has links, and nothing else is touched") {
  struct row {
    const char *page, *wanted;  // nullptr: as it is
  };
  const row rows[] = {
      {R"(<a href="/rewriteme">x</a>)", R"(<a href="/p/rewriteme">x</a>)"},
      {R"(<A HREF='/x'>)", R"(<A HREF='/p/x'>)"},
      {R"(<a href=/x>)", R"(<a href=/p/x>)"},
      {R"(<a href=/x class=y>)", R"(<a href=/p/x class=y>)"},
      {"<a\n href \t=\r '/x'\n>", "<a\n href \t=\r '/p/x'\n>"},
      {R"(<img src="/a" longdesc="/b" alt="/c"/>)", R"(<img src="/p/a" longdesc="/p/b" alt="/c"/>)"},
      {R"(<form action="/a?x=1&amp;y=2"><button formaction=/b></form>)",
       R"(<form action="/p/a?x=1&amp;y=2"><button formaction=/p/b></form>)"},
      {R"(<a title=">" href="/x">)", R"(<a title=">" href="/p/x">)"},
      {R"(<a/href="/x">)", R"(<a/href="/p/x">)"},
      {R"(<a href="http://10.42.0.7:80/x">)", R"(<a href="/p/x">)"},
      {R"(<a href="">)", nullptr},
      {R"(<a href>)", nullptr},
      {R"(<a href=>)", nullptr},
      {R"(<a href="relative">)", nullptr},
      {R"(<b href="/x">)", nullptr},
      {R"(<a src="/x">)", nullptr},
      {R"(<a hreflang="/x">)", nullptr},
      {R"(<formactionx formaction="/x">)", nullptr},
      {R"(</a href="/x">)", nullptr},
      {R"(<!-- <a href="/x"> -->)", nullptr},
      {R"(<!--><a href="/x">)", R"(<!--><a href="/p/x">)"},
      {R"(<!-- --!><a href="/x">)", R"(<!-- --!><a href="/p/x">)"},
      {R"(<!DOCTYPE html><a href="/x">)", R"(<!DOCTYPE html><a href="/p/x">)"},
      {R"(<? <a href="/x">)", nullptr},
      {R"(a < b <a href="/x">)", R"(a < b <a href="/p/x">)"},
      {R"(<<a href="/x">)", R"(<<a href="/p/x">)"},
      {R"(<script src="/s">var x = '<a href="/x">' </scripty></script ><a href="/x">)",
       R"(<script src="/p/s">var x = '<a href="/x">' </scripty></script ><a href="/p/x">)"},
      {R"(<TITLE><a href="/x"></TITLE><a href="/x">)", R"(<TITLE><a href="/x"></TITLE><a href="/p/x">)"},
      {R"(<style><</<</style><a href="/x">)", R"(<style><</<</style><a href="/p/x">)"},
      {R"(<plaintext><a href="/x"></plaintext><a href="/x">)", nullptr},
      {R"(<a href="/x)", nullptr},
      {"", nullptr}};
  for (auto& r : rows) {
    CAPTURE(r.page);
    const std::string_view wanted = r.wanted ? r.wanted : r.page;
    for (std::size_t piece : {1, 2, 3, 1000}) CHECK(rewritten(r.page, piece) == wanted);
  }
}

TEST_CASE("a prefix can't break out of the attribute that it is put into") {
  link_rewriter r({.prefix = R"(/p'">&<)", .target = {}, .request = {}});
  std::string out;
  r.feed(R"(<a href='/x'>)", out);
  CHECK(out == R"(<a href='/p&#39;&#34;&gt;&amp;&lt;/x'>)");
}

TEST_CASE("what is held of a page is bounded, and nothing of it is lost") {
  const auto page = "<a href=\"/" + std::string(1 << 20, 'x') + "\">";
  link_rewriter r(origin);
  std::string out;
  for (std::size_t at = 0; at < page.size(); at += 1000) {
    r.feed(std::string_view(page).substr(at, 1000), out);
    REQUIRE(std::min(at + 1000, page.size()) - out.size() < 10'000);
  }
  r.finish(out);
  CHECK(out == page);
}

TEST_CASE("how a page is cut into pieces changes nothing") {
  std::mt19937 random(7);
  const std::string_view words[] = {
      "<",        ">",         "/",    "a",   " href", "=", "\"", "'", "/x", "<a href=\"/x\">",
      "<script>", "</script>", "<!--", "-->", "title", " "};
  for (int i = 0; i < 5000; ++i) {
    std::string page;
    for (auto n = random() % 30; n > 0; --n) page += words[random() % std::size(words)];
    const auto whole = rewritten(page);
    REQUIRE_MESSAGE(rewritten(page, 1) == whole, page);
    REQUIRE_MESSAGE(rewritten(page, 1 + random() % 7) == whole, page);
    // Without its prefixes it is what it was.
    std::string back = whole;
    for (std::size_t at = 0; (at = back.find("/p/x", at)) != back.npos;) back.erase(at, 2);
    REQUIRE(back == page);
  }
}
