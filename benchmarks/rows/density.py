"""What a pod costs a node beside its own processes: our shim and the Go shim on one containerd, in turn.

A pod is two containers of a group, a sandbox and one beside it, without a network: what differs is the shim, and the OCI runtime
that a node of ours has it call."""

import concurrent.futures
import glob
import shutil
import statistics
import sys

from .kit import *
from .shim_client import ShimClient

PODS = int(os.environ.get("KEDGE_BENCH_PODS", "100"))
MANY = int(os.environ.get("KEDGE_BENCH_MANY_PODS", "500"))
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


def flags_of(n, kind):
    """As a node's configuration has it: crun, where there is one (src/node/runtime/containerd_config.h)."""
    if kind != "kedge" or not shutil.which("crun"):
        return []
    path = os.path.join(n.folder, "kedge-runtime.toml")
    with open(path, "w") as f:
        f.write('BinaryName = "crun"\n')
    return ["--runtime-config-path", path]


def processor_seconds(n, pids):
    """Of containerd, its shims, and all that these have run."""
    total = 0
    for pid in [n.process.pid, *pids]:
        total += sum(map(int, open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[11:15]))
    return total / os.sysconf("SC_CLK_TCK")


def start_pod(n, kind, i, flags):
    for part in ("sandbox", "main"):
        n.run(TYPES[kind], f"{kind}{i}-{part}", "sleep", "100000", flags=["-d", "--null-io", "--annotation", f"io.containerd.runc.v2.group={kind}{i}", *flags], timeout=300)


def remove_pods(n, kind, count):
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda i: n.remove(f"{kind}{i}-main", f"{kind}{i}-sandbox"), range(count)))


def shims(folder):
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = open(path).read().split("\0")
            if "containerd-shim" in words[0] and folder + "/c.sock" in words:
                yield path.split("/")[2]


def pss_kib(pid):
    return int(re.search(r"^Pss: +(\d+)", open(f"/proc/{pid}/smaps_rollup").read(), re.M).group(1))


def memory_and_rest(tests, n, kind, figures):
    flags = flags_of(n, kind)
    busy = processor_seconds(n, [])
    began = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda i: start_pod(n, kind, i, flags), range(PODS)))
    figures["start", kind] = time.monotonic() - began
    figures["start cpu", kind] = (processor_seconds(n, shims(n.folder)) - busy) / PODS * 1000
    time.sleep(2)
    pids = list(shims(n.folder))
    figures["pss", kind] = sum(map(pss_kib, pids)) / 1024
    figures["shims", kind] = len(pids)
    before = sum(map(cpu_seconds, pids))
    time.sleep(REST_SECONDS)
    figures["rest", kind] = (sum(map(cpu_seconds, pids)) - before) / REST_SECONDS * 100
    remove_pods(n, kind, PODS)


def exec_seconds(n, kind, i):
    began = time.monotonic()
    n.ctr("tasks", "exec", "--exec-id", f"x{i}", kind, "true")
    return time.monotonic() - began


def shim_exec_seconds(client, kind, i):
    began = time.monotonic()
    client.execute(kind, f"y{i}", "true")
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
            n.run(TYPES[kind], kind, "sleep", "100000", flags=["-d", *flags_of(n, kind)])
        execs = {kind: [] for kind in TYPES}
        streams = {kind: [] for kind in TYPES}
        for i in range(40):
            for kind in TYPES:
                execs[kind].append(exec_seconds(n, kind, i))
        alone = {kind: [] for kind in TYPES}
        clients = {kind: ShimClient(open(glob.glob(f"{n.folder}/state/io.containerd.runtime.v2.task/*/{kind}/address")[0]).read()) for kind in TYPES}
        for i in range(40):
            for kind in TYPES:
                alone[kind].append(shim_exec_seconds(clients[kind], kind, i))
        for c in clients.values():
            c.close()
        for i in range(ROUNDS):
            for kind in TYPES:
                streams[kind].append(stream_mb_s(n, kind, i))
        figures |= {("shim exec", k): statistics.median(v) * 1000 for k, v in alone.items()}
        figures |= {("exec", k): statistics.median(v) * 1000 for k, v in execs.items()} | {("stream", k): max(v) for k, v in streams.items()}
    finally:
        n.close()

    def compare(what, name, unit, target, digits=1):
        ours, theirs = figures[name, "kedge"], figures[name, "runc"]
        ratio = f"{ours / theirs:.3f} ×" if theirs else ""
        row(what, f"{ours:.{digits}f} {unit}", f"runc's shim {theirs:.{digits}f} {unit}", ratio, target)

    compare(f"shims of {PODS} idle pods, proportional memory", "pss", "MiB", f"≤ {PODS // 2} MB")
    compare(f"{PODS} pods of two containers until they run, 4 at once, by ctr", "start", "s", "≤ 0.6 ×")
    compare("processor time for a pod's start, all but ctr's own", "start cpu", "ms", "≤ 0.6 ×")
    compare("exec of true, asked of the shim, median", "shim exec", "ms", "≤ 0.5 ×")
    compare("exec of true, by ctr (its own start included), median", "exec", "ms", "")
    compare("a container's stdout through ctr", "stream", "MB/s", "≥ 1 ×", 0)
    compare(f"processor at rest, shims of {PODS} pods", "rest", "% of a core", "≤ 0.1 %", 2)


def many():
    """As many pods as a large node's max-pods: memory, and whether the last ones start as the first did."""
    tests = node()
    n = tests.Node()
    group = max(1, MANY // 10)
    seconds, processor = [], []
    try:
        flags = flags_of(n, "kedge")
        for first in range(0, MANY, group):
            busy, began = processor_seconds(n, shims(n.folder)), time.monotonic()
            with concurrent.futures.ThreadPoolExecutor(4) as pool:
                list(pool.map(lambda i: start_pod(n, "kedge", i, flags), range(first, first + group)))
            seconds.append((time.monotonic() - began) / group * 1000)
            processor.append((processor_seconds(n, shims(n.folder)) - busy) / group * 1000)
        time.sleep(2)
        pids = list(shims(n.folder))
        memory = sum(map(pss_kib, pids)) / 1024
        running = sum(state == "RUNNING" for _, state in n.tasks().values())
        began = time.monotonic()
        remove_pods(n, "kedge", MANY)
        ended = time.monotonic() - began
    finally:
        n.close()
    row(f"shims of {MANY} pods ({running} containers run), proportional memory", f"{memory:.1f} MiB", "", f"{memory / MANY * 1024:.0f} KiB a pod", "≤ 250 MB")
    row(f"start of a pod, the last {group} of {MANY} beside the first", f"{seconds[-1]:.0f} ms", f"the first {seconds[0]:.0f} ms", f"{seconds[-1] / seconds[0]:.2f} ×", "flat")
    row(f"processor time for it, all but ctr's own", f"{processor[-1]:.1f} ms", f"the first {processor[0]:.1f} ms", f"{processor[-1] / processor[0]:.2f} ×", "flat")
    row(f"end of a pod, of {MANY}", f"{ended / MANY * 1000:.0f} ms", "", "", "")
