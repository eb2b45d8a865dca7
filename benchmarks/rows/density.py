"""What a pod costs a node beside its own processes: our shim and the Go shim on one containerd, in turn.

A pod is two containers of a group, a sandbox and one beside it, without a network: what differs is the shim."""

import concurrent.futures
import glob
import statistics
import sys

from .kit import *

PODS = int(os.environ.get("KEDGE_BENCH_PODS", "100"))
REST_SECONDS = 20
STREAM_MB = 512
TYPES = {"kedge": "io.containerd.kedge.v2", "runc": "io.containerd.runc.v2"}


def node():
    """The containerd of the integration tests."""
    sys.path.insert(0, os.path.join(ROOT, "tests/integration"))
    os.environ.setdefault("KEDGE_BINARY", KEDGE)
    os.environ.setdefault("KEDGE_SHIM", os.path.join(BUILD, "src/cli/containerd-shim-kedge-v2"))
    import shim_test
    return shim_test


def shims(folder):
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = open(path).read().split("\0")
            if "containerd-shim" in words[0] and folder + "/c.sock" in words:
                yield path.split("/")[2]


def pss_kib(pid):
    return int(re.search(r"^Pss: +(\d+)", open(f"/proc/{pid}/smaps_rollup").read(), re.M).group(1))


def memory_and_rest(tests, n, kind, figures):
    def pod(i):
        for part in ("sandbox", "main"):
            n.run(TYPES[kind], f"{kind}{i}-{part}", "sleep", "100000", flags=["-d", "--null-io", "--annotation", f"io.containerd.runc.v2.group={kind}{i}"], timeout=300)

    began = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(pod, range(PODS)))
    figures["start", kind] = time.monotonic() - began
    time.sleep(2)
    pids = list(shims(n.folder))
    figures["pss", kind] = sum(map(pss_kib, pids)) / 1024
    figures["shims", kind] = len(pids)
    before = sum(map(cpu_seconds, pids))
    time.sleep(REST_SECONDS)
    figures["rest", kind] = (sum(map(cpu_seconds, pids)) - before) / REST_SECONDS * 100
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda i: n.remove(f"{kind}{i}-main", f"{kind}{i}-sandbox"), range(PODS)))


def exec_seconds(n, kind, i):
    began = time.monotonic()
    n.ctr("tasks", "exec", "--exec-id", f"x{i}", kind, "true")
    return time.monotonic() - began


def stream_mb_s(n, kind, i):
    began = time.monotonic()
    with open(os.devnull, "w") as sink:
        subprocess.run(n.command("run", "--rm", "--runtime", TYPES[kind], n.image, f"s{kind}{i}", "dd", "if=/dev/zero", "bs=64k", f"count={STREAM_MB * 16}"),
                       stdout=sink, stderr=sink, check=True, timeout=300)
    return STREAM_MB / (time.monotonic() - began)


def density():
    tests = node()
    figures = {}
    n = tests.Node()
    n.image = tests.BUSYBOX
    try:
        for kind in TYPES:
            memory_and_rest(tests, n, kind, figures)
        for kind in TYPES:
            n.run(TYPES[kind], kind, "sleep", "100000", flags=["-d"])
        execs = {kind: [] for kind in TYPES}
        streams = {kind: [] for kind in TYPES}
        for i in range(40):
            for kind in TYPES:
                execs[kind].append(exec_seconds(n, kind, i))
        for i in range(ROUNDS):
            for kind in TYPES:
                streams[kind].append(stream_mb_s(n, kind, i))
        figures |= {("exec", k): statistics.median(v) * 1000 for k, v in execs.items()} | {("stream", k): max(v) for k, v in streams.items()}
    finally:
        n.close()

    def compare(what, name, unit, target, digits=1):
        ours, theirs = figures[name, "kedge"], figures[name, "runc"]
        ratio = f"{ours / theirs:.3f} ×" if theirs else ""
        row(what, f"{ours:.{digits}f} {unit}", f"runc's shim {theirs:.{digits}f} {unit}", ratio, target)

    compare(f"shims of {PODS} idle pods, proportional memory", "pss", "MiB", f"≤ {PODS // 2} MB")
    compare(f"{PODS} pods of two containers until they run, 4 at once, by ctr", "start", "s", "≤ 0.6 ×")
    compare("exec of true, by ctr, median", "exec", "ms", "≤ 0.5 ×")
    compare("a container's stdout through ctr", "stream", "MB/s", "≥ 1 ×", 0)
    compare(f"processor at rest, shims of {PODS} pods", "rest", "% of a core", "≤ 0.1 %", 2)
