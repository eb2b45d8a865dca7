# What scripts/bundle, scripts/deb and scripts/image have in common: files of one architecture out of this machine or out of a root made
# by scripts/cross, whose they are, and archives that are the same bytes each time. Sourced by bash, with `root` (of the repository) set.

fail() { printf '%s: %s\n' "scripts/${0##*/}" "$1" >&2; exit 1; }
need() { local tool; for tool in "$@"; do command -v "$tool" >/dev/null || fail "needs $tool: scripts/setup test installs it"; done; }

machine_of() { readelf -h "$1" 2>/dev/null | sed -n 's/^ *Machine: *//p'; }
architecture_of() {
  case "$(machine_of "$1")" in
    *X86-64) echo amd64 ;;
    AArch64) echo arm64 ;;
    *) fail "$1 is for $(machine_of "$1"): neither amd64 nor arm64" ;;
  esac
}
triplet_of() { case "$1" in amd64) echo x86_64-linux-gnu ;; arm64) echo aarch64-linux-gnu ;; esac; }
own_architecture() { case "$(uname -m)" in x86_64) echo amd64 ;; aarch64) echo arm64 ;; *) uname -m ;; esac; }

# What is made for $1 (empty: this machine's): sets architecture, triplet, system (the root that files come from, empty for this
# machine's own), emulator (what runs a program of it), kedge (unless it is given; built when missing) and beside, its folder.
choose_architecture() {
  architecture=${1:-$(own_architecture)}
  system='' emulator=()
  case "$architecture" in amd64 | arm64) ;; *) fail "unknown architecture $architecture: amd64 or arm64" ;; esac
  if [ "$architecture" != "$(own_architecture)" ]; then
    system=$("$root/scripts/cross" --root "$architecture")
    [ -n "$kedge" ] && [ -d "$system" ] || "$root/scripts/cross" "$architecture"
    kedge=${kedge:-$root/build-$architecture/src/cli/kedge}
    emulator=("qemu-$(triplet_of "$architecture" | cut -d - -f 1)-static" -L "$system")
    need "${emulator[0]}"
  elif [ -z "$kedge" ]; then
    kedge=$root/build/src/cli/kedge
    [ -x "$kedge" ] || { "$root/scripts/setup" build; "$root/scripts/build" "$root/build" -Dbuildtype=release; }
  fi
  [ -x "$kedge" ] || fail "no program $kedge"
  [ "$(architecture_of "$kedge")" = "$architecture" ] || fail "$kedge is for $(architecture_of "$kedge"), not $architecture"
  triplet=$(triplet_of "$architecture")
  beside=$(cd "$(dirname "$kedge")" && pwd)
}
run_kedge() { "${emulator[@]}" "$kedge" "$@"; }

# VERSION and COMMIT, as the program has them.
own_version() { run_kedge --version | sed -n 's/^kedge version \([^ ]*\) (\(.*\))$/\1 \2/p'; }
# Of the commit that is packed, so that all dates are its.
set_epoch() { export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$root" log -1 --format=%ct 2>/dev/null || echo 0)}; }

# --- files of the system that is packed ------------------------------------------------------------------------------

in_system() { if [ -n "$system" ]; then chroot "$system" "$@"; else "$@"; fi; }
# The file behind a name of the system's, as this machine names it.
behind() { printf '%s%s\n' "$system" "$(in_system readlink -f "$1")"; }
# Packages of Debian with that file; fails when there is none.
package_of() {
  local real package
  real=$(in_system readlink -f "$1")
  package=$(in_system dpkg-query -S "$real" 2>/dev/null | sed -n '1s/:.*//p')
  # Of a merged /usr: packages may name their files without it.
  [ -n "$package" ] || package=$(in_system dpkg-query -S "${real#/usr}" 2>/dev/null | sed -n '1s/:.*//p')
  [ -n "$package" ] && printf '%s\n' "$package"
}
package_version() { in_system dpkg-query -W -f '${Version}\n' "$1" | sed -n 1p; }

# Where the system has a shared library; fails when it hasn't.
library() {
  local folder
  for folder in "/usr/lib/$triplet" "/lib/$triplet" /usr/local/lib /usr/lib /lib; do
    [ ! -e "$system$folder/$1" ] || { printf '%s\n' "$folder/$1"; return; }
  done
  return 1
}
needed_by() { readelf -d "$1" 2>/dev/null | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p'; }
# All shared libraries that these files need, and those that the libraries need: SONAME and where the system has it.
libraries_of() {
  local -A seen=()
  local file soname at
  local -a waiting=("$@")
  while [ ${#waiting[@]} -gt 0 ]; do
    file=${waiting[0]}
    waiting=("${waiting[@]:1}")
    for soname in $(needed_by "$file"); do
      [ -z "${seen[$soname]:-}" ] || continue
      seen[$soname]=yes
      at=$(library "$soname") || fail "${file##*/} needs $soname, which is not there"
      printf '%s %s\n' "$soname" "$at"
      waiting+=("$(behind "$at")")
    done
  done
}

# --- the same bytes each time -----------------------------------------------------------------------------------------

# FOLDER FILE MEMBER…: an archive of these members, in this order, theirs and root's.
archive() {
  local from=$1 to=$2
  shift 2
  tar --create --file "$to" --directory "$from" --no-recursion --format=gnu --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner \
    --mode=u=rwX,go=rX "$@"
}
# FOLDER: all that is in it, by name.
members_of() { (cd "$1" && find . -mindepth 1 -printf '%P\n' | LC_ALL=C sort); }

# The name under which nodes ask for the image of pod sandboxes.
pause_name() {
  local name
  name=$(run_kedge agent --help | sed -n 's/.*--pause-image .*(default: \(.*\))$/\1/p')
  [ -n "$name" ] || fail "kedge doesn't say which pause image it takes"
  printf '%s\n' "$name"
}
strip_program() { if [ -n "$system" ]; then llvm-strip-19 --strip-unneeded "$1"; else strip --strip-unneeded "$1"; fi; }
