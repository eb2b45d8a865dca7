"""A cluster for Kubernetes' end-to-end suite on this machine: a server and an agent that run real containers, each in a network of its own, with
the suite's images made on the spot.

  KEDGE_BINARY=build/src/cli/kedge python3 tests/conformance/cluster.py PROGRAMS

PROGRAMS is a folder with e2e.test and agnhost, and with sample-apiserver for the spec of aggregation. It prints the path of a kubeconfig, runs until
it is interrupted or its input ends, and takes all of it away then. `scripts/conformance --cluster` does all this by itself.
"""

import os
import signal
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "integration")]
import images
from harness import Agent, Server, eventually
from runtime import ARGS, RuntimeLab, ready_node

# The images can't be had again, and how full this machine's disk is says nothing about Kedge.
NODE = [*ARGS, "--kubelet-arg=image-gc-high-threshold=100", "--kubelet-arg=eviction-hard=memory.available<100Mi,nodefs.available<2%"]


class Cluster:
    def __init__(self, programs):
        self.lab = RuntimeLab()
        try:
            self.start(programs)
        except BaseException:
            self.lab.close()
            raise

    def start(self, programs):
        listed = subprocess.run([os.path.join(programs, "e2e.test"), "--list-images"], check=True, text=True, capture_output=True).stdout.split()
        self.lab.archives += images.make([r for r in listed if ":" in r], programs, os.path.join(self.lab.folder, "images"))
        a, b = self.lab.host(), self.lab.host()
        self.server = self.lab.adopt(Server(self.lab, "server", host=a, args=NODE).wait_ready())
        self.agent = self.lab.adopt(Agent(self.lab, "worker", b, self.server.url, self.server.token(), args=NODE))
        for node in (self.server, self.agent):
            ready_node(self.server, node.name)
        eventually("the account of pods", lambda: self.server.get("serviceaccount", "default"))
        # The suite runs outside of the server's network.
        self.kubeconfig = os.path.join(self.lab.folder, "kubeconfig.yaml")
        with open(self.kubeconfig, "w") as f:
            f.write(open(self.server.kubeconfig).read().replace("https://127.0.0.1:", f"https://{a.address}:"))

    def close(self):
        self.lab.close()


def main():
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    cluster = Cluster(sys.argv[1])
    try:
        print(cluster.kubeconfig, flush=True)
        sys.stdin.read()
    except KeyboardInterrupt:
        pass
    finally:
        cluster.close()


if __name__ == "__main__":
    main()
