"""A name server of one host, whose answers a test changes while programs run: IPv4 addresses that live for no time at all."""

import os
import shutil
import socket
import struct
import sys


class NameServer:
    """`lab` is a HaLab. Programs started on the host from now on ask this server, and no other."""

    def __init__(self, lab, host):
        self.folder = os.path.join(lab.folder, "names-" + host.name)
        os.mkdir(self.folder)
        etc = f"/etc/netns/{host.name}"  # `ip netns exec` puts these files in place of the machine's
        os.makedirs(etc, exist_ok=True)
        lab.at_end(lambda: shutil.rmtree(etc, ignore_errors=True))
        with open(os.path.join(etc, "resolv.conf"), "w") as f:
            f.write("nameserver 127.0.0.1\noptions timeout:1 attempts:2\n")
        with open(os.path.join(etc, "nsswitch.conf"), "w") as f:
            f.write("hosts: files dns\n")
        lab.start("names-" + host.name, host.command(sys.executable, os.path.abspath(__file__), self.folder))

    def set(self, name, addresses):
        path = os.path.join(self.folder, name)
        with open(path + "~", "w") as f:
            f.write(" ".join(addresses))
        os.replace(path + "~", path)


def answer(question, folder):
    """RFC 1035 §4: the header, the question again, and an A record for each address; NXDOMAIN for what has no file."""
    labels, at = [], 12
    while question[at]:
        labels.append(question[at + 1:at + 1 + question[at]].decode())
        at += 1 + question[at]
    asked = question[12:at + 5]
    wants_a = struct.unpack("!HH", asked[-4:]) == (1, 1)
    try:
        with open(os.path.join(folder, ".".join(labels).lower().replace("/", ""))) as f:
            addresses, code = f.read().split(), 0
    except FileNotFoundError:
        addresses, code = [], 3
    records = [b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 0, 4) + socket.inet_aton(a) for a in addresses] if wants_a else []
    return question[:2] + struct.pack("!HHHHH", 0x8180 | code, 1, len(records), 0, 0) + asked + b"".join(records)


def serve(folder):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(("127.0.0.1", 53))
    while True:
        question, client = s.recvfrom(512)
        s.sendto(answer(question, folder), client)


if __name__ == "__main__":
    serve(sys.argv[1])
