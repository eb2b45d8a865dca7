#!/bin/sh
# Installs Kedge as a service of systemd or OpenRC, the way K3s's installer is used. Nothing is downloaded: the program is the one
# beside this script or the checkout's build, which is made when there is none, or all programs come out of a bundle (scripts/bundle).
#
#   scripts/install.sh [server|agent] [FLAGS…]                  a server; an agent when K3S_URL is set
#   K3S_URL=https://HOST:6443 K3S_TOKEN=… scripts/install.sh    an agent
#   scripts/install.sh --rollback                               the bundle that was there before the present one is it again
#   scripts/install.sh --print-unit [server|agent] [FLAGS…]     what systemd would be told, and nothing else is done
#
# Environment:
#   K3S_*, KEDGE_*, CONTAINERD_*, NO_PROXY, HTTP_PROXY, HTTPS_PROXY   kept for the service, in a file that only root reads
#   INSTALL_K3S_EXEC            command and flags, in front of those of the command line
#   INSTALL_K3S_NAME            the service is kedge-NAME instead of kedge or kedge-agent
#   INSTALL_K3S_TYPE            type of the systemd service (default: notify)
#   INSTALL_K3S_SYSTEMD_DIR     where units go (default: /etc/systemd/system)
#   INSTALL_K3S_BIN_DIR         where programs go (default: /usr/local/bin, or /opt/bin when that can't be written)
#   INSTALL_K3S_SKIP_DOWNLOAD   true or binary: the program is in INSTALL_K3S_BIN_DIR already
#   INSTALL_K3S_BIN_DIR_READ_ONLY  true: the same, and no links and scripts are put there either
#   INSTALL_K3S_SYMLINK         links k3s, kubectl, crictl, ctr: skip makes none, force replaces what is there
#   INSTALL_K3S_SKIP_ENABLE     true: the service is neither enabled nor started
#   INSTALL_K3S_SKIP_START      true: it is not started
#   INSTALL_K3S_FORCE_RESTART   true: it is restarted even if nothing changed
#   INSTALL_KEDGE_BINARY        the program to install
#   INSTALL_KEDGE_BUNDLE        an archive of scripts/bundle; by default the one that this script was unpacked from
#
# A bundle's programs go to lib/kedge beside the folder of programs, a folder for each version, the last one kept for --rollback; pods
# run on while one takes another's place. A bundle that is damaged or of another architecture leaves everything as it was.
#
# systemd knows the service by K3s's name as well (k3s, k3s-agent, k3s-NAME). OpenRC has it in /etc/init.d, its environment in
# /etc/rancher/k3s/SERVICE.env, and what it says in /var/log/SERVICE.log; what else it needs is in the default runlevel, cgroups above all.
# Left behind are kedge-killall.sh, which stops everything that runs, and SERVICE-uninstall.sh, which removes everything, the cluster's
# data included.
set -eu

info() { printf '[INFO]  %s\n' "$*"; }
warn() { printf '[WARN]  %s\n' "$*" >&2; }
fatal() { printf '[ERROR] %s\n' "$*" >&2; exit 1; }

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)

# Between double quotes, $1 being the characters to escape, as systemd's ExecStart= and EnvironmentFile= read it back
# (systemd.syntax(7)), and a shell.
quoted() { printf '"%s"' "$(printf '%s' "$2" | sed "s/[$1]/\\\\&/g")"; }
shell_word() { printf "'%s'" "$(printf '%s' "$1" | sed "s/'/'\\\\''/g")"; }
# One argument of the service's command. OpenRC gives them all to a shell.
exec_word() {
  if [ "$manager" = openrc ]; then shell_word "$1"; else quoted '\\"' "$1" | sed 's/%/%%/g; s/\$/$$/g'; fi
}

check_machine() {
  [ "$(id -u)" = 0 ] || fatal "must run as root: sudo -E $0"
  if [ -d /run/systemd/system ]; then
    manager=systemd
  elif [ -x /sbin/openrc-run ]; then
    manager=openrc
  elif command -v systemctl >/dev/null && [ "${INSTALL_K3S_SKIP_START:-}${INSTALL_K3S_SKIP_ENABLE:-}" != "" ]; then
    manager=systemd  # of a machine that is being made, and will run it
  else
    fatal "needs systemd or OpenRC: neither is running here. Without them, start 'kedge server' or 'kedge agent' from the init system at hand"
  fi
  for name in VERSION COMMIT PR CHANNEL CHANNEL_URL ARTIFACT_URL; do
    eval "value=\${INSTALL_K3S_$name:-}"
    [ -z "$value" ] || warn "INSTALL_K3S_$name has no effect: nothing is downloaded"
  done
}

# Sets command, exec_start (command and flags, quoted), service, other_name (K3s's), data_dir.
read_command() {
  # INSTALL_K3S_EXEC is split as a shell splits words, quotes and all, but nothing in it is expanded or run.
  eval "set -- $(printf '%s' "${INSTALL_K3S_EXEC:-}" | sed 's/[][!#$&()*;<>?`{|}~]/\\&/g') $(for word in "$@"; do printf '%s' "$word" | sed "s/'/'\\\\''/g; 1s/^/'/; \$s/\$/' /"; done)"
  case "${1:-}" in
    server | agent) command=$1; shift ;;
    '' | -*) if [ -n "${K3S_URL:-}" ]; then command=agent; else command=server; fi ;;
    *) fatal "unknown command $1: server or agent" ;;
  esac
  exec_start=$command data_dir=${K3S_DATA_DIR:-} url=${K3S_URL:-} token=${K3S_TOKEN:-}${K3S_TOKEN_FILE:-} config=${K3S_CONFIG_FILE:-/etc/rancher/k3s/config.yaml}
  before=
  for word in "$@"; do
    exec_start="$exec_start $(exec_word "$word")"
    case "$before" in -d | -data-dir | --data-dir) data_dir=$word ;; -s | -server | --server) url=$word ;; esac
    case "$word" in
      --data-dir=* | -data-dir=* | -d=*) data_dir=${word#*=} ;;
      --server=* | -server=* | -s=*) url=${word#*=} ;;
      -t | -token | --token | --token=* | --token-file | --token-file=*) token=given ;;
    esac
    before=$word
  done
  from_config() { [ ! -r "$config" ] || sed -n "s/^$1:[[:space:]]*[\"']\{0,1\}\([^\"'#]*[^\"'# ]\).*/\1/p" "$config" | tail -n 1; }
  [ -n "$data_dir" ] || data_dir=$(from_config data-dir)
  [ -n "$data_dir" ] || data_dir=/var/lib/rancher/k3s
  case "$data_dir" in /*/*) ;; *) fatal "the data directory must be an absolute path below a folder: '$data_dir'" ;; esac
  [ -n "$url" ] || url=$(from_config server)
  [ -n "$token" ] || token=$(from_config token)$(from_config token-file)
  case "$url" in '' | https://*) ;; *) fatal "only https:// URLs are supported for K3S_URL (have $url)" ;; esac

  case "${INSTALL_K3S_NAME:-}" in
    '') case "$command" in server) suffix= ;; agent) suffix=-agent ;; esac ;;
    *[!A-Za-z0-9_.-]*) fatal "INSTALL_K3S_NAME may have letters, digits, '-', '_' and '.'" ;;
    *) suffix=-$INSTALL_K3S_NAME ;;
  esac
  service=kedge$suffix other_name=k3s$suffix
}

check_agent() {
  if [ "$command" = agent ]; then
    [ -n "$url" ] || fatal "an agent needs K3S_URL (or --server): the server to join, as https://HOST:6443"
    [ -n "$token" ] || fatal "an agent needs K3S_TOKEN or K3S_TOKEN_FILE (or --token): it stands in server/node-token of the server's data directory"
  fi
}

choose_folders() {
  systemd_dir=${INSTALL_K3S_SYSTEMD_DIR:-/etc/systemd/system}
  bin_dir=${INSTALL_K3S_BIN_DIR:-}
  if [ -z "$bin_dir" ]; then
    bin_dir=/usr/local/bin
    # A read-only /usr shows only when it is written to.
    if [ "${INSTALL_K3S_BIN_DIR_READ_ONLY:-}" != true ] && ! { mkdir -p $bin_dir && : >$bin_dir/.kedge-install && rm $bin_dir/.kedge-install; } 2>/dev/null; then bin_dir=/opt/bin; fi
  fi
  lib_dir=${bin_dir%/*}/lib/kedge
  case "$manager" in
    systemd) unit=$systemd_dir/$service.service other_unit=$systemd_dir/$other_name.service env_file=$systemd_dir/$service.service.env ;;
    openrc) unit=/etc/init.d/$service other_unit=/etc/init.d/$other_name env_file=/etc/rancher/k3s/$service.env ;;
  esac
  killall=$bin_dir/kedge-killall.sh uninstall=$bin_dir/$service-uninstall.sh
}

refuse_over_k3s() {
  [ -e "$other_unit" ] && [ ! -L "$other_unit" ] || return 0
  case "$manager" in systemd) how="systemctl disable --now $other_name" ;; openrc) how="rc-service $other_name stop; rc-update del $other_name" ;; esac
  fatal "K3s is installed here ($other_unit). Kedge goes on with its data: stop it ($how), move that file away, and run this again"
}

# A link to $2 in place of whatever $1 is, at no moment nothing.
link() { ln -sf "$2" "$1.new.$$" && mv -fT "$1.new.$$" "$1"; }

said() { sed -n "s/^$1: //p" "$2" 2>/dev/null || :; }

architecture_here() {
  case "$(uname -m)" in x86_64) echo amd64 ;; aarch64 | arm64) echo arm64 ;; *) uname -m ;; esac
}

# Everything is unpacked and checked in a folder of its own, which then gets its name; the last step is the link `current`.
place_bundle() {
  mkdir -p "$bin_dir" "$lib_dir"
  new=$lib_dir/.new.$$
  trap 'rm -rf "$new"; rmdir "$lib_dir" 2>/dev/null || :' EXIT
  trap 'exit 1' HUP INT TERM
  mkdir "$new"
  read_head
  architecture=$(said architecture "$new/head/manifest")
  [ -n "$architecture" ] && [ -s "$new/head/SHA256SUMS" ] || fatal "$bundle is no bundle of Kedge, or damaged: it has no manifest. Nothing was installed"
  [ "$architecture" = "$(architecture_here)" ] || fatal "$bundle is for $architecture, this machine is $(architecture_here): nothing was installed"
  id=$(said version "$new/head/manifest")-$(sha256sum "$new/head/SHA256SUMS" | cut -c 1-12)
  whole "$lib_dir/$id" || unpack
  lend_glibc "$lib_dir/$id"
  use_version "$id"
  link "$bin_dir/kedge" "$lib_dir/current/bin/kedge"
  mkdir -p "$data_dir/agent/images"
  for image in "$lib_dir/$id"/images/*; do cmp -s "$image" "$data_dir/agent/images/${image##*/}" || cp "$image" "$data_dir/agent/images/"; done
  remove_old
}

# What says the rest: a bundle's first files, into $new/head.
read_head() {
  if [ -d "$bundle" ]; then
    mkdir "$new/head" && cp "$bundle/manifest" "$bundle/SHA256SUMS" "$new/head/" 2>/dev/null || :
    return 0
  fi
  [ -r "$bundle" ] || fatal "can't read $bundle"
  head -c 65536 "$bundle" | gzip -dc >"$new/begin" 2>/dev/null || :
  top=$(tar -tf "$new/begin" 2>/dev/null | head -n 1) && top=${top%%/*}
  [ -n "$top" ] || return 0
  # It ends in the middle of another file, which tar complains of.
  tar -xf "$new/begin" -C "$new" "$top/manifest" "$top/SHA256SUMS" 2>/dev/null || :
  [ ! -d "$new/$top" ] || mv "$new/$top" "$new/head"
}

whole() { (cd "$1" && sha256sum -c SHA256SUMS) >/dev/null 2>&1; }

# Gives $lib_dir/$id, whole, or ends.
unpack() {
  if [ -d "$bundle" ]; then
    unpacked=$new/copy
    cp -R "$bundle" "$unpacked" || fatal "can't copy $bundle: nothing was installed"
  else
    unpacked=$new/$top
    tar -xzf "$bundle" -C "$new" || fatal "$bundle can't be unpacked: it is damaged, or there is no room in $lib_dir. Nothing was installed"
  fi
  whole "$unpacked" || fatal "$bundle is damaged: files in it aren't what its SHA256SUMS says. Nothing was installed"
  runs "$unpacked" >/dev/null || fatal "the programs of $bundle don't run on this machine; they need glibc $(said glibc "$unpacked/manifest") or later. Nothing was installed"
  info "Installing $lib_dir/$id"
  rm -rf "${lib_dir:?}/$id"
  mv "$unpacked" "$lib_dir/$id"
  sync
}

# A machine of another C library (Alpine's musl) has no loader for these programs: the bundle's is lent, with what belongs to it, where
# the loader looks. $1: a version's folder.
lend_glibc() {
  interpreter=$(said interpreter "$1/manifest") libraries=$(said libraries "$1/manifest")
  [ -n "$interpreter" ] || return 0
  # A machine's own loader, and its own link to where its libraries are, stay: only what was lent is renewed.
  if [ -e "$interpreter" ]; then case "$(readlink "$libraries")" in "$lib_dir"/*) ;; *) return 0 ;; esac; fi
  mkdir -p "${interpreter%/*}" "${libraries%/*}"
  link "$libraries" "$lib_dir/current/glibc"
  link "$interpreter" "$lib_dir/current/glibc/${interpreter##*/}"
}

# The program says its version, where need be by the bundle's own loader.
runs() {
  interpreter=$(said interpreter "$1/manifest")
  if [ -e "$interpreter" ]; then "$1/bin/kedge" --version; else "$1/glibc/${interpreter##*/}" --library-path "$1/glibc:$1/lib" "$1/bin/kedge" --version; fi
}

# All versions but this one and the one before it. What keeps a pod runs from where it was started until the pod ends.
remove_old() {
  running=$(ls -l /proc/[0-9]*/exe 2>/dev/null || :)
  for old in "$lib_dir"/*; do
    case "${old##*/}" in current | previous | "$id" | "$(readlink "$lib_dir/previous")") continue ;; esac
    case "$running" in *" -> $old/"*) ;; *) rm -rf "$old" ;; esac
  done
}

use_version() {
  was=$(readlink "$lib_dir/current" || :)
  [ "$was" != "$1" ] || return 0
  [ -z "$was" ] || link "$lib_dir/previous" "$was"
  link "$lib_dir/current" "$1"
}

roll_back() {
  [ -d "$lib_dir/previous" ] || fatal "there is nothing to go back to: $lib_dir has no previous version"
  use_version "$(readlink "$lib_dir/previous")"
  info "$("$lib_dir/current/bin/kedge" --version) is in place again"
  case "$manager" in systemd) set -- "$systemd_dir"/kedge*.service ;; openrc) set -- /etc/init.d/kedge* ;; esac
  for unit in "$@"; do
    if [ -L "$unit" ] || ! is_active; then continue; fi
    restart_service
  done
}

place_program() {
  skip=${INSTALL_K3S_SKIP_DOWNLOAD:-}
  [ "${INSTALL_K3S_BIN_DIR_READ_ONLY:-}" != true ] || skip=true
  if [ "$skip" = true ] || [ "$skip" = binary ]; then
    [ -x "$bin_dir/kedge" ] || fatal "no executable $bin_dir/kedge, and INSTALL_K3S_SKIP_DOWNLOAD says that it is there"
    return
  fi
  source=${INSTALL_KEDGE_BINARY:-} bundle=${INSTALL_KEDGE_BUNDLE:-}
  if [ -z "$bundle$source" ] && [ -e "$here/manifest" ] && [ -e "$here/SHA256SUMS" ]; then bundle=$here; fi
  if [ -n "$bundle" ]; then
    place_bundle
    return
  fi
  if [ -z "$source" ]; then
    for source in "$here/kedge" "$here/../build/src/cli/kedge"; do [ ! -x "$source" ] || break; done
    if [ ! -x "$source" ]; then
      info "Building the program"
      "$here/setup" build && "$here/build" build -Dbuildtype=release
    fi
  fi
  [ -x "$source" ] || fatal "no executable $source"
  "$source" --version >/dev/null || fatal "$source doesn't run on this machine"
  mkdir -p "$bin_dir"
  place_file "$source" kedge
  # What keeps the pods' containers, beside it; without it runc's shim does. And what gives them their network, else kedge itself.
  for beside in containerd-shim-kedge-v2 kedge-cni; do
    [ ! -x "$(dirname "$source")/$beside" ] || place_file "$(dirname "$source")/$beside" $beside
  done
}

place_file() {
  if cmp -s "$1" "$bin_dir/$2"; then return; fi
  info "Installing $bin_dir/$2"
  # A running program can't be written over, but its name can be given to another file.
  install -m 755 "$1" "$bin_dir/.$2.new" && mv -f "$bin_dir/.$2.new" "$bin_dir/$2"
}

make_links() {
  [ "${INSTALL_K3S_BIN_DIR_READ_ONLY:-}" != true ] && [ "${INSTALL_K3S_SYMLINK:-}" != skip ] || return 0
  for name in k3s kubectl crictl ctr; do
    link=$bin_dir/$name
    if [ "$(readlink "$link" 2>/dev/null)" = kedge ]; then continue; fi
    if [ "${INSTALL_K3S_SYMLINK:-}" != force ] && found=$(command -v $name 2>/dev/null); then
      info "No link $link: $found is there (INSTALL_K3S_SYMLINK=force makes it)"
      continue
    fi
    info "Linking $link to kedge"
    ln -sf kedge "$link"
  done
}

write_killall() {
  cat >"$killall" <<'KILLALL'
#!/bin/sh
# Stops all services of Kedge, the containers that they left running, and removes their mounts and network devices. No data is lost.
[ "$(id -u)" = 0 ] || exec sudo "$0" "$@"
exec '@BIN_DIR@/kedge' stop --all --data-dir '@DATA_DIR@'
KILLALL
  sed -i "s#@BIN_DIR@#$bin_dir#; s#@DATA_DIR@#$data_dir#" "$killall"
  chmod 755 "$killall"
  [ -e "$bin_dir/k3s-killall.sh" ] || ln -s kedge-killall.sh "$bin_dir/k3s-killall.sh"
}

write_uninstall() {
  cat >"$uninstall" <<'UNINSTALL'
#!/bin/sh
# Removes the service @SERVICE@ and, if it is the last of Kedge's services here, the program and all its data.
[ "$(id -u)" = 0 ] || exec sudo "$0" "$@"
set -u

if [ '@MANAGER@' = openrc ]; then
  rc-service --ifstarted '@SERVICE@' stop
  rc-update --all --quiet del '@SERVICE@' 2>/dev/null
  rm -f '/etc/logrotate.d/@SERVICE@'
else
  systemctl disable --now '@SERVICE@.service' 2>/dev/null
  systemctl reset-failed '@SERVICE@.service' 2>/dev/null
fi
rm -f '@UNIT@' '@ENV_FILE@' '@BIN_DIR@/@SERVICE@-uninstall.sh'
[ "$(readlink '@BIN_DIR@/@OTHER@-uninstall.sh')" != '@SERVICE@-uninstall.sh' ] || rm -f '@BIN_DIR@/@OTHER@-uninstall.sh'
[ '@MANAGER@' = openrc ] || systemctl daemon-reload
for unit in @UNITS@; do
  [ ! -e "$unit" ] || { echo "$(basename "$unit") is still installed: the program and the data stay"; exit 0; }
done

exec '@BIN_DIR@/kedge' uninstall --yes --data-dir '@DATA_DIR@' "$@"
UNINSTALL
  case "$manager" in systemd) units="'$systemd_dir'/kedge*.service" ;; openrc) units=/etc/init.d/kedge\* ;; esac
  sed -i "s#@MANAGER@#$manager#g; s#@UNITS@#$units#; s#@UNIT@#$unit#; s#@ENV_FILE@#$env_file#; s#@BIN_DIR@#$bin_dir#g; s#@SERVICE@#$service#g; s#@OTHER@#$other_name#g; s#@DATA_DIR@#$data_dir#g" "$uninstall"
  chmod 755 "$uninstall"
  [ -e "$bin_dir/$other_name-uninstall.sh" ] || ln -s "$service-uninstall.sh" "$bin_dir/$other_name-uninstall.sh"
}

write_environment() {
  mkdir -p "${env_file%/*}"
  (umask 077 && : >"$env_file.new")
  env | grep -E '^((K3S|KEDGE|CONTAINERD|KINE)_[A-Za-z0-9_]*|NO_PROXY|HTTP_PROXY|HTTPS_PROXY|no_proxy|http_proxy|https_proxy)=' | sort | while IFS= read -r line; do
    printf '%s=%s\n' "${line%%=*}" "$(quoted '\\"$`' "${line#*=}")"
  done >>"$env_file.new"
  mv -f "$env_file.new" "$env_file"
}

write_unit() {
  case "$manager" in
    systemd) systemd_unit >"$unit"; chmod 644 "$unit" ;;
    openrc) openrc_script >"$unit"; chmod 755 "$unit"; rotate_log ;;
  esac
}

systemd_unit() {
  cat <<UNIT
[Unit]
Description=Kedge: K3s-compatible Kubernetes ($command)
Wants=network-online.target
After=network-online.target

[Install]
WantedBy=multi-user.target
Alias=$other_name.service

[Service]
Type=${INSTALL_K3S_TYPE:-notify}
EnvironmentFile=-/etc/default/%N
EnvironmentFile=-/etc/sysconfig/%N
EnvironmentFile=-/etc/default/$other_name
EnvironmentFile=-/etc/sysconfig/$other_name
EnvironmentFile=-$env_file
# Containers live on while the service restarts.
KillMode=process
Delegate=yes
User=root
LimitNOFILE=1048576
LimitNPROC=infinity
LimitCORE=infinity
TasksMax=infinity
TimeoutStartSec=0
Restart=always
RestartSec=5s
ExecStartPre=-/sbin/modprobe br_netfilter
ExecStartPre=-/sbin/modprobe overlay
ExecStart=$bin_dir/kedge $exec_start
UNIT
}

openrc_script() {
  cat <<SCRIPT
#!/sbin/openrc-run

name=$service
description="Kedge: K3s-compatible Kubernetes ($command)"
supervisor=supervise-daemon
command=$bin_dir/kedge
command_args=$(quoted '\\"$`' "$exec_start")
pidfile=/run/$service.pid
output_log=/var/log/$service.log
error_log=/var/log/$service.log
respawn_delay=5
respawn_max=0
retry=SIGTERM/90/SIGKILL/10
rc_ulimit="-n 1048576 -u unlimited -c unlimited"
# Containers live on while the service restarts.
rc_cgroup_cleanup=no

depend() {
	want cgroups
	after network-online net firewall
}

start_pre() {
	for module in br_netfilter overlay; do modprobe -q \$module 2>/dev/null || :; done
}

set -a
for file in /etc/environment $env_file; do
	[ ! -r \$file ] || . \$file
done
set +a
SCRIPT
}

rotate_log() {
  [ -d /etc/logrotate.d ] || return 0
  printf '/var/log/%s.log {\n\tmissingok\n\tnotifempty\n\tcopytruncate\n}\n' "$service" >"/etc/logrotate.d/$service"
}

state() { readlink "$lib_dir/current" || true; sha256sum "$bin_dir/kedge" "$unit" "$env_file" 2>/dev/null || true; }

# Of the service in $unit.
is_active() {
  case "$manager" in
    systemd) systemctl is-active --quiet "${unit##*/}" ;;
    openrc) rc-service --quiet "${unit##*/}" status >/dev/null 2>&1 ;;
  esac
}

restart_service() {
  info "Starting ${unit##*/}"
  case "$manager" in
    systemd) systemctl restart "${unit##*/}" || fatal "it did not start; see: journalctl -u ${unit##*/}" ;;
    openrc) rc-service "${unit##*/}" restart || fatal "it did not start; see: /var/log/${unit##*/}.log" ;;
  esac
}

start_service() {
  [ ! -d /run/systemd/system ] || systemctl daemon-reload
  [ "${INSTALL_K3S_SKIP_ENABLE:-}" != true ] || return 0
  info "Enabling ${unit##*/}"
  case "$manager" in
    systemd) systemctl enable --quiet "$service.service" ;;
    openrc) rc-update --quiet add "$service" default ;;
  esac
  [ "${INSTALL_K3S_SKIP_START:-}" != true ] || return 0
  if [ "$before_state" = "$(state)" ] && [ "${INSTALL_K3S_FORCE_RESTART:-}" != true ] && is_active; then
    info "Nothing changed; ${unit##*/} goes on"
    return 0
  fi
  restart_service
}

case "${1:-}" in -h | --help) sed -n '2,/^set/s/^# \{0,1\}//p' "$0" | sed '$d'; exit 0 ;; esac
if [ "${1:-}" = --print-unit ]; then
  shift
  manager=systemd
  read_command "$@"
  choose_folders
  systemd_unit
  exit 0
fi
check_machine
if [ "${1:-}" = --rollback ]; then
  service=kedge other_name=k3s
  choose_folders
  roll_back
  exit 0
fi
read_command "$@"
check_agent
choose_folders
refuse_over_k3s
before_state=$(state)
place_program
make_links
mkdir -p "${unit%/*}"
if [ "${INSTALL_K3S_BIN_DIR_READ_ONLY:-}" != true ]; then
  write_killall
  write_uninstall
fi
write_environment
write_unit
start_service
