// passwd.h: the server's cred/passwd: who may use the supervisor's endpoints with a password.
//
// CSV, one record a line: `password,user,uid,"group,group"`.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace kedge::crypto {

struct passwd_entry {
  std::string password;
  std::string user;
  std::string uid;
  std::vector<std::string> groups;
  friend bool operator==(const passwd_entry&, const passwd_entry&) = default;
};

class passwd {
 public:
  // Text as RFC 4180 with Go's reader: quoted fields, blank lines skipped, blanks before a field trimmed. A record
  // needs password, user and uid. errc::invalid names the line, never its content. The last record of a user wins.
  static result<passwd> parse(std::string_view text);
  std::string write() const;

  const std::vector<passwd_entry>& entries() const { return entries_; }
  const passwd_entry* find(std::string_view user) const;
  // Gives the user this password and group, in place of what it had. `password` may be a full token: see
  // password_of_token. True when anything changed (and the file must be written).
  bool ensure(std::string_view user, std::string_view group, std::string_view password);

  // The user's entry when the password is right, else null; valid until the table changes.
  //
  // K3s scrypts each entry in memory and each request's password: 32 MiB and 50 ms of work per request that anybody can
  // ask for, to protect a table that lies in plain text beside it. Here SHA-256 digests are compared in constant time:
  // the same answer, nothing learnt from its timing, and no lever for who wants to exhaust a small server. An unknown
  // user costs the same comparison.
  const passwd_entry* verify(std::string_view user, std::string_view password) const;

 private:
  std::vector<passwd_entry> entries_;
};

}  // namespace kedge::crypto
