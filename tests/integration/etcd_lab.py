"""What tests of servers with an etcd of the cluster's own use beside ha_lab.py."""

import json
import os
import subprocess
import unittest

from ha_lab import MAPS, Client, HaLab
from harness import BINARY, Server, run

TOKEN = "cluster-secret"


class OwnEtcd(unittest.TestCase):
    def setUp(self):
        self.lab = HaLab()
        self.addCleanup(self.lab.close)

    def server(self, name, *args):
        return Server(self.lab, name, host=self.lab.host(), args=["--disable-agent", "--token", TOKEN, *args])

    def client(self, server):
        c = Client(server.kubeconfig, server.address, timeout=15)
        self.addCleanup(c.close)
        return c

    def members(self, server):
        out = json.loads(run(*server.host.command("curl", "-sk", "https://127.0.0.1:6443/db/info")))["members"]
        return {m["name"]: m.get("isLearner", False) for m in out}

    def member_of(self, server, name):
        return next((m for m in self.members(server) if m.startswith(name + "-")), None)

    def write(self, server, name):
        status, text = self.client(server).request("POST", MAPS, {"metadata": {"name": name}})
        self.assertEqual(status, 201, text)

    def once(self, server, *args):
        """The program with the server's arguments and these, until it ends."""
        env = {**os.environ, "KEDGE_NODE_PASSWORD_FOLDER": os.path.join(self.lab.folder, server.name + "-node"), "KEDGE_KUBECONFIG_LINK": server.usual_kubeconfig}
        done = subprocess.run(server.host.command(BINARY, *server.args, *args), capture_output=True, text=True, timeout=120, env=env)
        return done.returncode, done.stdout + done.stderr

    def etcd(self, server, *args):
        """etcd's own gateway, as K3s's client."""
        tls = os.path.join(server.data, "server/tls/etcd")
        path, body = args
        return json.loads(run(*server.host.command("curl", "-sS", "-m", "20", "--cacert", tls + "/server-ca.crt", "--cert", tls + "/client.crt", "--key", tls + "/client.key",
                                                   "-d", json.dumps(body), "https://127.0.0.1:2379/v3/" + path)))
