"""The address that moves between the servers (--vip): who has it, how fast it is taken over, and that no two servers have it."""

import http.client
import json
import re
import signal
import ssl
import threading
import time
import unittest

from ha_lab import HaLab, Postgres, enter
from harness import BINARY, Failed, eventually, is_ready, main, run

V6 = "fd00:97::"


class Watch(threading.Thread):
    """Looks all the time which of the hosts have the address; keeps the longest time for which two did."""

    def __init__(self, hosts, address):
        super().__init__(daemon=True)
        self.hosts, self.address, self.longest, self.ended = hosts, address, 0, threading.Event()
        self.start()

    def run(self):
        since = None
        while not self.ended.is_set():
            now = time.monotonic()
            if len(holders(self.hosts, self.address)) < 2:
                since = None
            else:
                since = since or now
                self.longest = max(self.longest, now - since)
            time.sleep(0.02)

    def end(self):
        self.ended.set()
        self.join()
        return self.longest


def holders(hosts, address):
    return [h.name for h in hosts if address in run("ip", "-n", h.name, "-o", "addr", "show", "to", address)]


class Client:
    """Somebody on a host of his own, who asks there whether the API answers."""

    def __init__(self, host, address):
        self.host, self.address = host, address

    def answers(self):
        seen = []

        def ask():
            enter(self.host)
            connection = http.client.HTTPSConnection(self.address, 6443, timeout=0.3, context=ssl._create_unverified_context())
            try:
                connection.request("GET", "/livez")
                seen.append(connection.getresponse().read())
            except OSError:
                pass
            finally:
                connection.close()
        asking = threading.Thread(target=ask)
        asking.start()
        asking.join()
        return bool(seen)


class Moves(unittest.TestCase):
    def setUp(self):
        self.lab = HaLab()
        self.addCleanup(self.lab.close)
        self.db = Postgres(self.lab, self.lab.host())
        self.vip = f"10.97.{self.lab.subnet}.200"
        self.vip6 = f"{V6}200"

    def server(self, name):
        host = self.lab.host()
        run("ip", "-n", host.name, "addr", "add", f"{V6}{host.address.rsplit('.', 1)[1]}/64", "dev", "eth0", "nodad")
        return self.lab.server(name, self.db, host=host, args=["--disable-agent", "--vip", f"{self.vip},{self.vip6}"])

    def with_address(self, address):
        found = holders([s.host for s in self.servers], address)
        return next((s for s in self.servers if [s.host.name] == found), None)

    def test_one_server_has_it_at_a_time(self):
        self.servers = [self.server(f"s{i}") for i in (1, 2, 3)]
        for s in self.servers:
            s.wait_ready()
        outside = self.lab.host()
        run("ip", "-n", outside.name, "addr", "add", f"{V6}99/64", "dev", "eth0", "nodad")
        clients = {a: Client(outside, a) for a in (self.vip, self.vip6)}
        for address, client in clients.items():
            eventually(f"{address} answers", client.answers)
            eventually(f"one server has {address}", lambda: self.with_address(address))
        # The certificate names it, and an agent joins by it.
        text = run(*outside.command("sh", "-c", f"openssl s_client -connect {self.vip}:6443 </dev/null 2>/dev/null | openssl x509 -noout -ext subjectAltName"))
        self.assertIn(f"IP Address:{self.vip}", text)
        self.assertIn("IP Address:FD00:97:0:0:0:0:0:200", text)
        self.lab.agent("node", f"https://{self.vip}:6443")
        eventually("the node is Ready", lambda: is_ready(json.loads(self.servers[0].kubectl("get", "node", "node", "-o", "json"))), timeout=60)
        # The servers tell others their own addresses.
        listed = self.servers[0].get("endpoints", "kubernetes")
        self.assertEqual({a["ip"] for s in listed["subsets"] for a in s["addresses"]}, {s.address for s in self.servers})

        watches = [Watch([s.host for s in self.servers], a) for a in clients]
        took = []
        for _ in range(2):
            for address, client in clients.items():
                holder = eventually(f"one server has {address}", lambda: self.with_address(address))
                killed = time.monotonic()
                holder.stop(signal.SIGKILL)
                eventually(f"{address} answers from another", client.answers, timeout=20, every=0.01)
                took.append(time.monotonic() - killed)
                holder.start()
                holder.wait_ready()
                eventually(f"one server has {address}", lambda: self.with_address(address))
        print("taken over after", ", ".join(f"{t:.2f} s" for t in took), flush=True)
        self.assertLessEqual(min(took), 6, took)  # a busy machine; the figure is what counts
        longest = max(w.end() for w in watches)
        print(f"on two servers for at most {longest:.2f} s", flush=True)
        self.assertLessEqual(longest, 6)

        # A server that is stopped in its tracks loses it, and doesn't take it back when it goes on.
        holder = self.with_address(self.vip)
        holder.process.send_signal(signal.SIGSTOP)
        other = eventually("another has it", lambda: (s := self.with_address(self.vip)) and s is not holder and s, timeout=20)
        watch = Watch([s.host for s in self.servers], self.vip)
        holder.process.send_signal(signal.SIGCONT)
        # It has seen that it is another's when it says so, or has never believed that it was its own.
        eventually("the first knows", lambda: "this server leads no longer" in holder.log())
        self.assertEqual(watch.end(), 0)
        self.assertIs(self.with_address(self.vip), other)

        # One that ends gives it away at once, and leaves nothing.
        self.assertEqual(other.stop(), 0)
        self.assertNotIn(other.host.name, holders([s.host for s in self.servers], self.vip))
        eventually("it answers", clients[self.vip].answers, timeout=20)

    def test_what_it_cannot_be(self):
        host = self.lab.host()

        def says(*args):
            p = self.lab.start("refused", host.command(BINARY, "server", "--data-dir", self.lab.folder + "/refused", "--disable-agent",
                                                       "--write-kubeconfig", self.lab.folder + "/refused.yaml", *args))
            self.assertNotEqual(p.wait(60), 0)
            return open(p.log).read().splitlines()[-2:]
        self.assertIn("is this machine's own address", " ".join(says("--vip", host.address)))
        self.assertIn("no interface of this machine is in its network", " ".join(says("--vip", "192.0.2.9")))
        self.assertIn("there is no interface nosuch", " ".join(says("--vip", "192.0.2.9", "--vip-interface", "nosuch")))
        self.assertIn("leave out --bind-address", " ".join(says("--vip", self.vip, "--bind-address", host.address)))
        self.assertIn("can't be the address of a host", " ".join(says("--vip", "127.0.0.1")))
        self.assertEqual(holders([host], self.vip), [])

    def test_alone_and_leftovers(self):
        host = self.lab.host()
        s = self.lab.server("alone", type("Own", (), {"url": ""}), host=host, token=None, args=["--disable-agent", "--vip", self.vip])
        s.wait_ready()
        eventually("it has the address", lambda: holders([host], self.vip))
        s.stop(signal.SIGKILL)
        eventually("the kernel takes it away", lambda: not holders([host], self.vip), timeout=20)
        # What is there still when the next one starts is its own, not the machine's.
        run("ip", "-n", host.name, "addr", "add", f"{self.vip}/32", "dev", "lo", "valid_lft", "2", "preferred_lft", "0")
        s.start()
        s.wait_ready()
        eventually("it is on the network's interface", lambda: "eth0" in run("ip", "-n", host.name, "-o", "addr", "show", "to", self.vip))
        self.assertNotIn(" lo ", run("ip", "-n", host.name, "-o", "addr", "show", "to", self.vip))
        self.assertEqual(s.stop(), 0)
        self.assertEqual(holders([host], self.vip), [])


if __name__ == "__main__":
    main()
