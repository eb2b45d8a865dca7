// authorities.h: the cluster's authorities as a node knows them, and whether the servers have others by now.
#pragma once

#include <string>

#include "crypto/certificate.h"
#include "node/join/api_client.h"
#include "reactor/task.h"

namespace kedge::node {

// Who says who the kubelet's clients are.
struct client_authority {
  std::string pem;
  crypto::trust trust;
};
task<result<client_authority>> read_client_authority(std::string file);

// Whether a server has other authorities than those: by the mark that Kedge's give them; else by the text, which has
// the servers' alone. False when nobody answers.
task<bool> has_other_authorities(api_client& api, std::string server_ca, std::string client_ca_file);

}  // namespace kedge::node
