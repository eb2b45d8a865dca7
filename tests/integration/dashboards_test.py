"""docs/monitoring: a real Prometheus with that configuration reads a cluster, and each panel of the dashboards finds what it asks for."""

import json
import pathlib
import re
import shutil
import unittest
import urllib.parse
import urllib.request

from harness import Server, eventually, main, run
from runtime import ARGS, BUSYBOX, RuntimeLab, ready_node

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "docs" / "monitoring"
# Counted only by kernels with pressure stall information in cgroup v2.
BY_KERNEL = re.compile("container_pressure_")
PORT = 9490


def queries():
    for file in sorted(FOLDER.glob("*.json")):
        for panel in json.loads(file.read_text())["panels"]:
            for target in panel["targets"]:
                yield f"{file.name}: {panel['title']}", target["expr"].replace("$__rate_interval", "30s")


class Dashboards(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lab = RuntimeLab()
        cls.addClassCleanup(cls.lab.close)
        cls.host = cls.lab.host()
        cls.server = cls.lab.adopt(Server(cls.lab, "server", host=cls.host, args=ARGS).wait_ready())
        ready_node(cls.server, "server")
        eventually("the account of pods", lambda: cls.server.get("serviceaccount", "default"))
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "main"}, "spec": {
            "terminationGracePeriodSeconds": 1, "containers": [{"name": "main", "image": BUSYBOX, "imagePullPolicy": "Never", "command": ["sleep", "100000"]}]}}
        cls.server.kubectl("create", "-f", "-", input=json.dumps(pod))
        cls.server.kubectl("wait", "--for=condition=Ready", "pod/main", "--timeout=120s", timeout=150)
        cls.start_prometheus()

    @classmethod
    def start_prometheus(cls):
        folder = pathlib.Path(cls.lab.folder)
        cls.server.kubectl("apply", "-f", str(FOLDER / "rbac.yaml"))
        (folder / "token").write_text(cls.server.kubectl("-n", "monitoring", "create", "token", "prometheus"))
        text = (FOLDER / "prometheus.yml").read_text()
        for old, new in (("kube.example.org:6443", cls.server.url.removeprefix("https://")), ("/etc/prometheus/kedge.token", str(folder / "token")),
                         ("/etc/prometheus/kedge-ca.crt", cls.server.data + "/server/tls/server-ca.crt"), ("scrape_interval: 30s", "scrape_interval: 2s")):
            assert old in text, old
            text = text.replace(old, new)
        # Debian's Prometheus is built without the discovery of Kubernetes, so it is told what that would find.
        text, found = re.subn(r"kubernetes_sd_configs: (&nodes(\n {6}.*)+|\*nodes)", 'static_configs: [{targets: ["-"], labels: {__meta_kubernetes_node_name: server}}]', text)
        assert found == 3, found
        (folder / "prometheus.yml").write_text(text)
        run("promtool", "check", "config", str(folder / "prometheus.yml"))
        cls.lab.start("prometheus", cls.host.command(shutil.which("prometheus"), f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/tsdb",
                                                     f"--web.listen-address={cls.host.address}:{PORT}"))
        eventually("all four are read", lambda: sum(t["health"] == "up" for t in cls.ask("targets")["activeTargets"]) == 4, timeout=120)

    @classmethod
    def ask(cls, what, **parameters):
        url = f"http://{cls.host.address}:{PORT}/api/v1/{what}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=20) as answer:
            return json.loads(answer.read())["data"]

    def test_each_panel_finds_what_it_asks_for(self):
        wanted = dict(queries())
        self.assertGreater(len(wanted), 25)
        for name, query in wanted.items():
            with self.subTest(name):
                # That it is understood, whatever there is.
                self.ask("query", query=query)
                if not BY_KERNEL.search(query):
                    eventually(query, lambda q=query: self.ask("query", query=q)["result"], timeout=90, every=0.5)

    def test_each_legend_names_labels_that_are_there(self):
        for file in sorted(FOLDER.glob("*.json")):
            for panel in json.loads(file.read_text())["panels"]:
                for target in panel["targets"]:
                    query = target["expr"].replace("$__rate_interval", "30s")
                    if BY_KERNEL.search(query):
                        continue
                    with self.subTest(panel["title"]):
                        found = eventually(query, lambda q=query: self.ask("query", query=q)["result"], timeout=90, every=0.5)
                        for label in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]):
                            self.assertIn(label, found[0]["metric"])


if __name__ == "__main__":
    main()
