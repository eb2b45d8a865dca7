// dump.h: tables as kube-apiserver's debugging paths print them: columns under each other, with commas.
#pragma once

#include <string>
#include <vector>

namespace kedge::api::fairness {

class table {
 public:
  explicit table(std::vector<std::string> header) { row(std::move(header)); }
  void row(std::vector<std::string> cells);  // as many as the header has
  std::string text() const;

 private:
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace kedge::api::fairness
