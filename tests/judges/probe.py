"""Who asks and who answers in service_fates.py, each in a network namespace.

    probe.py serve NAME PROTOCOL:PORT…     says its name and the asker's address to each that comes
    probe.py ask                           lines of {"questions": [[protocol, address, port], …], "tries": N} in; in each line out the fates of
                                           each question: "<name> <address>", "refused", "silent", or an error's name
"""

import concurrent.futures
import errno
import itertools
import json
import select
import socket
import struct
import sys
import threading

PATIENCE = 1.0
SCTP = 132
ports = itertools.count(20000)  # of SCTP, which has no socket to choose one


def checksum(packet):
    crc = 0xFFFFFFFF
    for byte in packet:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0x82F63B78 if crc & 1 else crc >> 1
    return crc ^ 0xFFFFFFFF


def sctp_packet(source, to, tag, chunk, text=b""):
    """INIT (1) or INIT ACK (2), with a parameter of `text` (RFC 9260)."""
    text += b"\0" * (-len(text) % 4)
    parameter = struct.pack("!HH", 0x8008, 4 + len(text)) + text if text else b""
    body = struct.pack("!BBHIIHHI", chunk, 0, 20 + len(parameter), 77, 65536, 1, 1, 1) + parameter
    return struct.pack("!HHI", source, to, tag) + struct.pack("<I", checksum(struct.pack("!HHII", source, to, tag, 0) + body)) + body


def read_sctp(packet):
    """Ports, chunk, the sender's tag, and text; of an IPv4 packet."""
    packet = packet[(packet[0] & 15) * 4:]
    source, to = struct.unpack("!HH", packet[:4])
    return source, to, packet[12], struct.unpack("!I", packet[16:20])[0], packet[36:].rstrip(b"\0")


def serve_tcp(name, port):
    s = socket.create_server(("0.0.0.0", port), backlog=1024)
    while True:
        taken, who = s.accept()
        with taken:
            taken.sendall(f"{name} {who[0]}".encode())


def serve_udp(name, port):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(("0.0.0.0", port))
    while True:
        _, who = s.recvfrom(2048)
        s.sendto(f"{name} {who[0]}".encode(), who)


def serve_sctp(name, port):
    s = socket.socket(socket.AF_INET, socket.SOCK_RAW, SCTP)
    while True:
        packet, who = s.recvfrom(2048)
        source, to, chunk, tag, _ = read_sctp(packet)
        if chunk == 1 and to == port:
            s.sendto(sctp_packet(port, source, tag, 2, f"{name} {who[0]}".encode()), who)


def fate_of(e):
    if isinstance(e, TimeoutError):
        return "silent"
    return "refused" if e.errno in (errno.ECONNREFUSED, errno.EPERM) else errno.errorcode.get(e.errno, str(e))


def ask_tcp(address, port):
    with socket.create_connection((address, port), PATIENCE) as s:
        return s.recv(100).decode()


def ask_udp(address, port):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(PATIENCE)
        s.connect((address, port))
        s.send(b"x")
        return s.recv(100).decode()


def ask_sctp(address, port):
    own = next(ports) % 40000 + 20000
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, SCTP) as s:
        s.connect((address, 0))
        s.send(sctp_packet(own, port, 0, 1))
        while select.select([s], [], [], PATIENCE)[0]:
            source, to, chunk, _, text = read_sctp(s.recv(2048))
            if (source, to, chunk) == (port, own, 2):
                return text.decode()
    raise TimeoutError


ASK = {"TCP": ask_tcp, "UDP": ask_udp, "SCTP": ask_sctp}


def fates(question, tries):
    protocol, address, port = question
    out = set()
    for n in range(tries):
        try:
            out.add(ASK[protocol](address, port))
        except OSError as e:
            out.add(fate_of(e))
        # Whom nobody answers at first nobody may answer at all.
        if n == max(1, tries // 5) and not any(" " in f for f in out):
            break
    return sorted(out)


def main():
    if sys.argv[1] == "serve":
        for pair in sys.argv[3:]:
            protocol, port = pair.split(":")
            serve = {"TCP": serve_tcp, "UDP": serve_udp, "SCTP": serve_sctp}[protocol]
            threading.Thread(target=serve, args=(sys.argv[2], int(port))).start()
        return
    with concurrent.futures.ThreadPoolExecutor(24) as pool:
        for line in sys.stdin:
            asked = json.loads(line)
            print(json.dumps(list(pool.map(lambda q: fates(q, asked["tries"]), asked["questions"]))), flush=True)


if __name__ == "__main__":
    main()
