// release.h: giving a container's memory back.
#pragma once

namespace kedge {

// Empties it and gives its memory back. clear() keeps it, and so does `c = {}`, which assigns an empty list.
template <typename Container>
void release(Container& c) noexcept {
  Container().swap(c);
}

}  // namespace kedge
