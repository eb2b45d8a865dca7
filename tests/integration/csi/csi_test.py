"""Volumes that others serve: a CSI driver from its registration to the last unmount, NFS by mount(8); with real containers, a driver of the test's
own, and the test as the attacher."""

import json
import os
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import Server, eventually, main
from runtime import ARGS, BUSYBOX, RuntimeLab, ready_node

PROGRAM = os.environ["KEDGE_CSI_DRIVER"]
NAME = "csi.test"
ATTACHMENTS = "/apis/storage.k8s.io/v1/volumeattachments"

# mount(8) as the agent finds it: what it was asked, and an export that isn't there.
MOUNT = """#!/bin/sh
echo "$@" >> {folder}/mounted
case "$*" in *missing*) echo "mount.nfs: mounting missing:/none failed, reason given by server: No such file or directory"; exit 32;; esac
for last; do :; done
exec /bin/mount -t tmpfs nfs-for-tests "$last"
"""


class Driver:
    def __init__(self, lab, root, name=NAME):
        self.lab, self.name, self.folder = lab, name, os.path.join(lab.folder, name)
        self.socket = os.path.join(root, "plugins", name, "csi.sock")
        self.registration = os.path.join(root, "plugins_registry", name + "-reg.sock")
        for folder in (self.folder, os.path.dirname(self.socket), os.path.dirname(self.registration)):
            os.makedirs(folder, exist_ok=True)
        self.start()

    def start(self):
        for path in (self.socket, self.registration):
            if os.path.exists(path):
                os.remove(path)
        self.process = self.lab.start(self.name, [PROGRAM, self.name, self.socket, self.registration, self.folder, "node-in-driver"])

    def stop(self):
        self.process.terminate()
        self.process.wait(20)
        os.remove(self.registration)

    def calls(self, volume=None):
        """What was done to a volume, without what is only asked."""
        with open(os.path.join(self.folder, "calls")) as f:
            return [c for c in map(json.loads, f) if c.get("volume") and volume in (None, c["volume"]) and c["method"] != "NodeGetVolumeStats"]

    def methods(self, volume):
        return [c["method"] for c in self.calls(volume)]

    def tell(self, what, text=""):
        with open(os.path.join(self.folder, what), "w") as f:
            f.write(text)

    def untell(self, what):
        os.remove(os.path.join(self.folder, what))


class Csi(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lab = RuntimeLab()
        cls.addClassCleanup(cls.lab.close)
        programs = os.path.join(cls.lab.folder, "programs")
        os.makedirs(programs)
        with open(os.path.join(programs, "mount"), "w") as f:
            f.write(MOUNT.format(folder=cls.lab.folder))
        os.chmod(f.name, 0o755)
        cls.server = cls.lab.adopt(Server(cls.lab, "server", host=cls.lab.host(), args=ARGS,
                                          env={"PATH": programs + ":" + os.environ["PATH"]}).wait_ready())
        ready_node(cls.server, "server")
        eventually("the account of pods", lambda: cls.server.get("serviceaccount", "default"))
        cls.root = os.path.join(cls.server.data, "agent/kubelet")
        cls.driver = Driver(cls.lab, cls.root)
        cls.create({"apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver", "metadata": {"name": NAME}, "spec": {
            "podInfoOnMount": True, "attachRequired": True, "volumeLifecycleModes": ["Persistent", "Ephemeral"], "fsGroupPolicy": "File",
            "tokenRequests": [{"audience": "vault"}]}})
        eventually("the driver is registered", lambda: os.path.exists(os.path.join(cls.driver.folder, "registered")))

    @classmethod
    def create(cls, what):
        cls.server.kubectl("create", "-f", "-", input=json.dumps(what))

    def claim(self, name, source, **spec):
        """A volume and its claim, bound."""
        size = {"storage": "1Gi"}
        modes = spec.pop("accessModes", ["ReadWriteOnce"])
        mode = spec.get("volumeMode", "Filesystem")
        self.create({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "pv-" + name}, "spec": {
            "capacity": size, "accessModes": modes, "persistentVolumeReclaimPolicy": "Retain", "storageClassName": "", **source, **spec,
            "claimRef": {"namespace": "default", "name": name}}})
        self.create({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": {
            "accessModes": modes, "storageClassName": "", "volumeMode": mode, "volumeName": "pv-" + name, "resources": {"requests": size}}})
        eventually(name + " is bound", lambda: self.server.get("pvc", name)["status"].get("phase") == "Bound")

    def csi(self, handle, **more):
        return {"csi": {"driver": NAME, "volumeHandle": handle, "volumeAttributes": {"kind": "test"}, **more}}

    def attach(self, volume):
        """What an external attacher does."""
        def wished():
            return [a for a in self.server.get("volumeattachments")["items"] if a["spec"]["source"]["persistentVolumeName"] == volume]
        (found,) = eventually("an attachment of " + volume, wished)
        self.assertEqual((NAME, "server"), (found["spec"]["attacher"], found["spec"]["nodeName"]))
        self.server.kubectl("patch", "volumeattachment", found["metadata"]["name"], "--subresource=status", "--type=merge", "-p",
                            json.dumps({"status": {"attached": True, "attachmentMetadata": {"device": "/dev/of-" + volume}}}))

    def pod(self, name, volume, command="true", mount=None, device=None, **spec):
        container = {"name": "main", "image": BUSYBOX, "imagePullPolicy": "IfNotPresent", "command": ["sh", "-c", "trap 'exit 0' TERM; " + command + "; sleep 1000 & wait"]}
        if device:
            container["volumeDevices"] = [{"name": "data", "devicePath": device}]
        else:
            container["volumeMounts"] = [{"name": "data", "mountPath": "/data", **(mount or {})}]
        self.create({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {
            "terminationGracePeriodSeconds": 1, "containers": [container], "volumes": [{"name": "data", **volume}], **spec}})

    def runs(self, name):
        eventually(name + " runs", lambda: self.server.get("pod", name)["status"].get("phase") == "Running")
        return self.server.get("pod", name)["metadata"]["uid"]

    def delete(self, name, **kw):
        self.server.kubectl("delete", "pod", name, "--wait=true", timeout=60, **kw)

    def messages(self, name, reason):
        return [e["message"] for e in self.server.get("events", "--field-selector", f"involvedObject.name={name}")["items"] if e["reason"] == reason]

    def mounted(self):
        with open("/proc/self/mounts") as f:
            return [line.split()[1] for line in f]

    def in_use(self):
        return self.server.get("node", "server")["status"].get("volumesInUse", [])

    def test_a_driver_that_has_gone_keeps_no_other_drivers_volume(self):
        self.create({"apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver", "metadata": {"name": "gone.test"}, "spec": {
            "attachRequired": False, "volumeLifecycleModes": ["Ephemeral"]}})
        gone = Driver(self.lab, self.root, "gone.test")
        eventually("it is registered", lambda: os.path.exists(os.path.join(gone.folder, "registered")))
        self.claim("stays", self.csi("handle-stays"))
        # Many of it, since in which order volumes are found is the file system's.
        inline = [{"name": f"gone-{i}", "csi": {"driver": "gone.test"}} for i in range(8)]
        claim = {"persistentVolumeClaim": {"claimName": "stays"}}
        self.pod("both", claim, volumes=[{"name": "data", **claim}, *inline])
        self.attach("pv-stays")
        self.runs("both")
        gone.stop()
        self.server.kubectl("delete", "pod", "both", "--wait=false")
        eventually("the other driver's volume leaves the node", lambda: self.driver.methods("handle-stays")[-2:] == ["NodeUnpublishVolume", "NodeUnstageVolume"])
        self.server.get("pod", "both")  # waits for its driver
        gone.start()
        eventually("the pod is gone", lambda: "both" not in [p["metadata"]["name"] for p in self.server.get("pods")["items"]])
        self.assertFalse([m for m in self.mounted() if "gone-" in m])
        gone.stop()

    def test_a_driver_is_told_to_the_cluster(self):
        def told():
            return self.server.get("csinode", "server")["spec"].get("drivers")
        self.assertEqual([{"name": NAME, "nodeID": "node-in-driver", "topologyKeys": ["topology.test/zone"], "allocatable": {"count": 7}}],
                         eventually("the driver", told))
        about = self.server.get("csinode", "server")["metadata"]
        self.assertEqual(["server"], [o["name"] for o in about["ownerReferences"]])
        self.assertIn("kubernetes.io/aws-ebs", about["annotations"]["storage.alpha.kubernetes.io/migrated-plugins"])
        node = self.server.get("node", "server")["metadata"]
        self.assertEqual({NAME: "node-in-driver"}, json.loads(node["annotations"]["csi.volume.kubernetes.io/nodeid"]))
        self.assertEqual("one", node["labels"]["topology.test/zone"])
        with open(os.path.join(self.driver.folder, "registered")) as f:
            self.assertEqual(1, json.load(f)["registered"])
        self.driver.stop()
        eventually("it is gone", lambda: not told())
        self.assertNotIn("csi.volume.kubernetes.io/nodeid", self.server.get("node", "server")["metadata"]["annotations"])
        self.driver.start()
        eventually("it is there again", told)

    def test_a_claim_from_its_attachment_to_its_last_unmount(self):
        self.create({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "key"}, "stringData": {"password": "of-the-volume"}})
        secret = {"name": "key", "namespace": "default"}
        self.claim("data", self.csi("handle-1", fsType="ext4", nodeStageSecretRef=secret, nodePublishSecretRef=secret),
                   mountOptions=["noatime"], accessModes=["ReadWriteOncePod"])
        claim = {"persistentVolumeClaim": {"claimName": "data"}}
        self.pod("one", claim, "echo kept > /data/file", mount={"subPath": "inside"}, securityContext={"fsGroup": 4321})
        self.attach("pv-data")
        uid = self.runs("one")
        unique = f"kubernetes.io/csi/{NAME}^handle-1"
        self.assertEqual([unique], self.in_use())
        eventually("the node says so", lambda: [v["name"] for v in self.server.get("node", "server")["status"].get("volumesAttached", [])] == [unique])
        stage, publish = self.driver.calls("handle-1")
        path = os.path.join(self.root, "pods", uid, "volumes/kubernetes.io~csi/pv-data/mount")
        self.assertEqual(("NodeStageVolume", {"device": "/dev/of-pv-data"}, {"password": "of-the-volume"}, {"kind": "test"},
                          {"fsType": "ext4", "flags": ["noatime"], "mode": 6}),
                         tuple(stage[k] for k in ("method", "publishContext", "secrets", "context", "capability")))
        self.assertRegex(stage["staging"], f"^{self.root}/plugins/kubernetes.io/csi/{NAME}/[0-9a-f]{{64}}/globalmount$")
        self.assertEqual(("NodePublishVolume", path, stage["staging"], {"password": "of-the-volume"}),
                         tuple(publish[k] for k in ("method", "target", "staging", "secrets")))
        context = publish["context"]
        self.assertEqual(("one", "default", uid, "default", "false", "test"),
                         tuple(context[k] for k in [*(f"csi.storage.k8s.io/{k}" for k in ("pod.name", "pod.namespace", "pod.uid", "serviceAccount.name", "ephemeral")), "kind"]))
        self.assertEqual({"token", "expirationTimestamp"}, set(json.loads(context["csi.storage.k8s.io/serviceAccount.tokens"])["vault"]))
        with open(os.path.join(os.path.dirname(path), "vol_data.json")) as f:
            self.assertEqual({"attachmentID": self.server.get("volumeattachments")["items"][0]["metadata"]["name"], "driverName": NAME, "nodeName": "server",
                              "specVolID": "pv-data", "volumeHandle": "handle-1", "volumeLifecycleMode": "Persistent"}, json.load(f))
        eventually("the file", lambda: os.path.exists(os.path.join(self.driver.folder, "handle-1/inside/file")))
        self.assertEqual(4321, os.stat(os.path.join(self.driver.folder, "handle-1/inside")).st_gid)
        # An agent that starts anew leaves it, and takes it away in the end.
        self.server.stop()
        self.server.start()
        self.server.wait_ready()
        eventually("the node still says so", lambda: self.in_use() == [unique])
        self.assertEqual("kept\n", eventually("it runs on", lambda: self.server.kubectl("exec", "one", "--", "cat", "/data/file")))
        mounts = self.driver.methods("handle-1")
        self.assertEqual(["NodeStageVolume", "NodePublishVolume"], mounts)
        def figures():
            stats = json.loads(self.server.kubectl("get", "--raw", "/api/v1/nodes/server/proxy/stats/summary"))
            return [v for p in stats["pods"] for v in p.get("volume", [])]
        (volume,) = eventually("its figures", figures)
        self.assertEqual((1000, 400, 60, "data", {"name": "data", "namespace": "default"}),
                         tuple(volume[k] for k in ("capacityBytes", "usedBytes", "inodesFree", "name", "pvcRef")))
        self.assertIn('kubelet_volume_stats_used_bytes{namespace="default",persistentvolumeclaim="data"} 400',
                      self.server.kubectl("get", "--raw", "/api/v1/nodes/server/proxy/metrics"))
        # After a power cut nothing is mounted, and all of it is done again.
        self.server.stop()
        for where in (os.path.join(self.root, "pods", uid), os.path.dirname(stage["staging"])):
            for mount in reversed([m for m in self.mounted() if m.startswith(where + "/")]):
                subprocess.run(["umount", "-l", mount], check=True)
        self.driver.stop()
        self.driver.start()
        self.server.start()
        self.server.wait_ready()
        mounts *= 2
        eventually("it is mounted again", lambda: path in self.mounted())
        self.delete("one")
        eventually("it isn't staged any more", lambda: "NodeUnstageVolume" in self.driver.methods("handle-1"))
        self.assertEqual([*mounts, "NodeUnpublishVolume", "NodeUnstageVolume"], self.driver.methods("handle-1"))
        eventually("it is detached", lambda: not self.in_use() and not self.server.get("volumeattachments")["items"])
        self.assertFalse(os.path.exists(os.path.join(self.root, "pods", uid)))
        self.assertFalse(os.path.exists(os.path.dirname(stage["staging"])))
        self.assertTrue(os.path.exists(os.path.join(self.driver.folder, "handle-1/inside/file")))

    def test_a_volume_of_the_pod_itself(self):
        self.pod("inline", {"csi": {"driver": NAME, "readOnly": True, "volumeAttributes": {"a": "b"}}})
        uid = self.runs("inline")
        publish = next(c for c in self.driver.calls() if c.get("context", {}).get("csi.storage.k8s.io/pod.name") == "inline")
        self.assertEqual(("true", "b", 1), (publish["context"]["csi.storage.k8s.io/ephemeral"], publish["context"]["a"], publish["readOnly"]))
        self.assertRegex(publish["volume"], "^csi-[0-9a-f]{64}$")
        self.assertEqual(os.path.join(self.root, "pods", uid, "volumes/kubernetes.io~csi/data/mount"), publish["target"])
        self.delete("inline")
        self.assertEqual(["NodePublishVolume", "NodeUnpublishVolume"], self.driver.methods(publish["volume"]))

    def test_what_goes_wrong_is_told_and_tried_again(self):
        self.driver.tell("fail-NodePublishVolume", "13 the disk is on fire")
        self.pod("sad", {"csi": {"driver": NAME}})
        self.assertEqual('MountVolume.SetUp failed for volume "data" : rpc error: code = Internal desc = the disk is on fire',
                         eventually("it is told", lambda: self.messages("sad", "FailedMount"))[0])
        self.driver.untell("fail-NodePublishVolume")
        self.runs("sad")
        self.pod("lost", {"csi": {"driver": "nobody.test"}})
        self.assertIn('volume mode "Ephemeral" not supported by driver nobody.test (no CSIDriver object)',
                      eventually("it is told", lambda: self.messages("lost", "FailedMount"))[0])
        self.delete("lost")
        self.pod("unbound", {"persistentVolumeClaim": {"claimName": "none"}}, nodeName="server")
        self.assertEqual("Unable to attach or mount volumes: unmounted volumes=[data], unattached volumes=[], failed to process volumes=[data]: error "
                         'processing PVC default/none: failed to fetch PVC from API server: persistentvolumeclaims "none" not found',
                         eventually("it is told", lambda: self.messages("unbound", "FailedMount"))[0])
        self.delete("unbound")
        # A driver that hangs holds the pod that has its volume, and no other.
        self.driver.tell("hang-NodeUnpublishVolume")
        self.server.kubectl("delete", "pod", "sad", "--wait=false")
        eventually("the driver is asked", lambda: "NodeUnpublishVolume" in [c["method"] for c in self.driver.calls()][-3:])
        self.pod("other", {"emptyDir": {}})
        self.runs("other")
        self.delete("other")
        self.assertEqual("sad", self.server.get("pod", "sad")["metadata"]["name"])
        self.driver.untell("hang-NodeUnpublishVolume")
        eventually("it is gone", lambda: not self.server.kubectl("get", "pod", "sad", "--ignore-not-found"))

    def test_a_block_volume_and_one_that_has_grown(self):
        self.claim("disk", self.csi("handle-2"), volumeMode="Block")
        self.server.kubectl("patch", "pv", "pv-disk", "--type=merge", "-p", json.dumps({"spec": {"capacity": {"storage": "2Gi"}}}))
        self.server.kubectl("patch", "pvc", "disk", "--subresource=status", "--type=merge", "-p", json.dumps({"status": {
            "allocatedResources": {"storage": "2Gi"}, "allocatedResourceStatuses": {"storage": "NodeResizePending"},
            "conditions": [{"type": "FileSystemResizePending", "status": "True"}]}}))
        self.pod("raw", {"persistentVolumeClaim": {"claimName": "disk"}}, "ls -l /dev/xvda", device="/dev/xvda")
        self.attach("pv-disk")
        uid = self.runs("raw")
        self.assertRegex(eventually("its log", lambda: self.server.kubectl("logs", "raw")), r"^b.* 7, +0 ")
        base = os.path.join(self.root, "plugins/kubernetes.io/csi/volumeDevices")
        stage, publish, grow = self.driver.calls("handle-2")
        self.assertEqual((f"{base}/staging/pv-disk", f"{base}/publish/pv-disk/{uid}", True),
                         (stage["staging"], publish["target"], publish["capability"]["block"]))
        link = os.path.join(self.root, "pods", uid, "volumeDevices/kubernetes.io~csi/pv-disk")
        self.assertEqual(publish["target"], os.readlink(link))
        self.assertIn(f"{base}/pv-disk/dev/{uid}", self.mounted())
        self.assertEqual(("NodeExpandVolume", link), (grow["method"], grow["target"]))
        status = self.server.get("pvc", "disk")["status"]
        self.assertEqual(("2Gi", None), (status["capacity"]["storage"], status.get("allocatedResourceStatuses")))
        self.assertNotIn("FileSystemResizePending", [c["type"] for c in status.get("conditions", [])])
        self.assertEqual(['MountVolume.NodeExpandVolume succeeded for volume "pv-disk" server'],
                         eventually("it is told", lambda: self.messages("disk", "FileSystemResizeSuccessful")))
        self.delete("raw")
        eventually("nothing is left", lambda: self.driver.methods("handle-2")[-2:] == ["NodeUnpublishVolume", "NodeUnstageVolume"]
                   and not os.path.exists(f"{base}/pv-disk"))

    def test_an_image_is_a_volume(self):
        self.pod("image", {"image": {"reference": BUSYBOX, "pullPolicy": "IfNotPresent"}},
                 "ls -l /data/bin/busybox; cat /data/etc/passwd; touch /data/x || echo refused")
        uid = self.runs("image")
        said = eventually("its log", lambda: (lambda text: "refused" in text and text)(self.server.kubectl("logs", "image")))
        self.assertIn("root:x:0:0:root:/root:/bin/sh", said)
        path = os.path.join(self.root, "pods", uid, "volumes/kubernetes.io~image/data")
        self.assertIn(path, self.mounted())
        self.pod("part", {"image": {"reference": BUSYBOX}}, "cat /data/passwd", mount={"subPath": "etc"})
        self.runs("part")
        self.assertIn("root:x:0:0", eventually("its log", lambda: self.server.kubectl("logs", "part")))
        self.delete("part")
        self.delete("image")
        self.assertFalse(os.path.exists(path))
        self.assertNotIn("kedge-volume", self.lab.ctr(self.server, "snapshots", "ls"))
        self.pod("none", {"image": {"reference": "docker.io/library/none:test", "pullPolicy": "Never"}})
        def waiting():
            return self.server.get("pod", "none")["status"].get("containerStatuses", [{}])[0].get("state", {}).get("waiting", {})
        eventually("it is told", lambda: waiting().get("reason") == "ErrImageNeverPull")
        self.assertEqual('Container image "docker.io/library/none:test" is not present with pull policy of Never', waiting()["message"])
        self.delete("none")

    def test_an_export_is_mounted_by_mount(self):
        self.claim("files", {"nfs": {"server": "fd00::7", "path": "/export"}}, mountOptions=["nfsvers=4.2", "hard"], accessModes=["ReadWriteMany"])
        self.pod("client", {"persistentVolumeClaim": {"claimName": "files", "readOnly": True}}, "grep ' /data ' /proc/mounts")
        uid = self.runs("client")
        path = os.path.join(self.root, "pods", uid, "volumes/kubernetes.io~nfs/pv-files")
        with open(os.path.join(self.lab.folder, "mounted")) as f:
            self.assertIn(f"-t nfs -o hard,nfsvers=4.2,ro -- [fd00::7]:/export {path}\n", f.readlines())
        self.assertIn("nfs-for-tests /data tmpfs", eventually("its log", lambda: self.server.kubectl("logs", "client")))
        self.delete("client")
        self.assertFalse(os.path.exists(path))
        self.pod("nowhere", {"nfs": {"server": "missing", "path": "/none"}})
        (said, *_) = eventually("it is told", lambda: self.messages("nowhere", "FailedMount"))
        uid = self.server.get("pod", "nowhere")["metadata"]["uid"]
        path = os.path.join(self.root, "pods", uid, "volumes/kubernetes.io~nfs/data")
        self.assertEqual(f'MountVolume.SetUp failed for volume "data" : mount failed: exit status 32\nMounting command: mount\n'
                         f"Mounting arguments: -t nfs missing:/none {path}\n"
                         "Output: mount.nfs: mounting missing:/none failed, reason given by server: No such file or directory\n", said)
        self.delete("nowhere")


if __name__ == "__main__":
    main()
