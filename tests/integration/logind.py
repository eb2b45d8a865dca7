"""A system bus of the test's own (dbus-daemon), with a logind and a systemd on it that do as the test says."""

import os
import socket
import struct
import threading

CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>session</type><listen>unix:path={path}</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy></busconfig>"""
CALL, ANSWER, ERROR, SIGNAL = 1, 2, 3, 4
PATH, INTERFACE, MEMBER, REPLY, DESTINATION, SENDER, SIGNATURE, FDS = 1, 2, 3, 5, 6, 7, 8, 9


def aligned(data, to):
    return data + b"\0" * (-len(data) % to)


def text(value):
    return struct.pack("<I", len(value)) + value.encode() + b"\0"


def field(code, kind, value):
    value = bytes([len(value)]) + value.encode() + b"\0" if kind == "g" else struct.pack("<I", value) if kind == "u" else text(value)
    return bytes([code, 1]) + kind.encode() + b"\0" + value


def message(kind, serial, fields, body=b""):
    out = b""
    for one in fields:
        out = aligned(out, 8) + field(*one)
    return aligned(b"l" + bytes([kind, 0, 1]) + struct.pack("<III", len(body), serial, len(out)) + out, 8) + body


def fields_of(data):
    """{code: value} of a message's header."""
    out, at, end = {}, 16, 16 + struct.unpack_from("<I", data, 12)[0]
    while at < end:
        at = (at + 7) // 8 * 8
        code, kind = data[at], chr(data[at + 2])
        at += 4
        if kind == "u":
            out[code], at = struct.unpack_from("<I", data, at)[0], at + 4
        else:
            size, at = (data[at], at + 1) if kind == "g" else (struct.unpack_from("<I", data, at)[0], at + 4)
            out[code], at = data[at:at + size].decode(), at + size + 1
    return out


class Logind:
    """`delay_max`: what logind says of InhibitDelayMaxSec. `locks`: the ends of locks that were given."""

    def __init__(self, lab, delay_max):
        self.path = os.path.join(lab.folder, "bus")
        config = os.path.join(lab.folder, "bus.xml")
        with open(config, "w") as f:
            f.write(CONFIG.format(path=self.path))
        self.daemon = lab.start("dbus-daemon", ["dbus-daemon", "--nofork", "--config-file=" + config])
        self.delay_max, self.wanted, self.reloads, self.locks = delay_max, delay_max, 0, []

    @property
    def env(self):
        return {"DBUS_SYSTEM_BUS_ADDRESS": "unix:path=" + self.path}

    def connect(self):
        self.serial, self.lock = 0, threading.Lock()
        self.bus = socket.socket(socket.AF_UNIX)
        self.bus.connect(self.path)
        self.stream = self.bus.makefile("rb")
        self.bus.sendall(b"\0AUTH EXTERNAL " + str(os.getuid()).encode().hex().encode() + b"\r\n")
        assert self.stream.readline().startswith(b"OK")
        self.bus.sendall(b"NEGOTIATE_UNIX_FD\r\n")
        assert self.stream.readline().startswith(b"AGREE")
        self.bus.sendall(b"BEGIN\r\n")
        bus = "org.freedesktop.DBus"
        to_bus = [(PATH, "o", "/org/freedesktop/DBus"), (INTERFACE, "s", bus), (DESTINATION, "s", bus)]
        self.send(CALL, [*to_bus, (MEMBER, "s", "Hello")])
        return to_bus

    def serve(self):
        to_bus = self.connect()
        for name in ("org.freedesktop.login1", "org.freedesktop.systemd1"):
            self.send(CALL, [*to_bus, (MEMBER, "s", "RequestName"), (SIGNATURE, "g", "su")], aligned(text(name), 4) + struct.pack("<I", 0))
        threading.Thread(target=self.answer_all, daemon=True).start()
        return self

    def send(self, kind, fields, body=b"", fds=()):
        with self.lock:
            self.serial += 1
            data = message(kind, self.serial, fields, body)
            socket.send_fds(self.bus, [data], list(fds))

    def answer_all(self):
        while True:
            head = self.stream.read(16)
            if len(head) < 16:
                return
            body, serial, size = struct.unpack_from("<III", head, 4)
            data = head + self.stream.read((size + 7) // 8 * 8 + body)
            if data[1] != CALL:
                continue
            fields = fields_of(data)
            reply = [(REPLY, "u", serial), (DESTINATION, "s", fields[SENDER])]
            if fields[MEMBER] == "Get":
                self.send(ANSWER, [*reply, (SIGNATURE, "g", "v")], aligned(b"\1t\0", 8) + struct.pack("<Q", self.delay_max * 1000000))
            elif fields[MEMBER] == "Inhibit":
                mine, theirs = os.pipe()
                self.locks.append(mine)
                self.asked_by = fields[SENDER]
                self.send(ANSWER, [*reply, (SIGNATURE, "g", "h"), (FDS, "u", 1)], struct.pack("<I", 0), [theirs])
                os.close(theirs)
            elif fields[MEMBER] == "KillUnit":
                self.reloads += 1
                self.delay_max = self.wanted
                self.send(ANSWER, reply)

    def prepare_for_shutdown(self, begins, to=()):
        self.send(SIGNAL, [*to, (PATH, "o", "/org/freedesktop/login1"), (INTERFACE, "s", "org.freedesktop.login1.Manager"),
                           (MEMBER, "s", "PrepareForShutdown"), (SIGNATURE, "g", "b")], struct.pack("<I", begins))

    def by_a_stranger(self, begins):
        """The same from one who isn't logind: to all, and to whoever has a lock."""
        other = object.__new__(Logind)
        other.path = self.path
        other.connect()
        other.prepare_for_shutdown(begins)
        other.prepare_for_shutdown(begins, to=[(DESTINATION, "s", self.asked_by)])
        return other

    def released(self, index):
        """Whether nobody holds that lock any more."""
        os.set_blocking(self.locks[index], False)
        try:
            return os.read(self.locks[index], 1) == b""
        except BlockingIOError:
            return False
