"""Two machines with a server and a PostgreSQL each, by docs/two-boxes.md: power cuts of either, of both, and cuts of the link."""

import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

from ha_lab import Client, HaLab, TOKEN, Writers, stored_maps
from harness import BINARY, Failed, Server, eventually, main, run

WATCHDOG = str(pathlib.Path(__file__).resolve().parents[2] / "scripts/two-boxes-watchdog")


class Box:
    def __init__(self, lab, name, host, peer):
        self.lab, self.name, self.host = lab, name, host
        self.folder = tempfile.mkdtemp(prefix="kedge-box-")
        os.chmod(self.folder, 0o755)
        lab.at_end(lambda: shutil.rmtree(self.folder, ignore_errors=True))
        lab.at_end(self.power_off)
        self.config = os.path.join(self.folder, "config")
        with open(self.config, "w") as f:
            f.write(f"SELF={host.address}\nPEER={peer.address}\nWITNESS={lab.gateway}\nDATA={self.folder}/pg/data\nSILENCE=3\nTAKEOVER=14\nOPTIONS=-c fsync=off -c shared_buffers=32MB\n")
        self.watchdog = self.server = None

    def command(self, *words, check=True):
        return run(*self.host.command(sys.executable, WATCHDOG, "--config", self.config, *words), check=check, timeout=120)

    def status(self):
        return self.command("status", check=False).stdout.strip()

    def start(self, endpoint=None):
        self.watchdog = self.lab.start(self.name + "-watchdog", self.host.command(sys.executable, WATCHDOG, "--config", self.config, "run"))
        if endpoint and not self.server:
            self.server = Server(self.lab, self.name, host=self.host, args=["--disable-agent", "--token", TOKEN, "--accept-data-loss", "--datastore-endpoint", endpoint])
        elif self.server:
            self.server.start()

    def power_off(self):
        """All at once, without a word."""
        # The network first: what dies says nothing any more.
        if os.path.exists(f"/var/run/netns/{self.host.name}"):
            run("ip", "-n", self.host.name, "link", "set", "eth0", "down", check=False)
        for p in (self.watchdog, self.server and self.server.process):
            if p and p.poll() is None:
                p.kill()
                p.wait(20)
        for process in run("ip", "netns", "pids", self.host.name, check=False).stdout.split():
            try:
                os.kill(int(process), signal.SIGKILL)
            except ProcessLookupError:
                pass
        pid = pathlib.Path(self.folder, "pg/data/postmaster.pid")
        if pid.exists():
            pid.unlink()

    def plug(self, up):
        run("ip", "-n", self.host.name, "link", "set", "eth0", "up" if up else "down")
        if up:
            run("ip", "-n", self.host.name, "route", "replace", "default", "via", self.lab.gateway)

    def log(self):
        with open(self.watchdog.log) as f:
            return f.read()


class TwoBoxes(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lab = HaLab()
        cls.addClassCleanup(cls.lab.close)
        hosts = [cls.lab.host(), cls.lab.host()]
        cls.a, cls.b = Box(cls.lab, "a", hosts[0], hosts[1]), Box(cls.lab, "b", hosts[1], hosts[0])
        endpoint = f"postgres://postgres@{hosts[0].address},{hosts[1].address}/kubernetes?target_session_attrs=read-write"
        cls.a.command("init", "lead")
        cls.a.start(endpoint)
        eventually("a leads", lambda: "this box: leads" in cls.a.status(), timeout=60, every=0.5)
        cls.b.command("init", "follow")
        cls.b.start(endpoint)
        cls.settled(cls.a, cls.b)
        for box in (cls.a, cls.b):
            box.server.wait_ready(120)

    @classmethod
    def settled(cls, leader, follower):
        try:
            eventually(f"{leader.name} leads, {follower.name} has all", lambda: leader.log().strip().endswith("leads; the other box follows") and follower.log().strip().endswith("follows"), timeout=90, every=0.5)
        except Failed as e:
            raise Failed(f"{e}\n{leader.log()[-1500:]}\n{follower.log()[-1500:]}") from None

    def says(self, box, what, after=0):
        try:
            eventually(f"{box.name} says: {what}", lambda: what in box.log()[after:], timeout=40, every=0.2)
        except Failed as e:
            raise Failed(f"{e}\n{box.log()[-2000:]}") from None

    def writers(self, label, *boxes):
        w = Writers(self.a.server.kubeconfig, [b.host.address for b in boxes], label, clients=2 * len(boxes), pause=0.1, hosts=[b.host for b in boxes])
        self.addCleanup(w.end)
        w.progress(10)
        return w

    def nothing_lost(self, w, box):
        w.progress(10, timeout=90)
        acknowledged = w.end()
        stored = eventually("a list", lambda: stored_maps(Client(self.a.server.kubeconfig, box.host.address)), timeout=60, every=0.5)
        self.assertEqual({n for n, v in acknowledged.items() if stored.get(n) != v}, set())

    def test_1_the_leading_box_loses_power_and_comes_back(self):
        w = self.writers("one", self.b)
        self.a.power_off()
        began = time.monotonic()
        self.says(self.b, "this box leads")
        self.nothing_lost(w, self.b)
        self.assertGreater(time.monotonic() - began, 10)  # not before a box that is cut off has stopped
        self.a.plug(True)
        self.a.start()
        self.settled(self.b, self.a)
        self.assertIn("made anew from it", self.a.log())
        self.a.server.wait_ready(90)

    def test_2_the_following_box_loses_power(self):
        w = self.writers("two", self.b)
        self.a.power_off()
        self.says(self.b, "going on alone")
        self.nothing_lost(w, self.b)
        # Alone, it dies, too; the other one comes back first, and doesn't lead with what it has.
        self.b.power_off()
        self.a.plug(True)
        self.a.start()
        self.says(self.a, "may have acknowledged what isn't here")
        self.b.plug(True)
        self.b.start()
        self.settled(self.b, self.a)
        for box in (self.a, self.b):
            box.server.wait_ready(90)

    def test_3_a_box_is_cut_off(self):
        w = self.writers("three", self.a)
        self.b.plug(False)  # it leads, and reaches neither the other one nor the witness
        self.says(self.b, "this one is cut off, and stops")
        stopped = time.monotonic()
        self.says(self.a, "this box leads")
        self.assertGreater(time.monotonic(), stopped)
        self.nothing_lost(w, self.a)
        self.b.plug(True)
        self.settled(self.a, self.b)

    def test_4_both_lose_power(self):
        w = self.writers("four", self.a)
        self.b.power_off()
        self.a.power_off()
        acknowledged = w.end()
        for box in (self.b, self.a):
            box.plug(True)
            box.start()
        self.settled(self.a, self.b)
        self.a.server.wait_ready(90)
        stored = stored_maps(Client(self.a.server.kubeconfig, self.a.host.address))
        self.assertEqual({n for n, v in acknowledged.items() if stored.get(n) != v}, set())

    def test_5_the_following_box_is_cut_off(self):
        w = self.writers("five", self.a)
        before = [len(box.log()) for box in (self.a, self.b)]
        self.b.plug(False)
        self.says(self.b, "this box is cut off", after=before[1])
        self.says(self.a, "going on alone", after=before[0])
        self.nothing_lost(w, self.a)
        self.b.plug(True)
        self.settled(self.a, self.b)
        self.assertNotIn("this box leads", self.b.log()[before[1]:])

    def test_6_what_lies_between_them_fails(self):
        """Each sees the other one silent, and the witness, too: nobody leads until it is back, and then who led."""
        w = self.writers("six", self.a)
        before = [len(box.log()) for box in (self.a, self.b)]
        for box in (self.a, self.b):
            box.plug(False)
        self.says(self.a, "this one is cut off, and stops", after=before[0])
        self.says(self.b, "this box is cut off", after=before[1])
        for box in (self.b, self.a):
            box.plug(True)
        self.settled(self.a, self.b)
        self.nothing_lost(w, self.a)
        self.assertNotIn("this box leads", "".join(box.log()[n:] for box, n in zip((self.a, self.b), before)))


if __name__ == "__main__":
    main()
