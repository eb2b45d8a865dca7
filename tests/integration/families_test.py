"""Both families of addresses, and IPv6 alone: pods of two nodes, Services, names, NAT to the outside, policies, tunnels."""

import json
import os
import unittest

import network_test
from harness import Agent, Failed, Lab, Server, eventually, is_ready, main, run
from network_test import FETCH, fetched

V6 = "fd00:97::"

# Tells each client by which address it came.
TELLS = """
import http.server, socket
class Teller(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.client_address[0].encode())
class Server(http.server.HTTPServer):
    address_family = socket.AF_INET6
Server(("::", 8080), Teller).serve_forever()
"""


class Families(network_test.Network):
    test_pods_services_and_names_over_two_nodes = test_policies_of_the_whole_cluster = test_names_that_users_configure = None  # that module's own

    def host(self, only_v6=False):
        h = self.lab.host()
        h.v6 = f"{V6}{h.address.rsplit('.', 1)[1]}"
        run("ip", "-n", h.name, "addr", "add", f"{h.v6}/64", "dev", "eth0", "nodad")
        run("ip", "-n", h.name, "route", "add", "default", "via", f"{V6}1")
        if only_v6:
            run("ip", "-n", h.name, "addr", "del", f"{h.address}/24", "dev", "eth0")
            h.address = f"[{h.v6}]"
        return h

    def pod(self, node, name, nameserver="10.43.0.10"):
        p = super().pod(node, name)
        p.addresses = [ip["address"].split("/")[0] for ip in p.result["ips"]]
        with open(f"/etc/netns/{p.name}/resolv.conf", "w") as f:
            f.write(f"nameserver {nameserver}\nsearch default.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n")
        return p

    def serve(self, *pods):
        """Each serves its own name, on both families."""
        for p in pods:
            folder = os.path.join(self.lab.folder, p.name)
            os.makedirs(folder, exist_ok=True)
            with open(os.path.join(folder, "index.html"), "w") as f:
                f.write(p.name.split("-p-")[1])
            self.lab.start(p.name, p.command("busybox", "httpd", "-f", "-p", "[::]:8080", "-h", folder))

    def tell(self, host):
        self.lab.start("teller", host.command("python3", "-c", TELLS))

    def service(self, server, name, pods, family_of, **spec):
        """A Service without selector; `family_of`: addresses of a family behind it."""
        server.kubectl("apply", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
                       "spec": {"ports": [{"name": "http", "port": 80, "targetPort": 8080}], **spec}}))
        for family in family_of:
            server.kubectl("apply", "-f", "-", input=json.dumps({
                "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": family,
                "metadata": {"name": f"{name}-{family.lower()}", "labels": {"kubernetes.io/service-name": name}},
                "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
                "endpoints": [{"addresses": [next(a for a in p.addresses if (":" in a) == (family == "IPv6"))], "nodeName": p.node.name} for p in pods]}))
        return server.get("service", name)["spec"]

    def slice_ready(self, asks, url, names):
        eventually(f"{url} is answered by all", lambda: {asks.fetch(url) for _ in range(12)} == names)

    def test_both_families(self):
        a, b = self.host(), self.host()
        server = Server(self.lab, "server", host=a, args=["--cluster-cidr", "10.42.0.0/16,fd00:42::/56", "--service-cidr", "10.43.0.0/16,fd00:43::/112",
                                                          "--flannel-ipv6-masq"]).wait_ready()
        worker = Agent(self.lab, "worker", b, server.url, server.token())
        for node in (server, worker):
            self.configured(server, node)
            seen = server.get("node", node.name)
            self.assertEqual([":" in r for r in seen["spec"]["podCIDRs"]], [False, True])
            self.assertEqual([x["address"] for x in seen["status"]["addresses"] if x["type"] == "InternalIP"], [node.host.address, node.host.v6])
            self.assertEqual(seen["metadata"]["annotations"]["flannel.alpha.coreos.com/public-ipv6"], node.host.v6)
        one, two, asks = self.pod(server, "one"), self.pod(worker, "two"), self.pod(worker, "asks")
        self.assertEqual([":" in x for x in one.addresses], [False, True])
        self.serve(one, two)
        for address in one.addresses:
            url = f"http://[{address}]:8080" if ":" in address else f"http://{address}:8080"
            eventually(f"the other node's pod at {address}", lambda: asks.fetch(url) == "one")

        both = self.service(server, "both", [one, two], ["IPv4", "IPv6"], ipFamilyPolicy="PreferDualStack", type="NodePort")
        self.assertEqual(both["ipFamilies"], ["IPv4", "IPv6"])
        self.assertEqual([":" in ip for ip in both["clusterIPs"]], [False, True])
        four, six = both["clusterIPs"]
        self.slice_ready(asks, f"http://{four}", {"one", "two"})
        self.slice_ready(asks, f"http://[{six}]", {"one", "two"})
        self.assertIn(asks.run(*FETCH, "-6", "http://both"), ("one", "two"))
        self.assertIn(asks.run(*FETCH, "-4", "http://both"), ("one", "two"))
        # IPv6's reserved objects, and only for as long as the Service has them.
        self.assertEqual(server.get("ipaddress", six)["metadata"]["labels"]["ipaddress.kubernetes.io/ip-family"], "IPv6")
        outside = self.host()
        port = both["ports"][0]["nodePort"]
        for node in (a, b):
            self.assertIn(eventually("by a node's IPv6 address", lambda: fetched(outside, f"http://[{node.v6}]:{port}")), ("one", "two"))
            self.assertIn(fetched(outside, f"http://{node.address}:{port}"), ("one", "two"))
        self.assertIn(run(*b.command(*FETCH, f"http://[{six}]")), ("one", "two"))

        # One family, whichever; a change of mind.
        only = self.service(server, "only", [two], ["IPv6"], ipFamilies=["IPv6"])
        self.assertEqual(only["ipFamilyPolicy"], "SingleStack")
        self.slice_ready(asks, f"http://[{only['clusterIP']}]", {"two"})
        server.kubectl("patch", "service", "only", "-p", '{"spec":{"ipFamilyPolicy":"RequireDualStack"}}')
        grown = server.get("service", "only")["spec"]
        self.assertEqual(grown["ipFamilies"], ["IPv6", "IPv4"])
        self.assertEqual(grown["clusterIPs"][0], only["clusterIP"])
        server.kubectl("patch", "service", "only", "-p", '{"spec":{"ipFamilyPolicy":"SingleStack"}}')
        self.assertEqual(server.get("service", "only")["spec"]["clusterIPs"], [only["clusterIP"]])
        eventually("the second address is free again", lambda: grown["clusterIPs"][1] not in server.kubectl("get", "ipaddresses", "-o", "name"))

        # The node's address towards the outside, in both families.
        self.tell(outside)
        self.assertEqual(eventually("IPv6 outside", lambda: fetched(asks, f"http://[{outside.v6}]:8080")), b.v6)
        self.assertEqual(asks.fetch(f"http://{outside.address}:8080"), f"::ffff:{b.address}")

        # Names: AAAA, PTR of ip6.arpa, the nodes'; a load balancer in both families.
        self.assertIn(six, asks.run("busybox", "nslookup", "-type=aaaa", "both.default.svc.cluster.local"))
        self.assertIn("both.default.svc.cluster.local", asks.run("dig", "+short", "-x", six) if run("sh", "-c", "command -v dig || true").strip()
                      else asks.run("busybox", "nslookup", "-type=ptr", reverse(six)))
        self.assertIn(b.v6, asks.run("busybox", "nslookup", "-type=aaaa", "worker."))
        self.service(server, "balanced", [one, two], ["IPv4", "IPv6"], ipFamilyPolicy="RequireDualStack", type="LoadBalancer",
                     ports=[{"name": "http", "port": 8090, "targetPort": 8080}])
        eventually("its addresses are the nodes' of both families", lambda: {i["ip"] for i in server.get("service", "balanced")["status"]["loadBalancer"].get("ingress", [])}
                   == {a.address, b.address, a.v6, b.v6})
        self.assertIn(eventually("it is reached", lambda: fetched(outside, f"http://[{a.v6}]:8090")), ("one", "two"))

        # The API's Service is of the first family; the certificate names both.
        kubernetes = server.get("service", "kubernetes")["spec"]
        self.assertEqual(kubernetes["clusterIPs"], ["10.43.0.1"])
        self.assertEqual(server.get("servicecidr", "kubernetes")["spec"]["cidrs"], ["10.43.0.0/16", "fd00:43::/112"])
        names = run(*b.command("sh", "-c", f"openssl s_client -connect {a.address}:6443 </dev/null 2>/dev/null | openssl x509 -noout -ext subjectAltName"))
        self.assertIn("FD00:43:0:0:0:0:0:1", names)
        self.assertIn("ok", server.kubectl("get", "--raw", "/api/v1/nodes/worker/proxy/healthz"))
        # Another range of addresses, while it goes on.
        server.kubectl("apply", "-f", "-", input=json.dumps({"apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": "more"},
                                                            "spec": {"cidrs": ["10.99.0.0/24", "fd00:99::/112"]}}))
        eventually("it is ready", lambda: any(c["status"] == "True" for c in server.get("servicecidr", "more").get("status", {}).get("conditions", [])))
        more = self.service(server, "more", [one], ["IPv4", "IPv6"], ipFamilyPolicy="RequireDualStack", clusterIP="10.99.0.7",
                            clusterIPs=["10.99.0.7", "fd00:99::7"])
        self.assertEqual(more["clusterIPs"], ["10.99.0.7", "fd00:99::7"])
        self.slice_ready(asks, "http://10.99.0.7", {"one"})
        self.slice_ready(asks, "http://[fd00:99::7]", {"one"})

    def test_ipv6_alone(self):
        a, b = self.host(only_v6=True), self.host(only_v6=True)
        server = Server(self.lab, "server", host=a, args=["--flannel-ipv6-masq"]).wait_ready()
        worker = Agent(self.lab, "worker", b, server.url, server.token())
        for node in (server, worker):
            self.configured(server, node)
            seen = server.get("node", node.name)
            self.assertRegex(seen["spec"]["podCIDR"], r"^fd00:42:.*/64$")
            self.assertEqual([x["address"] for x in seen["status"]["addresses"] if x["type"] == "InternalIP"], [node.host.v6])
        one, two, asks = (self.pod(n, name, "fd00:43::a") for n, name in ((server, "one"), (worker, "two"), (worker, "asks")))
        self.assertEqual(one.addresses, [one.address])
        self.serve(one, two)
        eventually("the other node's pod", lambda: asks.fetch(f"http://[{one.address}]:8080") == "one")
        web = self.service(server, "web", [one, two], ["IPv6"], type="NodePort")
        self.assertEqual(web["ipFamilies"], ["IPv6"])
        self.assertRegex(web["clusterIP"], "^fd00:43::")
        self.slice_ready(asks, "http://web", {"one", "two"})
        outside = self.host()
        for node in (a, b):
            self.assertIn(eventually("by a node's address", lambda: fetched(outside, f"http://[{node.v6}]:{web['ports'][0]['nodePort']}")), ("one", "two"))
        self.tell(outside)
        self.assertEqual(eventually("the outside", lambda: fetched(asks, f"http://[{outside.v6}]:8080")), b.v6)
        self.assertEqual(server.get("service", "kubernetes")["spec"]["clusterIP"], "fd00:43::1")
        self.assertEqual(server.get("endpointslices", "kubernetes")["endpoints"][0]["addresses"], [a.v6])
        self.assertIn("Unauthorized", asks.run("curl", "-s", "-k", "-m", "5", "https://kubernetes.default/api"))
        self.assertIn("ok", server.kubectl("get", "--raw", "/api/v1/nodes/worker/proxy/healthz"))
        with self.assertRaisesRegex(Failed, "not configured on this cluster"):
            self.service(server, "four", [], [], ipFamilies=["IPv4"])


def reverse(address):
    import ipaddress
    return ipaddress.ip_address(address).reverse_pointer


if __name__ == "__main__":
    main()
