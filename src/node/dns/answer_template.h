// answer_template.h: CoreDNS' plugin template: answers made of the question's name.
//
//   template IN A intern.example {
//     match ^host-(?P<n>[0-9]+)[.]intern[.]example[.]$
//     answer "{{ .Name }} 60 IN A 192.0.2.{{ .Group.n }}"
//     fallthrough
//   }
//
// Of Go's templates what names the question: .Name, .Zone, .Class, .Type, .Group.NAME, index .Match N. Records of types
// A, AAAA, CNAME, PTR and TXT. All else is refused where it is read, by an error that names it.
#pragma once

#include <re2/re2.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "node/dns/corefile.h"
#include "node/dns/message.h"

namespace kedge::node::dns {

using pattern = std::shared_ptr<const re2::RE2>;
// Go's syntax, which is RE2's; matching takes time linear in the name. `left`: how many may still be compiled.
result<pattern> compile_pattern(const std::string& text, std::size_t& left);
// What the pattern's groups are in `name` (with its last dot), the whole first; nullopt: no match.
std::optional<std::vector<std::string>> groups_of(const re2::RE2& p, const std::string& name);

class answer_template {
 public:
  // `zone`: of the block, for one that names none. `patterns_left`: as compile_pattern's.
  static result<answer_template> read(const corefile_line& line, const std::string& zone, std::size_t& patterns_left);

  struct outcome {
    std::optional<dns::answer> answer;
    bool goes_on = true;  // without an answer: the next is asked
  };
  outcome find(const query& q) const;

 private:
  // A record's text in pieces: words as they stand, and what is filled in.
  struct piece {
    enum class kind : unsigned char { text, name, zone, klass, kind_of_type, group } is = kind::text;
    std::string text;        // of a text, or a group's name
    std::size_t number = 0;  // of a group without name
  };
  using record_text = std::vector<piece>;
  static result<record_text> parse(std::string_view text);

  std::vector<std::string> zones_;
  std::optional<type> type_;  // nullopt: any
  std::vector<pattern> patterns_;
  std::vector<record_text> answers_;
  rcode code_ = rcode::no_error;
  bool goes_on_ = false;
};

}  // namespace kedge::node::dns
