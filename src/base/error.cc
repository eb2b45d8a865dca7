#include "base/error.h"

#include <cerrno>
#include <cstring>

namespace kedge {

std::string_view name_of(errc code) noexcept {
  switch (code) {
    case errc::invalid: return "invalid";
    case errc::not_found: return "not_found";
    case errc::already_exists: return "already_exists";
    case errc::conflict: return "conflict";
    case errc::expired: return "expired";
    case errc::too_large: return "too_large";
    case errc::unsupported: return "unsupported";
    case errc::unauthenticated: return "unauthenticated";
    case errc::forbidden: return "forbidden";
    case errc::timeout: return "timeout";
    case errc::cancelled: return "cancelled";
    case errc::closed: return "closed";
    case errc::refused: return "refused";
    case errc::unavailable: return "unavailable";
    case errc::unknown_outcome: return "unknown_outcome";
    case errc::exhausted: return "exhausted";
    case errc::io: return "io";
    case errc::protocol: return "protocol";
    case errc::corrupt: return "corrupt";
    case errc::internal: return "internal";
  }
  return "internal";
}

error error::with(std::string_view context) && {
  message.insert(0, context);
  return std::move(*this);
}

static errc code_of(int number) {
  switch (number) {
    case ENOENT: return errc::not_found;
    case EEXIST: return errc::already_exists;
    case EACCES:
    case EPERM: return errc::forbidden;
    case ENOSPC:
    case EDQUOT:
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case ENOBUFS: return errc::exhausted;
    case ECONNREFUSED:
    case EHOSTUNREACH:
    case ENETUNREACH: return errc::refused;
    case EPIPE:
    case ECONNRESET:
    case ECONNABORTED:
    case ENOTCONN: return errc::closed;
    case ETIMEDOUT: return errc::timeout;
    case ECANCELED: return errc::cancelled;
    case EINVAL: return errc::invalid;
    default: return errc::io;
  }
}

error os_error(int number, std::string_view message) {
  std::string text(message);
  text += ": ";
  text += std::strerror(number);
  return {code_of(number), std::move(text), number};
}

}  // namespace kedge
