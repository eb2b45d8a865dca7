"""Encryption at rest by a user's EncryptionConfiguration: what lies in the database, a file that changes, a real KMS plugin.

The plugin is tests/integration/kms, which needs go and, once, the Go module proxy; its test is skipped without.
"""

import base64
import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import unittest

from harness import BINARY, ClusterTest, Lab, Server, eventually, main, run

HERE = os.path.dirname(os.path.abspath(__file__))


def key(byte, size=32):
    return base64.b64encode(bytes([byte]) * size).decode()


def local(kind, name, byte):
    return {kind: {"keys": [{"name": name, "secret": key(byte)}]}}


class Encryption(ClusterTest):
    @classmethod
    def setUpClass(cls):
        cls.lab = Lab()
        cls.addClassCleanup(cls.lab.close)
        cls.file = os.path.join(cls.lab.folder, "encryption.json")
        cls.write(["secrets", "widgets.example.com"], local("aescbc", "a", 1), {"identity": {}})
        cls.host = cls.lab.host()
        cls.server = Server(cls.lab, host=cls.host, args=["--disable-agent", f"--kube-apiserver-arg=encryption-provider-config={cls.file}",
                                           "--kube-apiserver-arg=encryption-provider-config-automatic-reload=true"]).wait_ready()

    @classmethod
    def write(cls, resources, *providers):
        with open(cls.file + ".new", "w") as f:
            json.dump({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "EncryptionConfiguration",
                       "resources": [{"resources": resources, "providers": list(providers)}]}, f)
            cls.versions = getattr(cls, "versions", 0) + 1
            f.write(" " * cls.versions)  # another file each time
        os.rename(cls.file + ".new", cls.file)

    def stored(self, name):
        """The newest value of a key, as it lies there: in a copy, since the server has the database for itself."""
        def read():
            copy = os.path.join(self.lab.folder, "copy")
            shutil.rmtree(copy, ignore_errors=True)
            os.makedirs(copy)
            for suffix in ("", "-wal"):
                shutil.copy(f"{self.server.data}/server/db/state.db{suffix}", copy)
            try:
                with sqlite3.connect(os.path.join(copy, "state.db")) as db:
                    return db.execute("SELECT value FROM kine WHERE name = ? ORDER BY id DESC LIMIT 1", (name,)).fetchone()
            except sqlite3.DatabaseError:
                return None  # it changed while it was copied
        return bytes(eventually(f"{name} is there", read)[0])

    def replace(self, name):
        """Writes a Secret as it is, as people do to have it encrypted anew."""
        self.kubectl("replace", "-f", "-", input=self.kubectl("get", "secret", name, "-o", "json"))

    def test_what_is_encrypted_and_a_file_that_changes(self):
        self.kubectl("create", "secret", "generic", "s", "--from-literal=password=open-sesame-1")
        self.kubectl("create", "configmap", "c", "--from-literal=k=v")
        self.assertTrue(self.stored("/registry/secrets/default/s").startswith(b"k8s:enc:aescbc:v1:a:"))
        self.assertTrue(self.stored("/registry/configmaps/default/c").startswith(b"{"))
        before = self.server.get("secret", "s")["metadata"]["resourceVersion"]
        self.replace("s")
        self.assertEqual(self.server.get("secret", "s")["metadata"]["resourceVersion"], before)

        self.write(["secrets"], {"aescbc": {"keys": [{"name": "a", "secret": "AAAA"}]}})
        eventually("the wrong file is told of", lambda: "secret is not of the expected length, got 3" in self.server.log())
        self.write(["*."], local("secretbox", "b", 2), local("aescbc", "a", 1), {"identity": {}})
        eventually("the other file counts", lambda: "is encrypted as it says" in self.server.log())
        self.assertEqual(self.server.get("secret", "s")["data"]["password"], base64.b64encode(b"open-sesame-1").decode())
        self.replace("s")
        self.assertTrue(self.stored("/registry/secrets/default/s").startswith(b"k8s:enc:secretbox:v1:b:"))
        self.assertNotEqual(self.server.get("secret", "s")["metadata"]["resourceVersion"], before)
        self.kubectl("create", "configmap", "d", "--from-literal=k=v")
        self.assertTrue(self.stored("/registry/configmaps/default/d").startswith(b"k8s:enc:secretbox:v1:b:"))

        told = self.kubectl("get", "--raw", "/metrics")
        self.assertRegex(told, r'(?m)^apiserver_encryption_config_controller_automatic_reloads_total\{apiserver_id_hash="sha256:[0-9a-f]{64}",status="failure"\} [1-9]')
        self.assertRegex(told, r'(?m)^apiserver_encryption_config_controller_automatic_reload_last_timestamp_seconds\{apiserver_id_hash="sha256:[0-9a-f]{64}",status="failure"\} 1\d{9}$')

        self.server.stop()
        self.server.start()
        self.server.wait_ready()
        self.assertEqual(self.server.get("configmap", "d")["data"], {"k": "v"})
        self.assertEqual(self.server.get("secret", "s")["data"]["password"], base64.b64encode(b"open-sesame-1").decode())

    def test_with_a_kms_plugin(self):
        plugin = self.build_plugin()
        folder = os.path.join(self.lab.folder, "kms")
        os.makedirs(folder, exist_ok=True)
        socket = os.path.join(folder, "s")

        def say(name, text):
            with open(os.path.join(folder, name), "w") as f:
                f.write(text)

        say("key-id", "first")
        running = subprocess.Popen([plugin, socket, folder])
        self.addCleanup(lambda: running.kill() or running.wait())
        eventually("the plugin listens", lambda: os.path.exists(socket))
        kms = {"kms": {"apiVersion": "v2", "name": "vault", "endpoint": f"unix://{socket}", "timeout": "2s"}}
        self.write(["*."], kms, local("secretbox", "b", 2), local("aescbc", "a", 1), {"identity": {}})

        def sealed(name):
            self.kubectl("create", "secret", "generic", name, "--from-literal=k=v")
            return self.stored(f"/registry/secrets/default/{name}").startswith(b"k8s:enc:kms:v2:vault:")
        number = iter(range(100))
        eventually("the plugin's key writes", lambda: sealed(f"k{next(number)}"))
        self.kubectl("create", "secret", "generic", "kept", "--from-literal=k=v")
        self.assertIn("[+]kms-providers ok", self.kubectl("get", "--raw", "/readyz?verbose"))
        # One seed for all of them.
        self.assertEqual(open(os.path.join(folder, "calls")).read(), "encrypt first\n")

        # Ill, and then with another key: a file that is written anew is a reason to look.
        say("healthz", "sealed off")
        rules = (["*."], kms, local("secretbox", "b", 2), local("aescbc", "a", 1), {"identity": {}})
        self.write(*rules)

        def ill():
            answer = self.kubectl("get", "--raw", "/livez/kms-providers", check=False)
            return answer.returncode != 0
        eventually("it is told of", ill)
        eventually("the file is not taken", lambda: "got unexpected healthz status: sealed off" in self.server.log())
        say("healthz", "ok")
        eventually("it is well again", lambda: not ill())
        say("key-id", "second")
        self.write(*rules)
        eventually("the other key is taken", lambda: "encrypt second" in open(os.path.join(folder, "calls")).read())
        eventually("it writes", lambda: self.replace("kept") or b"second" in self.stored("/registry/secrets/default/kept"))
        told = self.kubectl("get", "--raw", "/metrics")
        key = hashlib.sha256(b"second").hexdigest()
        for family in ("key_id_hash_total", "key_id_hash_last_timestamp_seconds"):
            self.assertRegex(told, rf'(?m)^apiserver_envelope_encryption_{family}\{{apiserver_id_hash="sha256:[0-9a-f]{{64}}",key_id_hash="sha256:{key}",'
                                   r'provider_name="vault",transformation_type="to_storage"\} [1-9]')
        self.assertRegex(told, r'(?m)^apiserver_envelope_encryption_kms_operations_latency_seconds_count\{grpc_status_code="OK",'
                               r'method_name="/v2.KeyManagementService/Encrypt",provider_name="vault"\} [1-9]')
        self.assertRegex(told, r'(?m)^apiserver_envelope_encryption_dek_source_cache_size\{provider_name="vault"\} [1-9]')

        # A start without the plugin waits for it, and needs no other.
        self.server.stop()
        running.kill()
        running.wait()
        os.remove(socket)
        self.server.start()
        eventually("it waits", lambda: "status section of the healthz check for KMS Provider vault" in self.server.log())
        again = subprocess.Popen([plugin, socket, folder])
        self.addCleanup(lambda: again.kill() or again.wait())
        self.server.wait_ready()
        self.assertEqual(self.server.get("secret", "kept")["data"]["k"], "dg==")
        self.assertIn("decrypt second", open(os.path.join(folder, "calls")).read())

    def build_plugin(self):
        if not shutil.which("go"):
            raise unittest.SkipTest("no go here")
        folder = os.path.join(self.lab.folder, "plugin")
        shutil.copytree(os.path.join(HERE, "kms"), folder)
        built = subprocess.run(["go", "build", "-ldflags=-s -w", "-o", os.path.join(folder, "kms"), "."], cwd=folder, capture_output=True,
                               text=True, timeout=600)
        if built.returncode != 0:
            if "dial tcp" in built.stderr or "lookup" in built.stderr:
                raise unittest.SkipTest("the Go module proxy can't be reached")
            raise RuntimeError(built.stderr)
        return os.path.join(folder, "kms")

    def test_files_with_errors_end_the_start(self):
        broken = os.path.join(self.lab.folder, "broken.json")
        with open(broken, "w") as f:
            json.dump({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "EncryptionConfiguration", "resources": [
                {"resources": ["secrets"], "providers": [{"kms": {"name": "k", "endpoint": "unix:///k"}}]}]}, f)
        ended = run(*self.host.command(BINARY, "server", "--data-dir", os.path.join(self.lab.folder, "never"), "--disable-agent",
                    f"--kube-apiserver-arg=encryption-provider-config={broken}"), check=False)
        self.assertNotEqual(ended.returncode, 0)
        self.assertIn("KMSv1 is deprecated", ended.stderr + ended.stdout)
        ended = run(*self.host.command(BINARY, "server", "--data-dir", os.path.join(self.lab.folder, "never"), "--disable-agent",
                    "--kube-apiserver-arg=encryption-provider-config-automatic-reload=true"), check=False)
        self.assertIn("must be set with encryption-provider-config", ended.stderr + ended.stdout)


if __name__ == "__main__":
    main()
