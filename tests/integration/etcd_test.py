"""Servers over an etcd of their own cluster's: two of them and an agent, a member that is lost, an etcd that was set back."""

import base64
import json
import os
import shutil
import signal
import time
import unittest

from ha_lab import MAPS, TOKEN, Client, Etcd, HaLab, Writers, stored_maps
from harness import eventually, is_ready, main

SERVER_ONLY = ["--disable-agent"]


class External(unittest.TestCase):
    def setUp(self):
        self.lab = HaLab()
        self.addCleanup(self.lab.close)

    def client(self, server):
        c = Client(server.kubeconfig, server.address, timeout=15)
        self.addCleanup(c.close)
        return c

    def servers(self, etcd):
        out = [self.lab.server(name, etcd, args=SERVER_ONLY) for name in ("a", "b")]
        for s in out:
            s.wait_ready(90)
        return out

    def test_two_servers_an_agent_and_a_member_that_is_lost(self):
        etcd = Etcd(self.lab, *(self.lab.host() for _ in range(3)))
        servers = self.servers(etcd)
        self.lab.agent("node", servers[0].url, TOKEN)
        eventually("the node is ready at the other server", lambda: is_ready(json.loads(servers[1].kubectl("get", "node", "node", "-o", "json"))), timeout=90)
        # Keys are kube-apiserver's.
        self.assertEqual(self.client(servers[0]).request("POST", MAPS, {"metadata": {"name": "plain"}})[0], 201)
        eventually("the other server has it", lambda: "plain" in stored_maps(self.client(servers[1])))
        key = base64.b64encode(b"/registry/configmaps/default/plain").decode()
        found = etcd.ask(0, "kv/range", {"key": key})["kvs"][0]
        self.assertEqual(json.loads(servers[1].kubectl("get", "cm", "plain", "-o", "json"))["metadata"]["resourceVersion"], found["mod_revision"])
        # The machine of etcd's leader goes, in the midst of writes.
        writers = Writers(servers[0].kubeconfig, [s.address for s in servers], "kept")
        self.addCleanup(writers.end)
        writers.progress()
        lost = next(i for i in range(3) if etcd.is_leader(i))
        began, counted = time.monotonic(), writers.count()
        etcd.kill(lost)
        eventually("writes go on", lambda: writers.count() > counted + 8, timeout=60, every=0.01)
        print(f"writes went on {time.monotonic() - began:.2f} s after etcd's leader was killed", flush=True)
        writers.progress()
        etcd.start(lost)
        writers.progress()
        # Two of three: nothing is written, and the servers say so.
        for i in (0, 1):
            etcd.kill(i)
        eventually("it isn't ready", lambda: self.client(servers[0]).request("GET", "/readyz")[0] == 500, timeout=30)
        self.assertEqual(self.client(servers[1]).request("POST", MAPS, {"metadata": {"name": "nowhere"}})[0], 503)
        for i in (0, 1):
            etcd.start(i)
        eventually("it is again", lambda: self.client(servers[0]).request("GET", "/readyz")[0] == 200, timeout=60)
        writers.progress()
        acknowledged = writers.end()
        for s in servers:
            stored = stored_maps(self.client(s))
            self.assertEqual({n: v for n, v in acknowledged.items() if stored.get(n) != v}, {})
            self.assertNotIn("nowhere", stored)

    def test_an_etcd_that_was_set_back(self):
        etcd = Etcd(self.lab, self.lab.host())
        servers = self.servers(etcd)
        self.assertEqual(self.client(servers[0]).request("POST", MAPS, {"metadata": {"name": "early"}})[0], 201)
        etcd.kill(0, signal.SIGTERM)
        kept = etcd.data(0) + ".kept"
        shutil.copytree(etcd.data(0), kept)
        etcd.start(0)
        def created(i):
            return self.client(servers[i % 2]).request("POST", MAPS, {"metadata": {"name": f"late-{i}"}})
        for i in range(20):
            eventually(f"late-{i} is written", lambda: created(i)[0] in (201, 409))
        seen = int(self.client(servers[0]).get(f"{MAPS}/late-19")["metadata"]["resourceVersion"])
        etcd.kill(0)
        shutil.rmtree(etcd.data(0))
        os.rename(kept, etcd.data(0))
        etcd.start(0)
        for s in servers:
            eventually(f"{s.name} ends", lambda: s.process.poll() is not None, timeout=60)
            self.assertEqual(s.process.returncode, 1, s.log()[-2000:])
            self.assertIn("has lost", s.log())
        servers[0].start()
        self.assertEqual(servers[0].process.wait(60), 1)
        self.assertIn("--accept-data-loss", servers[0].log())
        servers[0].args.append("--accept-data-loss")
        servers[0].start()
        servers[0].wait_ready(120)
        servers[1].start()
        servers[1].wait_ready(90)
        # Nothing is given twice: who holds a revision of before is told to list again.
        c = self.client(servers[1])
        self.assertIn('"code":410', c.request("GET", f"{MAPS}?watch=true&resourceVersion={seen}&timeoutSeconds=5")[1].decode())
        status, text = c.request("POST", MAPS, {"metadata": {"name": "after"}})
        self.assertEqual(status, 201, text)
        self.assertGreater(int(json.loads(text)["metadata"]["resourceVersion"]), seen + 10_000)
        self.assertEqual({n for n in stored_maps(c) if n.startswith(("early", "late"))}, {"early"})


if __name__ == "__main__":
    main()
