"""Members of the cluster's own etcd that go: with their Nodes, at somebody's word, and with the machines of a majority."""

import os
import signal
import subprocess

from etcd_lab import OwnEtcd
from ha_lab import stored_maps
from harness import eventually, main

NODES = "/api/v1/nodes"
MARKS = "etcd.k3s.cattle.io/"
TAKES_THE_PORT = "import socket; s = socket.create_server(('', 6443)); print('taken', flush=True); input()"


class Members(OwnEtcd):
    def test_members_that_go(self):
        first = self.server("one", "--cluster-init")
        first.wait_ready(120)
        others = [self.server(name, "--server", first.url) for name in ("two", "three")]
        two, three = others
        for s in others:
            s.wait_ready(120)
        eventually("all vote", lambda: list(self.members(first).values()) == [False] * 3, timeout=90)
        c = self.client(first)
        for name in ("one", "two", "three"):
            self.assertEqual(c.request("POST", NODES, {"metadata": {"name": name}})[0], 201)
        def node(name):
            return c.get(f"{NODES}/{name}")
        def voter(name):
            return next((x["status"], x["reason"]) for x in node(name)["status"]["conditions"] if x["type"] == "EtcdIsVoter")
        for name in ("one", "two", "three"):
            eventually(f"{name} is told to vote", lambda: voter(name) == ("True", "MemberNotLearner"), timeout=60)
            self.assertIn("wrangler.cattle.io/managed-etcd-controller", node(name)["metadata"]["finalizers"])
        # A machine that is gone for good: its Node is deleted, and its member goes first.
        self.assertEqual(three.stop(), 0, three.log()[-2000:])
        self.assertEqual(c.request("DELETE", f"{NODES}/three")[0], 200)
        eventually("its Node has gone", lambda: c.request("GET", f"{NODES}/three")[0] == 404, timeout=90)
        self.assertEqual(sorted(m.rpartition("-")[0] for m in self.members(first)), ["one", "two"])
        # It would begin with what it had, and is told at once.
        three.start()
        self.assertEqual(three.process.wait(90), 0)
        self.assertIn("was removed from the cluster's etcd", three.log())
        # One that runs: it ends by itself, and joins as another member when it is started again.
        was = self.member_of(first, "two")
        self.assertEqual(c.request("PATCH", f"{NODES}/two", {"metadata": {"annotations": {MARKS + "remove": "true"}}}, type="application/merge-patch+json")[0], 200)
        self.assertEqual(two.process.wait(120), 0, two.log()[-3000:])
        self.assertTrue(os.path.exists(os.path.join(two.data, "server/db/etcd/tombstone")))
        eventually("the Node tells it", lambda: node("two")["metadata"]["annotations"].get(MARKS + "removed-node-name") == was, timeout=60)
        without = [a for a in two.args if a not in ("--server", first.url)]
        two.args, joins = without, two.args
        two.start()
        self.assertEqual(two.process.wait(60), 1)
        self.assertIn("--server and the URL of another server", two.log())
        two.args = joins
        two.start()
        two.wait_ready(120)
        eventually("it votes", lambda: self.members(first).get(self.member_of(first, "two")) is False, timeout=60)
        self.assertNotEqual(self.member_of(first, "two"), was)
        eventually("its Node tells the new one", lambda: node("two")["metadata"]["annotations"].get(MARKS + "remove") == "false", timeout=60)
        self.assertEqual(len([n for n in os.listdir(os.path.join(two.data, "server/db")) if n.startswith("etcd-backup-")]), 1)
        # The other machine is lost, and the majority with it.
        self.write(first, "kept")
        eventually("the other has it", lambda: "kept" in stored_maps(self.client(two)))
        os.kill(first.process.pid, signal.SIGKILL)
        first.process.wait()
        self.assertEqual(two.stop(), 0, two.log()[-2000:])
        two.args = without
        code, said = self.once(two, "--cluster-reset", "--server", first.url)
        self.assertEqual(code, 1)
        self.assertIn("leave --server away", said)
        code, said = self.once(two, "--cluster-reset")
        self.assertEqual(code, 0, said)
        self.assertIn("has one member now", said)
        code, said = self.once(two, "--cluster-reset")
        self.assertEqual(code, 1)
        self.assertIn("reset already", said)
        # A start that fails half-way is none: the next one still knows of the reset.
        with subprocess.Popen(two.host.command("python3", "-c", TAKES_THE_PORT), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as taker:
            self.assertEqual(taker.stdout.readline(), b"taken\n")
            code, said = self.once(two)
            taker.communicate(b"\n")
        self.assertEqual(code, 1, said)
        self.assertIn("6443", said)
        self.assertTrue(os.path.exists(os.path.join(two.data, "server/db/reset-flag")))
        two.start()
        two.wait_ready(120)
        self.assertEqual(list(self.members(two).values()), [False])
        self.assertFalse(os.path.exists(os.path.join(two.data, "server/db/reset-flag")))
        self.assertIn("kept", stored_maps(self.client(two)))
        self.write(two, "after")


if __name__ == "__main__":
    main()
