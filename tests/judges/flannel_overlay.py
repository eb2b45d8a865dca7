#!/usr/bin/env python3
"""One overlay of a Kedge node and a node of flannel's own code: do their pods reach each other, and do both do the same to the kernel?

KEDGE_JUDGES=<folder with flannel-vxlan> tests/judges/flannel_overlay.py

By hand, as root; it builds nothing (flannel/main.go is the judge: `go build -o …/flannel-vxlan .` there). IPv4, IPv6 alone, and both: a Kedge
server with its node, and beside it a Node whose network is flannel's vxlan backend as K3s runs it. Each learns the other from the Node objects'
annotations. Then pods of both ask each other, with packets of all sizes that fit, and what stands in the two kernels is compared: properties of
the devices, their addresses, routes, neighbours and forwarding entries. A difference that isn't meant is told, and the exit code is 1."""

import json
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../integration"))

from harness import Failed, Lab, Server, eventually, run  # noqa: E402
from network_test import Pod  # noqa: E402

PREFIX = "flannel.alpha.coreos.com/"
V6 = "fd00:97::"
CASES = {"IPv4": ("10.42.0.0/16", "10.43.0.0/16"), "both": ("10.42.0.0/16,fd00:42::/56", "10.43.0.0/16,fd00:43::/112"),
         "IPv6": ("fd00:42::/56", "fd00:43::/112")}
# Flannel gives the device of IPv6 what IPv4's outer header leaves; 20 bytes more would not be fragmented. Routes have their maker's number.
MEANT = {("flannel-v6.1", "mtu")}


# Gives back each datagram, in pieces or not; and asks with ones that must stay whole.
ECHO = """
import socket
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
s.bind(("::", 7000))
while True:
    s.sendto(*s.recvfrom(65536))
"""
ASK = """
import socket, sys
six = ":" in sys.argv[1]
s = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(*((socket.IPPROTO_IPV6, 23, 2) if six else (socket.IPPROTO_IP, 10, 2)))  # MTU_DISCOVER: always
s.settimeout(2)
s.connect((sys.argv[1], 7000))
for size in map(int, sys.argv[2:]):
    s.send(b"x" * size)
    assert len(s.recv(65536)) == size
"""


def give_v6(host, alone):
    host.v6 = f"{V6}{host.address.rsplit('.', 1)[1]}"
    run("ip", "-n", host.name, "addr", "add", f"{host.v6}/64", "dev", "eth0", "nodad")
    run("ip", "-n", host.name, "route", "add", "default", "via", f"{V6}1")
    if alone:
        run("ip", "-n", host.name, "addr", "del", f"{host.address}/24", "dev", "eth0")
        host.address = f"[{host.v6}]"


class FlannelNode:
    """A node as K3s's flannel makes it, with one pod at a bridge."""

    def __init__(self, lab, host, server, judge):
        self.lab, self.host = lab, host
        server.kubectl("create", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "k3s"}}))
        cidrs = eventually("the node has its ranges", lambda: server.get("node", "k3s")["spec"].get("podCIDRs"))
        four, six = (next((c for c in cidrs if (":" in c) == is_six), "-") for is_six in (False, True))
        self.environment = os.path.join(lab.folder, "subnet.env")
        log = open(os.path.join(lab.folder, "flannel.log"), "w")
        self.process = subprocess.Popen(host.command(judge, "eth0", four, six, self.environment), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True)
        lab.processes.append(self.process)
        line = self.process.stdout.readline()
        if not line:
            raise Failed(open(log.name).read())
        self.annotations = json.loads(line)
        server.kubectl("patch", "node", "k3s", "--subresource=status", "-p", json.dumps({"metadata": {"annotations": self.annotations}}))
        eventually("its environment", lambda: os.path.exists(self.environment))
        self.settings = dict(l.split("=", 1) for l in open(self.environment).read().split())
        self.name = lab.prefix + "p-fl"
        run("ip", "netns", "add", self.name)
        self.addresses = []
        for argv in (["link", "add", "cni0", "mtu", self.settings["FLANNEL_MTU"], "type", "bridge"], ["link", "set", "cni0", "up"],
                     ["link", "add", "to-pod", "mtu", self.settings["FLANNEL_MTU"], "type", "veth", "peer", "name", "eth0", "netns", self.name, "mtu", self.settings["FLANNEL_MTU"]],
                     ["link", "set", "to-pod", "master", "cni0", "up"]):
            run("ip", "-n", host.name, *argv)
        for name in ("lo", "eth0"):
            run("ip", "-n", self.name, "link", "set", name, "up")
        for key in ("FLANNEL_SUBNET", "FLANNEL_IPV6_SUBNET"):
            if key in self.settings:
                gateway, bits = self.settings[key].split("/")
                pod = gateway[:-1] + "9"
                run("ip", "-n", host.name, "addr", "add", f"{gateway}/{bits}", "dev", "cni0", "nodad")
                run("ip", "-n", self.name, "addr", "add", f"{pod}/{bits}", "dev", "eth0", "nodad")
                run("ip", "-n", self.name, "route", "add", "default", "via", gateway)
                self.addresses.append(pod)
        for name in ("net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"):
            run(*host.command("sysctl", "-qw", name))

    def command(self, *argv):
        return ["ip", "netns", "exec", self.name, *argv]

    def learns(self, node):
        self.process.stdin.write(json.dumps({"metadata": {"annotations": node["metadata"]["annotations"]}, "spec": {"podCIDRs": node["spec"]["podCIDRs"]}}) + "\n")
        self.process.stdin.flush()


def asks(who, address, mtu):
    """Packets of all sizes to the largest, none in pieces."""
    sizes = (1, 1000, mtu - (48 if ":" in address else 28))
    run(*who.command(sys.executable, "-c", ASK, address, *map(str, sizes)), timeout=10)
    return True


def kernel(host, device, own, other):
    """What stands in the kernel about the device, with the two ends' own words in place of their addresses."""
    def shown(*argv):
        return json.loads(run("ip", "-n", host.name, "-d", "-j", *argv) or "[]")

    link = shown("link", "show", device)[0]
    data = link["linkinfo"]["info_data"]
    out = {"mtu": link["mtu"], "flags": sorted(link["flags"])}
    out |= {k: v for k, v in data.items() if k not in ("local", "local6", "link")}
    out["from its own address"] = own["public"] in (data.get("local"), data.get("local6"))
    words = {own["net"]: "own network", other["net"]: "other network", other["mac"]: "other mac", other["public"]: "other node"}

    def known(text):
        for address, word in words.items():
            text = text.replace(address, word)
        return text

    family = "-6" if "v6" in device else "-4"
    out["addresses"] = sorted(known(f"{a['local']}/{a['prefixlen']} {a['scope']}") for a in shown("addr", "show", "dev", device)[0]["addr_info"] if not a["local"].startswith("fe80"))
    out["routes"] = sorted(known(f"{r['dst']} via {r.get('gateway')} {' '.join(r['flags'])} metric {r.get('metric')}")
                           for r in shown(family, "route", "show", "dev", device, "table", "main") if not r["dst"].startswith("fe80") and "gateway" in r)
    out["neighbours"] = sorted(known(f"{n['dst']} {n.get('lladdr')} {' '.join(n['state'])}") for n in shown(family, "neigh", "show", "dev", device))
    fdb = json.loads(run(*host.command("bridge", "-j", "fdb", "show", "dev", device)) or "[]")
    out["forwarding"] = sorted(known(f"{e['mac']} to {e.get('dst')} {e.get('state')} {' '.join(e['flags'])}") for e in fdb if "dst" in e)
    return out


def end_of(node, six):
    annotations = node["metadata"]["annotations"]
    cidr = next(c for c in node["spec"]["podCIDRs"] if (":" in c) == six)
    data = json.loads(annotations[PREFIX + ("backend-v6-data" if six else "backend-data")])
    return {"net": cidr.split("/")[0], "mac": data["VtepMAC"], "public": annotations[PREFIX + ("public-ipv6" if six else "public-ip")]}


def differences(lab, server, kedge, flannel, families):
    nodes = [server.get("node", n) for n in ("server", "k3s")]
    said = [{k[len(PREFIX):]: v for k, v in n["metadata"]["annotations"].items() if k.startswith(PREFIX)} for n in nodes]
    for key in sorted(said[0].keys() | said[1].keys()):
        ends = [s.get(key) for s in said]
        # Addresses and MACs are each one's own; the form isn't.
        form = [None if e is None else "".join("x" if c in "0123456789abcdef" else c for c in e) if "data" in key else bool(e) for e in ends]
        if form[0] != form[1]:
            yield f"annotation {key}: {ends[0]}, flannel: {ends[1]}"
    for six in families:
        device = "flannel-v6.1" if six else "flannel.1"
        a, b = (end_of(n, six) for n in nodes)
        ours, theirs = kernel(kedge.host, device, a, b), kernel(flannel.host, device, b, a)
        for key in ours.keys() | theirs.keys():
            if ours.get(key) != theirs.get(key) and (device, key) not in MEANT:
                yield f"{device}: {key}: {ours.get(key)}, flannel: {theirs.get(key)}"


def play(name, judge):
    lab = Lab()
    lab.pods = []
    try:
        run("ip", "addr", "add", f"{V6}1/64", "dev", lab.bridge, "nodad")
        pods, services = CASES[name]
        a, b = lab.host(), lab.host()
        for h in (a, b) if name != "IPv4" else ():
            give_v6(h, name == "IPv6")
        server = Server(lab, "server", host=a, args=("--cluster-cidr", pods, "--service-cidr", services)).wait_ready()
        eventually("the node's network is configured", lambda: os.path.exists(f"{server.data}/agent/etc/cni/net.d/10-flannel.conflist"))
        flannel = FlannelNode(lab, b, server, judge)
        flannel.learns(server.get("node", "server"))
        pod = Pod(lab, server, "kedge")
        lab.pods.append(pod)
        for who in (pod, flannel):
            lab.start("echo", who.command(sys.executable, "-c", ECHO))
        addresses = [ip["address"].split("/")[0] for ip in pod.result["ips"]]
        mtu = min(int(flannel.settings["FLANNEL_MTU"]), 1450 if name == "IPv4" else 1430)
        for there in flannel.addresses:
            eventually(f"Kedge's pod reaches {there}", lambda: asks(pod, there, mtu))
        for there in addresses:
            eventually(f"flannel's pod reaches {there}", lambda: asks(flannel, there, mtu))
        found = list(differences(lab, server, server, flannel, [":" in c for c in server.get("node", "k3s")["spec"]["podCIDRs"]]))
        print(f"{name}: pods reach each other at {', '.join(flannel.addresses + addresses)} with packets of up to {mtu} bytes; {len(found)} differences")
        for line in found:
            print("  " + line)
        return not found
    finally:
        for p in lab.pods:
            p.remove()
        run("ip", "netns", "del", lab.prefix + "p-fl", check=False)
        lab.close()


def main():
    judge = os.path.join(os.environ.get("KEDGE_JUDGES", ""), "flannel-vxlan")
    if not os.access(judge, os.X_OK):
        raise SystemExit("KEDGE_JUDGES names no folder with flannel-vxlan")
    return 0 if all([play(name, judge) for name in CASES]) else 1


if __name__ == "__main__":
    sys.exit(main())
