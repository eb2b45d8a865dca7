// installation.h: where this program lies, and what was installed with it. From a bundle (scripts/bundle, install.sh):
//
//   PREFIX/bin/kedge ──▶ PREFIX/lib/kedge/current/bin/kedge      and with it containerd, runc, etcd, kubectl, …; the
//                                                                link's folder may be called otherwise
//                        PREFIX/lib/kedge/current ──▶ VERSION    an upgrade leads it elsewhere, `previous` is what was
//
// Else it is a file in any folder.
#pragma once

#include <string>

namespace kedge::cli {

struct installation {
  std::string programs;  // the folder of this program, by the name that stays when a bundle is followed by the next one
  std::string bundles;   // PREFIX/lib/kedge; empty when this is no bundle's
  std::string scripts;   // where install.sh has put its scripts and links
};

// Of the program in this file, as /proc/self/exe names it.
installation installation_of(const std::string& program);

// What lies beside this program is found before what the machine has: by it, and by all that it starts. To be called
// before there are threads.
void prefer_own_programs();

}  // namespace kedge::cli
