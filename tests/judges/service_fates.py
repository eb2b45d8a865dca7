#!/usr/bin/env python3
"""Services under Kedge's rules and under kube-proxy's (nftables mode): the same Services, the same packets, the same fates?

KEDGE_JUDGES=<folder with kube-proxy> tests/judges/service_fates.py [--services N] [--seed N] [--keep]

By hand, as root; it builds nothing. Two nodes of one name stand in networks of their own that are alike to the address: pods of the node and of
another one, the node, and a machine outside. On the one Kedge's agent keeps the rules, on the other kube-proxy, from one server. Services of all
kinds are generated from the seed, and everybody asks them at all their addresses, by TCP, UDP and SCTP. A fate is who answered and from which
address he was asked, or how it was refused; where it differs that is told, and the exit code is 1."""

import argparse
import json
import os
import random
import subprocess
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../integration"))

from harness import Agent, Lab, Server, eventually, run  # noqa: E402

PORTS = {"TCP": (80, 8080), "UDP": (53, 5300), "SCTP": (132, 3868)}
PODS = {"one": "10.42.3.2", "two": "10.42.3.3", "client": "10.42.3.4", "far": "10.42.7.2"}
NODE, OUTSIDE = "192.168.9.1", "192.168.9.2"
SOURCES = ("client", "one", "far", "node", "outside")
PROBE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "probe.py")


class World:
    """A node's network, and probes in it; `host` also has a way to the server."""

    def __init__(self, lab, host, letter):
        self.host, self.spaces, self.askers = host, {"node": host.name}, {}
        for name in (*PODS, "outside"):
            self.spaces[name] = f"{lab.prefix}{letter}{name}"
            lab.spaces.append(self.spaces[name])
            run("ip", "netns", "add", self.spaces[name])
            self.ip(name, "link", "set", "lo", "up")
        self.cable("node", "out0", "outside", "out1")
        self.ip("node", "addr", "add", NODE + "/24", "dev", "out0")
        self.ip("outside", "addr", "add", OUTSIDE + "/24", "dev", "out1")
        self.ip("node", "link", "add", "cni0", "type", "bridge")
        self.ip("node", "addr", "add", "10.42.3.1/24", "dev", "cni0")
        self.ip("node", "link", "set", "cni0", "up")
        for name in ("one", "two", "client"):
            self.cable("node", "to-" + name, name, "eth0")
            self.ip("node", "link", "set", "to-" + name, "master", "cni0")
            self.ip("node", "link", "set", "to-" + name, "type", "bridge_slave", "hairpin", "on")
            self.ip(name, "addr", "add", PODS[name] + "/24", "dev", "eth0")
            self.ip(name, "route", "add", "default", "via", "10.42.3.1")
        self.cable("outside", "to-far", "far", "eth0")
        self.ip("outside", "addr", "add", "10.42.7.1/24", "dev", "to-far")
        self.ip("far", "addr", "add", PODS["far"] + "/24", "dev", "eth0")
        self.ip("far", "route", "add", "default", "via", "10.42.7.1")
        self.ip("node", "route", "replace", "default", "via", OUTSIDE)
        for network in ("10.42.3.0/24", "10.43.0.0/16", "203.0.113.0/24", "203.0.114.0/24"):
            self.ip("outside", "route", "add", network, "via", NODE)
        for name in ("node", "outside"):
            # Every refusal is told, not one a second.
            self.execute(name, "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv4.icmp_ratelimit=0", "net.ipv4.icmp_msgs_per_sec=1000000",
                         "net.ipv4.icmp_msgs_burst=1000000")
        self.execute("node", "sysctl", "-qw", "net.bridge.bridge-nf-call-iptables=1")
        for name in ("one", "two", "far"):
            lab.start(f"{letter}-{name}", self.command(name, sys.executable, PROBE, "serve", name, *(f"{p}:{to}" for p, (_, to) in PORTS.items())))
        for name in SOURCES:
            self.askers[name] = subprocess.Popen(self.command(name, sys.executable, PROBE, "ask"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            lab.processes.append(self.askers[name])

    def command(self, name, *argv):
        return ["ip", "netns", "exec", self.spaces[name], *argv]

    def execute(self, name, *argv):
        return run(*self.command(name, *argv))

    def ip(self, name, *argv):
        return run("ip", "-n", self.spaces[name], *argv)

    def cable(self, a, end_a, b, end_b):
        self.ip(a, "link", "add", end_a, "type", "veth", "peer", "name", end_b, "netns", self.spaces[b])
        self.ip(a, "link", "set", end_a, "up")
        self.ip(b, "link", "set", end_b, "up")

    def ask(self, source, questions, tries):
        """The fates of questions [protocol, address, port], each as a sorted list."""
        asker = self.askers[source]
        asker.stdin.write(json.dumps({"questions": questions, "tries": tries}) + "\n")
        asker.stdin.flush()
        return json.loads(asker.stdout.readline())


def endpoint(rng, name, can_be_away):
    state = rng.choices(("ready", "ending", "away"), (8, 2, 1 if can_be_away else 0))[0]
    e = {"addresses": [PODS[name]], "nodeName": "there" if name == "far" else "here",
         "conditions": {"ready": state == "ready", "serving": state != "away", "terminating": state == "ending"}}
    if rng.random() < 0.3:
        zone = rng.choice(("z1", "z2"))
        e["zone"], e["hints"] = zone, {"forZones": [{"name": zone}]}
    return e


def generate(rng, number):
    """A Service, its endpoints, and its balancer's status."""
    kind = rng.choice(("ClusterIP", "NodePort", "LoadBalancer"))
    protocols = rng.sample(list(PORTS), rng.choice((1, 1, 2, 3)))
    spec = {"type": kind, "ports": [{"name": p.lower(), "protocol": p, "port": PORTS[p][0], "targetPort": PORTS[p][1]} for p in protocols]}
    if kind != "ClusterIP":
        for i, port in enumerate(spec["ports"]):
            port["nodePort"] = 30000 + number * 3 + i
        spec["externalTrafficPolicy"] = rng.choice(("Cluster", "Local"))
    if rng.random() < 0.3:
        spec["internalTrafficPolicy"] = "Local"
    if rng.random() < 0.25:
        spec["externalIPs"] = [f"203.0.113.{number + 1}"]
    if rng.random() < 0.2:
        spec |= {"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 600}}}
    if rng.random() < 0.15:
        spec["publishNotReadyAddresses"] = True
    if rng.random() < 0.3:
        spec["trafficDistribution"] = "PreferClose"
    status = None
    if kind == "LoadBalancer":
        spec["loadBalancerClass"] = "example.org/by-hand"
        if rng.random() < 0.4:
            spec["loadBalancerSourceRanges"] = rng.sample(["192.168.9.2/32", "10.42.3.4/32", "10.42.0.0/16", NODE + "/32", "198.51.100.0/24"], rng.choice((1, 2)))
        ingress = {"ip": f"203.0.114.{number + 1}"}
        if rng.random() < 0.3:
            ingress["ipMode"] = rng.choice(("VIP", "Proxy"))
        status = {"loadBalancer": {"ingress": [ingress]}}
    name = f"s{number}"
    names = rng.sample(["one", "two", "far"], rng.choice((0, 1, 1, 2, 2, 3)))
    endpoints = [endpoint(rng, n, True) for n in names]
    slice = {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
             "metadata": {"name": name + "-1", "labels": {"kubernetes.io/service-name": name}},
             "ports": [{"name": p.lower(), "protocol": p, "port": PORTS[p][1]} for p in protocols], "endpoints": endpoints}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}, slice, status


def questions_of(service):
    spec = service["spec"]
    balancers = [i["ip"] for i in service.get("status", {}).get("loadBalancer", {}).get("ingress", [])]
    for port in spec["ports"]:
        for address in [*spec["clusterIPs"], *spec.get("externalIPs", []), *balancers]:
            yield [port["protocol"], address, port["port"]]
        yield [port["protocol"], spec["clusterIPs"][0], 9999]  # which it hasn't
        if "nodePort" in port:
            yield [port["protocol"], NODE, port["nodePort"]]
            yield [port["protocol"], "10.42.3.1", port["nodePort"]]


def create(api, path, body):
    status, said = api.request("POST", path, body)
    if status != 201:
        raise SystemExit(f"POST {path}: {status} {said}")
    return said


def start_kedge(lab, server, world):
    return Agent(lab, "here", world.host, server.url, server.token(), args=("--node-ip", NODE, "--node-label", "topology.kubernetes.io/zone=z1"))


def start_kube_proxy(lab, server, world, judge):
    kubeconfig = os.path.join(lab.folder, "judge.yaml")
    with open(server.kubeconfig) as f, open(kubeconfig, "w") as to:
        to.writelines(line.split("server:")[0] + f"server: {server.url}\n" if "server:" in line else line for line in f)
    return lab.start("kube-proxy", world.host.command(
        judge, "--kubeconfig", kubeconfig, "--proxy-mode", "nftables", "--cluster-cidr", "10.42.0.0/16", "--detect-local-mode", "ClusterCIDR",
        "--hostname-override", "here", "--nodeport-addresses", "0.0.0.0/0", "--healthz-bind-address", "127.0.0.1:10256", "--conntrack-max-per-core", "0"))


def start_server(lab, host):
    return Server(lab, host=host, args=("--disable-agent", "--flannel-backend=none", "--disable=servicelb")).wait_ready()


def ask_everywhere(worlds, questions, tries):
    """By world and source, at once."""
    out = [{} for _ in worlds]

    def one(i, world, source):
        out[i][source] = world.ask(source, questions[source], tries)

    threads = [threading.Thread(target=one, args=(i, w, s)) for i, w in enumerate(worlds) for s in SOURCES]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return out


def without_choice(fates, affine):
    """Whom a client sticks to is anybody's choice, and with it whether the way back leads through the node."""
    return sorted({"somebody" if " " in f or f == "silent" else f for f in fates}) if affine else fates


def compare(worlds, services, rng):
    affine = {}
    questions = {s: [] for s in SOURCES}
    for service in services:
        for q in questions_of(service):
            affine[json.dumps(q)] = service["spec"].get("sessionAffinity") == "ClientIP"
            for s in SOURCES:
                questions[s].append(q)
    asked = sum(map(len, questions.values()))
    fates = {}
    for tries in (8, 40, 40):
        said = ask_everywhere(worlds, questions, tries)
        differ = {s: [] for s in SOURCES}
        for s in SOURCES:
            for i, q in enumerate(questions[s]):
                pair = [without_choice(w[s][i], affine[json.dumps(q)]) for w in said]
                fates[json.dumps([s, q])] = pair
                if pair[0] != pair[1]:
                    differ[s].append(q)
        # What was chance, or a machine that was busy, isn't so again.
        questions = differ
    return asked, fates, [(s, q, fates[json.dumps([s, q])]) for s in SOURCES for q in differ[s]]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--services", type=int, default=120)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--fates", help="a file for all of them, as JSON")
    options = parser.parse_args()
    if options.services > 250:
        parser.error("each service has an address of its own outside: 250 at most")
    judge = os.path.join(os.environ.get("KEDGE_JUDGES", ""), "kube-proxy")
    if not os.access(judge, os.X_OK):
        raise SystemExit("KEDGE_JUDGES names no folder with kube-proxy")
    rng = random.Random(options.seed)
    lab = Lab()
    lab.spaces = []
    try:
        control, ours, theirs = lab.host(), lab.host(), lab.host()
        server = start_server(lab, control)
        worlds = [World(lab, ours, "k"), World(lab, theirs, "j")]
        start_kedge(lab, server, worlds[0])
        eventually("the node is there", lambda: server.get("node", "here")["status"].get("addresses"))
        start_kube_proxy(lab, server, worlds[1], judge)
        api = server.api()
        services = []
        for number in range(options.services):
            service, slice, status = generate(rng, number)
            made = create(api, "/api/v1/namespaces/default/services", service)
            if status:
                code, made = api.request("PATCH", f"/api/v1/namespaces/default/services/{made['metadata']['name']}/status", {"status": status},
                                         {"Content-Type": "application/merge-patch+json"})
                assert code == 200, made
            create(api, "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", slice)
            services.append(made)
        # The last one; before it both know all others.
        last = create(api, "/api/v1/namespaces/default/services", {"metadata": {"name": "last"}, "spec": {"ports": [{"name": "tcp", "port": 80}]}})
        create(api, "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices",
               {"addressType": "IPv4", "metadata": {"name": "last-1", "labels": {"kubernetes.io/service-name": "last"}},
                "ports": [{"name": "tcp", "protocol": "TCP", "port": 8080}], "endpoints": [{"addresses": [PODS["one"]]}]})
        for world, who in zip(worlds, ("Kedge", "kube-proxy")):
            question = ["TCP", last["spec"]["clusterIP"], 80]
            eventually(f"{who} has all rules", lambda w=world: w.ask("client", [question], 1) == [["one " + PODS["client"]]], every=0.5)
        asked, fates, differ = compare(worlds, services, rng)
        if options.fates:
            with open(options.fates, "w") as f:
                json.dump(fates, f, indent=0)
        api.close()  # it has rested for too long
        for source, question, (kedge, proxy) in differ:
            print(f"{source} asks {' '.join(map(str, question))}: {kedge or 'nothing'}, kube-proxy: {proxy or 'nothing'}")
            for s in services:
                if question in list(questions_of(s)):
                    print("  " + json.dumps({k: v for k, v in s["spec"].items() if k not in ("clusterIP", "ipFamilies")}))
                    print("  " + json.dumps(api.get(f"/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/{s['metadata']['name']}-1")["endpoints"]))
        answered = sum(any(" " in f for f in pair[0]) for pair in fates.values())
        print(f"{asked} questions of {len(services)} services (seed {options.seed}), {answered} of them answered; {len(differ)} fates differ")
        return 1 if differ else 0
    finally:
        lab.close()
        for space in lab.spaces:
            run("ip", "netns", "del", space, check=False)


if __name__ == "__main__":
    sys.exit(main())
