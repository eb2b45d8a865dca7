// bench.h: a server's settings in a folder that goes with the test.
#pragma once

#include <stdlib.h>
#include <sys/stat.h>

#include <filesystem>
#include <string>

#include "supervisor/config.h"

struct bench {
  std::string path;
  kedge::supervisor::config settings;

  bench() {
    char name[] = "/tmp/kedge_supervisor_XXXXXX";
    path = ::mkdtemp(name);
    settings.data_dir = path + "/data";
    settings.node_name = "edge-1";
    settings.node_ips = {"10.0.0.1", "fd00::2"};
    settings.cluster_cidrs = {"10.42.0.0/16"};
    settings.service_cidrs = {"10.43.0.0/16"};
    settings.cluster_dns = {"10.43.0.10"};
    settings.write_kubeconfig = path + "/kubeconfig.yaml";
  }
  bench(const bench&) = delete;
  ~bench() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
  std::string server(const std::string& name) const { return settings.server_dir() + "/" + name; }
};
