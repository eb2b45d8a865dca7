"""From a bundle's file to a Ready node, on a machine without network (that of tests/integration/bundle_test.py)."""

import os
import sys
import time

from . import kit


def bundle():
    os.environ["KEDGE_BINARY"] = kit.KEDGE
    sys.path.insert(0, os.path.join(kit.ROOT, "tests/integration"))
    from harness import Lab, eventually, run
    from systemd_test import Machine
    lab = Lab()
    try:
        archive = os.path.join(lab.folder, "bundle.tar.gz")
        run(os.path.join(kit.ROOT, "scripts/bundle"), "--kedge", kit.KEDGE, "--output", archive, timeout=1800)
        kit.row("bundle, compressed", f"{os.path.getsize(archive) / 1e6:.1f} MB", "", "", "≤ 90 MB")
        machine = Machine(lab, lab.host(), 1)
        try:
            with open(archive, "rb") as given, open(f"/proc/{machine.init}/root/opt/kedge/one.tar.gz", "wb") as there:
                there.write(given.read())
            begun = time.monotonic()
            machine.install("--node-name", "one", INSTALL_KEDGE_BUNDLE="/opt/kedge/one.tar.gz")
            installed = time.monotonic() - begun
            eventually("Ready", lambda: machine.run("kedge", "kubectl", "get", "node", "one", "--no-headers").split()[1] == "Ready", timeout=120)
            kit.row("install from the bundle until node Ready", f"{time.monotonic() - begun:.1f} s, {installed:.1f} s of them the installer", "", "", "≤ 5 s")
        finally:
            machine.close()
    finally:
        lab.close()
