#!/usr/bin/env python3
"""What controllers do for a user beside workloads, with kubectl: certificates, tokens, volumes, autoscalers."""
import base64
import json
import os
import subprocess
import unittest

from harness import ClusterTest, Failed, eventually, main, run


class Controllers(ClusterTest):
    server_args = ("--disable-agent", "--kube-controller-manager-arg=horizontal-pod-autoscaler-sync-period=1s", "--kube-controller-manager-arg=cluster-signing-duration=48h")

    def apply(self, text):
        return self.kubectl("apply", "-f", "-", input="---\n" + text)  # what begins with a brace is read as JSON

    def whoami(self, *identity):
        """As whom the server knows somebody with these flags, and nothing else."""
        path = os.path.join(self.lab.folder, "bare.yaml")
        with open(self.server.kubeconfig) as f:
            lines = [line for line in f if not line.strip().startswith(("client-certificate-data", "client-key-data"))]
        with open(path, "w") as f:
            f.writelines("  user: {}\n" if line.rstrip() == "  user:" else line for line in lines)
        return json.loads(self.kubectl("--kubeconfig", path, *identity, "auth", "whoami", "-o", "json"))["status"]["userInfo"]

    def events(self, name):
        return [(e["reason"], e["message"]) for e in self.server.get("events")["items"] if e["involvedObject"]["name"] == name]

    def test_a_user_asks_for_a_certificate_and_is_who_it_says(self):
        folder = self.lab.folder
        key, request, certificate = (os.path.join(folder, "jane." + end) for end in ("key", "csr", "crt"))
        run("openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key, "-out", request, "-subj", "/O=dev/CN=jane")
        text = base64.b64encode(open(request, "rb").read()).decode()
        told = self.apply(f"""{{apiVersion: certificates.k8s.io/v1, kind: CertificateSigningRequest, metadata: {{name: jane}},
            spec: {{request: {text}, signerName: kubernetes.io/kube-apiserver-client, usages: [client auth]}}}}""")
        self.assertIn("created", told)
        self.kubectl("certificate", "approve", "jane")
        pem = eventually("it is signed", lambda: self.server.get("csr", "jane")["status"].get("certificate"))
        with open(certificate, "wb") as f:
            f.write(base64.b64decode(pem))
        self.assertRegex(self.kubectl("get", "csr", "jane"), r"jane .*Approved,Issued")
        who = self.whoami("--client-certificate", certificate, "--client-key", key)
        self.assertEqual((who["username"], "dev" in who["groups"]), ("jane", True))
        day = 24 * 3600
        self.assertEqual(subprocess.run(["openssl", "x509", "-in", certificate, "-noout", "-checkend", str(day)], capture_output=True).returncode, 0)
        self.assertEqual(subprocess.run(["openssl", "x509", "-in", certificate, "-noout", "-checkend", str(2 * day)], capture_output=True).returncode, 1)
        # What it is not for fails, and says why.
        self.apply(f"""{{apiVersion: certificates.k8s.io/v1, kind: CertificateSigningRequest, metadata: {{name: jane-serves}},
            spec: {{request: {text}, signerName: kubernetes.io/kube-apiserver-client, usages: [server auth]}}}}""")
        self.kubectl("certificate", "approve", "jane-serves")
        eventually("it fails", lambda: "Approved,Failed" in self.kubectl("get", "csr", "jane-serves"))

    def test_a_token_in_a_secret_is_its_accounts(self):
        self.kubectl("create", "serviceaccount", "build")
        self.apply("""{apiVersion: v1, kind: Secret, metadata: {name: build-token, annotations: {kubernetes.io/service-account.name: build}}, type: kubernetes.io/service-account-token}""")
        data = eventually("it has a token", lambda: (d := self.server.get("secret", "build-token").get("data", {})).get("token") and d)
        self.assertIn("BEGIN CERTIFICATE", base64.b64decode(data["ca.crt"]).decode())
        token = base64.b64decode(data["token"]).decode()
        self.assertEqual(self.whoami("--token", token)["username"], "system:serviceaccount:default:build")
        self.kubectl("delete", "serviceaccount", "build")
        eventually("the token goes with its account", lambda: "build-token" not in self.kubectl("get", "secrets", "-o", "name"))
        self.assertRaises(Failed, self.whoami, "--token", token)

    def test_a_volume_made_by_hand_is_bound_and_released(self):
        self.apply("""{apiVersion: v1, kind: PersistentVolume, metadata: {name: disk}, spec: {capacity: {storage: 5Gi}, accessModes: [ReadWriteOnce], storageClassName: "", hostPath: {path: /srv/disk}}}""")
        self.apply("""{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: data}, spec: {accessModes: [ReadWriteOnce], storageClassName: "", resources: {requests: {storage: 1Gi}}}}""")
        phase = lambda what: self.server.get(what)["status"]["phase"]
        eventually("both say so", lambda: (phase("pvc/data"), phase("pv/disk")) == ("Bound", "Bound"))
        self.assertEqual(self.server.get("pvc/data")["spec"]["volumeName"], "disk")
        self.kubectl("delete", "pvc", "data")
        eventually("it waits for somebody to look after it", lambda: phase("pv/disk") == "Released")
        self.kubectl("delete", "pv", "disk")

    def test_a_claim_waits_for_its_first_consumer(self):
        self.apply("""{apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {name: late}, provisioner: example.org/p, volumeBindingMode: WaitForFirstConsumer}""")
        self.apply("""{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: late}, spec: {accessModes: [ReadWriteOnce], storageClassName: late, resources: {requests: {storage: 1Gi}}}}""")
        eventually("it says so", lambda: ("WaitForFirstConsumer", "waiting for first consumer to be created before binding") in self.events("late"))
        self.kubectl("annotate", "pvc", "late", "volume.kubernetes.io/selected-node=a")
        eventually("its provisioner is told", lambda: self.server.get("pvc", "late")["metadata"]["annotations"].get("volume.kubernetes.io/storage-provisioner") == "example.org/p")

    def test_an_autoscaler_keeps_its_bounds_and_says_what_it_lacks(self):
        self.kubectl("create", "deployment", "web", "--image=x")
        self.kubectl("autoscale", "deployment", "web", "--min=3", "--max=5", "--cpu-percent=50")
        eventually("it is in its bounds", lambda: self.server.get("deployment", "web")["spec"]["replicas"] == 3)
        condition = lambda kind: next((c for c in self.server.get("hpa", "web")["status"].get("conditions", []) if c["type"] == kind), {})
        eventually("nothing measures its pods", lambda: condition("ScalingActive").get("reason") == "FailedGetResourceMetric")
        self.assertIn("unable to get metrics for resource cpu: ", condition("ScalingActive")["message"])
        self.assertIn("resource metrics API", condition("ScalingActive")["message"])
        self.assertEqual(condition("AbleToScale")["reason"], "SucceededGetScale")


if __name__ == "__main__":
    main()
