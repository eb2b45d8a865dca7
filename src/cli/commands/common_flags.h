// common_flags.h: flags that several commands have, with K3s's names.
#pragma once

#include "cli/checks.h"
#include "cli/flags.h"

namespace kedge::cli::commands {

inline constexpr flag data_dir_flag = {.name = "data-dir",
                                       .short_name = 'd',
                                       .env = "K3S_DATA_DIR",
                                       .who = audience::both,
                                       .help = "Folder for state (default: /var/lib/rancher/k3s)"};
// Of the server that is asked.
inline constexpr flag token_flag = {.name = "token",
                                    .short_name = 't',
                                    .env = "K3S_TOKEN",
                                    .who = audience::both,
                                    .secret = true,
                                    .help = "The cluster's token (default: from the data directory)"};
inline constexpr flag server_flag = {
    .name = "server",
    .short_name = 's',
    .env = "K3S_URL",
    .who = audience::both,
    .check = check_https_url,
    .help = "The server to ask (default: the data directory's, else https://127.0.0.1:6443)"};

}  // namespace kedge::cli::commands
