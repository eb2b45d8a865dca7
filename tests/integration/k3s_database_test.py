"""A K3s server's database opens in place: every object that K3s' API showed is there, before and after a restart and writes."""

import gzip
import json
import os
import shutil
import unittest

from harness import Lab, Server, eventually, main

DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data")
PLURALS = {"Deployment": "deployments.apps", "Service": "services", "ConfigMap": "configmaps", "Secret": "secrets", "Gizmo": "gizmos.example.com"}


class K3sDatabase(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lab = Lab()
        cls.addClassCleanup(cls.lab.close)
        folder = os.path.join(cls.lab.folder, "server", "server", "db")
        os.makedirs(folder)
        with gzip.open(os.path.join(DATA, "k3s-state.db.gz")) as packed, open(os.path.join(folder, "state.db"), "wb") as f:
            shutil.copyfileobj(packed, f)
        cls.server = Server(cls.lab, host=cls.lab.host(), args=("--disable-agent", "--token", "secret123", "--disable-controller-manager", "--disable-scheduler")).wait_ready()
        with open(os.path.join(DATA, "shop-objects.json")) as f:
            cls.objects = json.load(f)["items"]

    def read(self, o):
        got = self.server.get(PLURALS[o["kind"]], o["metadata"]["name"], "-n", "shop")
        got["metadata"].pop("managedFields", None)  # kubectl had left them out of the sample
        return got

    def compare(self):
        self.assertGreater(len(self.objects), 5)
        for o in self.objects:
            with self.subTest(kind=o["kind"], name=o["metadata"]["name"]):
                self.assertEqual(self.read(o), o)

    def test_every_object_is_as_k3s_showed_it(self):
        self.compare()

        # The server's first start adds nothing that it would complain about.
        self.assertNotIn("can't be read", self.server.log())

        kubectl = self.server.kubectl
        self.assertIn("gizmos.example.com", kubectl("get", "crd", "-o", "name"))
        self.assertIn("apiextensions.k8s.io/v1\n", kubectl("get", "crd", "gizmos.example.com", "-o", "jsonpath={.apiVersion}{'\\n'}"))
        self.assertIn("example.com/v1", kubectl("api-resources", "--api-group", "example.com"))
        self.assertIn("g1", kubectl("get", "gizmos", "-A"))

        # K3s's definitions stay as they are, and the AddOns of packaged components are brought in them.
        eventually("an AddOn", lambda: kubectl("get", "addon", "local-storage", "-n", "kube-system", "-o", "jsonpath={.spec.checksum}"))
        self.assertIn("controller-gen.kubebuilder.io/version", kubectl("get", "crd", "addons.k3s.cattle.io", "-o", "yaml"))
        self.assertIn("controller-gen.kubebuilder.io/version", kubectl("get", "crd", "helmcharts.helm.cattle.io", "-o", "yaml"))

        # Writes beside what K3s wrote, and over it.
        kubectl("create", "configmap", "mine", "-n", "shop", "--from-literal=a=b")
        kubectl("apply", "-f", "-", input=json.dumps({"apiVersion": "example.com/v1", "kind": "Gizmo", "metadata": {"name": "g2", "namespace": "shop"}, "spec": {"size": 4}}))
        kubectl("label", "configmap", "settings", "-n", "shop", "seen=yes")
        kubectl("patch", "gizmo", "g1", "-n", "shop", "--type=merge", "-p", '{"spec":{"color":"red"}}')
        changed = {o["metadata"]["name"]: o for o in self.objects}
        for name, change in (("settings", lambda o: o["metadata"].setdefault("labels", {}).update(seen="yes")),
                             ("g1", lambda o: (o["spec"].update(color="red"), o["metadata"].update(generation=2)))):
            o = changed[name]
            change(o)
            now = self.read(o)
            self.assertGreater(int(now["metadata"]["resourceVersion"]), int(o["metadata"]["resourceVersion"]))
            o["metadata"]["resourceVersion"] = now["metadata"]["resourceVersion"]
        self.compare()

        self.assertEqual(self.server.stop(), 0)
        self.server.start()
        self.server.wait_ready()
        self.compare()
        self.assertEqual(self.server.get("gizmo", "g2", "-n", "shop")["spec"], {"size": 4})
        self.assertEqual(self.server.get("configmap", "mine", "-n", "shop")["data"], {"a": "b"})

        # The custom resource's definition still governs: it goes with its objects.
        kubectl("delete", "crd", "gizmos.example.com")
        eventually("the resource is gone", lambda: "gizmos" not in kubectl("api-resources", "--api-group", "example.com"))


if __name__ == "__main__":
    main()
