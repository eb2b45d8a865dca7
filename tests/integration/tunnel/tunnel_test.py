"""Our tunnel ends against remotedialer's: each serves the other and itself over the same scenarios.

peer.cc and peer.go are the same program with the two implementations; what is behind the node is made here. Needs go and,
once, the Go module proxy; skipped (77) without.
"""

import contextlib
import hashlib
import os
import shutil
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
OURS = os.environ["KEDGE_TUNNEL_PEER"]
MUCH = 48 * 1024 * 1024
# A stopped reader costs 2 MiB, what is under way then, and sockets' buffers: far less than MUCH.
HELD_MAX = 24 * 1024 * 1024


def build_go(folder):
    if not shutil.which("go"):
        print("no go here: skipped")
        sys.exit(77)
    for name in ("peer.go", "go.mod", "go.sum"):
        shutil.copy(os.path.join(HERE, name), folder)
    binary = os.path.join(folder, "peer-go")
    built = subprocess.run(["go", "build", "-o", binary, "."], cwd=folder, capture_output=True, text=True, timeout=600)
    if built.returncode != 0:
        if "dial tcp" in built.stderr or "lookup" in built.stderr:
            print("the Go module proxy can't be reached: skipped\n" + built.stderr)
            sys.exit(77)
        raise RuntimeError(built.stderr)
    return binary


def free_address():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return "127.0.0.1:%d" % s.getsockname()[1]


def at(address):
    host, port = address.rsplit(":", 1)
    return host, int(port)


def memory(process):
    with open(f"/proc/{process.pid}/status") as f:
        return next(int(line.split()[1]) * 1024 for line in f if line.startswith("VmRSS"))


class Target(socketserver.ThreadingTCPServer):
    """What a node would offer: behaves as the first byte of a connection says: e(cho), s(ource of MUCH), d(igest of MUCH)."""

    daemon_threads, allow_reuse_address, request_queue_size = True, True, 512

    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            with contextlib.suppress(OSError):
                kind = self.request.recv(1)
                if kind == b"e":
                    while data := self.request.recv(65536):
                        self.request.sendall(data)
                elif kind == b"s":
                    self.request.sendall(self.server.much)
                elif kind == b"d":
                    if not self.server.slow.wait(60):
                        return
                    digest, left = hashlib.sha256(), MUCH
                    while left and (data := self.request.recv(min(left, 262144))):
                        digest.update(data)
                        left -= len(data)
                    self.request.sendall(digest.hexdigest().encode())

    def __init__(self):
        super().__init__(("127.0.0.1", 0), self.Handler)
        self.much = os.urandom(1024 * 1024) * (MUCH // (1024 * 1024))
        self.slow = threading.Event()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def address(self):
        return "127.0.0.1:%d" % self.server_address[1]


class Pair:
    def __init__(self, server, client):
        self.server_binary, self.client_binary = server, client
        self.tunnel, self.control = free_address(), free_address()
        self.server = self.client = None
        self.start_server()
        self.start_client()

    def start_server(self):
        self.server = subprocess.Popen([self.server_binary, "server", self.tunnel, self.control], stdout=subprocess.PIPE,
                                       stderr=subprocess.DEVNULL)
        self.server.stdout.readline()

    def start_client(self):
        self.client = subprocess.Popen([self.client_binary, "client", self.tunnel], stdout=subprocess.DEVNULL,
                                       stderr=subprocess.DEVNULL)

    def stop(self, *which):
        for p in which or (self.server, self.client):
            p.kill()
            p.wait()
            if p.stdout:
                p.stdout.close()

    def open(self, target, first):
        s = socket.create_connection(at(self.control), timeout=60)
        s.sendall(target.encode() + b"\n" + first)
        return s

    def echoes(self, target, attempts=1):
        """Whether a new stream echoes; tries again while the tunnel isn't there."""
        for i in range(attempts):
            with contextlib.suppress(OSError), self.open(target, b"ehello") as s:
                s.settimeout(5)
                if read(s, 5) == b"hello":
                    return True
            time.sleep(0.1)
        return False


def read(s, n):
    out = bytearray()
    while len(out) < n and (data := s.recv(min(n - len(out), 262144))):
        out += data
    return bytes(out)


class Tunnel(unittest.TestCase):
    def scenario(self, server, client):
        target = Target()
        pair = Pair(server, client)
        try:
            self.assertTrue(pair.echoes(target.address, 100), "the tunnel does not come up")
            lasting = pair.open(target.address, b"efirst")
            self.assertEqual(read(lasting, 5), b"first")

            # Downwards: the reader stops; memory stays, others go on, nothing is lost.
            before = memory(pair.server), memory(pair.client)
            source = pair.open(target.address, b"s")
            time.sleep(1.5)
            self.assertTrue(pair.echoes(target.address))
            self.assert_bounded(pair, before)
            self.assertEqual(hashlib.sha256(read(source, MUCH)).digest(), hashlib.sha256(target.much).digest())
            self.assertEqual(source.recv(1), b"")
            source.close()

            # Upwards: the target stops.
            before = memory(pair.server), memory(pair.client)
            sink = pair.open(target.address, b"d")
            sender = threading.Thread(target=lambda: sink.sendall(target.much))
            sender.start()
            time.sleep(1.5)
            self.assertTrue(sender.is_alive())
            self.assertTrue(pair.echoes(target.address))
            self.assert_bounded(pair, before)
            target.slow.set()
            self.assertEqual(read(sink, 64).decode(), hashlib.sha256(target.much).hexdigest())
            sender.join()
            sink.close()

            # Many streams at once.
            many = [pair.open(target.address, b"e%03d" % i) for i in range(200)]
            for i, s in enumerate(many):
                self.assertEqual(read(s, 3), b"%03d" % i)
                s.close()

            # Nobody listens there.
            with pair.open(free_address(), b"x") as s:
                self.assertEqual(s.recv(1), b"")
            lasting.sendall(b"again")
            self.assertEqual(read(lasting, 5), b"again")

            # Not allowed. Ours refuses the stream; remotedialer ends the session and comes back.
            with pair.open("127.0.0.1:1", b"x") as s, contextlib.suppress(ConnectionError):
                self.assertEqual(s.recv(1), b"")
            if client == OURS:
                lasting.sendall(b"still")
                self.assertEqual(read(lasting, 5), b"still")
            self.assertTrue(pair.echoes(target.address, 100))

            # A client that syncs each second (ours) keeps what it has.
            if client == OURS:
                time.sleep(2.5)
                lasting.sendall(b"synced")
                self.assertEqual(read(lasting, 6), b"synced")
            lasting.close()

            # Either end dies; streams end and the tunnel comes back.
            cut = pair.open(target.address, b"ecut")
            self.assertEqual(read(cut, 3), b"cut")
            pair.stop(pair.client)
            with contextlib.suppress(ConnectionError):
                self.assertEqual(cut.recv(1), b"")
            cut.close()
            pair.start_client()
            self.assertTrue(pair.echoes(target.address, 100))
            pair.stop(pair.server)
            pair.start_server()
            self.assertTrue(pair.echoes(target.address, 100))

            # Ours stops in peace: it tells the client, which answers and comes back.
            if server == OURS:
                pair.server.terminate()
                self.assertEqual(pair.server.wait(60), 0)
                pair.stop(pair.server)
                pair.start_server()
                self.assertTrue(pair.echoes(target.address, 100))
        finally:
            pair.stop()
            target.shutdown()
            target.server_close()

    def assert_bounded(self, pair, before):
        for binary, process, was in ((pair.server_binary, pair.server, before[0]), (pair.client_binary, pair.client, before[1])):
            if binary == OURS:
                self.assertLess(memory(process) - was, HELD_MAX)

    def test_ours_with_ours(self):
        self.scenario(OURS, OURS)

    def test_ours_serves_remotedialer(self):
        self.scenario(OURS, GO)

    def test_remotedialer_serves_ours(self):
        self.scenario(GO, OURS)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="kedge-tunnel-") as temporary:
        GO = build_go(temporary)
        unittest.main(verbosity=2, warnings="ignore")
