"""client-go against one server: what operators and other programs are made of. main.go says what each check is.

Needs go and, once, the Go module proxy; skipped (77) without.
"""

import os
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))

from harness import ClusterTest, main, run  # noqa: E402

CHECKS = ["encodings", "errors", "pages", "discovery", "dynamic", "metadata", "informer", "watch-list", "resumed-watch", "leader-election",
          "events", "conflicts", "apply", "scale"]


def build_go(folder):
    if not shutil.which("go"):
        print("no go here: skipped")
        sys.exit(77)
    os.makedirs(folder)
    for name in os.listdir(HERE):
        if name.endswith(".go") or name.startswith("go."):
            shutil.copy(os.path.join(HERE, name), folder)
    binary = os.path.join(folder, "clientgo")
    built = subprocess.run(["go", "build", "-ldflags=-s -w", "-o", binary, "."], cwd=folder, capture_output=True, text=True, timeout=900)
    if built.returncode != 0:
        if "dial tcp" in built.stderr or "lookup" in built.stderr:
            print("the Go module proxy can't be reached: skipped\n" + built.stderr)
            sys.exit(77)
        raise RuntimeError(built.stderr)
    return binary


class ClientGo(ClusterTest):
    # The checks change Deployments that nobody else does.
    server_args = ("--disable-agent", "--kube-controller-manager-arg=controllers=*,-deployment-controller")

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.program = build_go(os.path.join(cls.lab.folder, "clientgo"))

    def check(self, name):
        p = run(*self.host.command(self.program, self.server.kubeconfig, name), check=False, timeout=300)
        self.assertEqual(p.returncode, 0, f"{name}:\n{p.stdout}{p.stderr[-4000:]}")


for check in CHECKS:
    setattr(ClientGo, "test_" + check.replace("-", "_"), lambda self, name=check: self.check(name))


if __name__ == "__main__":
    main()
