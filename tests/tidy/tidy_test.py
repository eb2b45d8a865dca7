#!/usr/bin/env python3
"""The repository's rules about itself, over the files that git knows (or, without git, all but build folders).

Each test says which rule of CONTRIBUTING.md or ARCHITECTURE.md it keeps; a failure names file and line.
"""

import collections
import pathlib
import re
import subprocess
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]

# From the bottom up: a folder may include those before it, never those behind it.
ORDER = ["base", "reactor", "net", "json", "crypto", "datastore", "store", "backup", "schema", "meta", "pod", "cel", "api", "control", "tunnel", "balancer",
         "supervisor", "node", "server", "shim", "cli"]
# The rooms of a folder, from the ground up, in tiers: a room may include those of tiers before its own, not its neighbours ("a+b": these
# two know each other). What lies in the folder itself is above its rooms, but for the headers named here.
ROOMS = {
    # The registry makes a table with custom resources in it, and asks of each resource whether it is one.
    "api": [["request", "printers", "callout", "configuration", "expressions"], ["tracing"], ["registry+custom", "remote"], ["kinds", "metrics", "usage", "authentication", "answer", "encryption"], ["authorization", "precompiled"],
            ["admission", "audit", "fairness"], ["read", "write", "publish"], ["aggregation"]],
    "control": [["nodes"], ["scheduler"], ["workloads"], ["access", "addons", "certificates", "charts", "cleanup", "devices", "endpoints", "volumes"]],
    "net": [["http"], ["websocket"]],
    "node": [["machine"], ["join"], ["links"], ["informer"], ["cni+dns+network+nft+services"], ["policy"], ["numa"], ["cgroups", "cpus", "logs", "offline", "resources"], ["runtime", "plugins"], ["claims", "devices", "images"], ["mirror"], ["status"], ["pods"], ["volumes"], ["streams"], ["usage"], ["port"]],
}
GROUND = {"api": ["objects"], "node": ["config", "kube_proxy_settings", "kubelet_settings", "limits", "wire"]}
# What a folder leaves alone though it stands below: a node asks servers as anybody does, over the network.
NEVER = {"node": ["datastore", "store", "api", "control", "supervisor"],
         # A program of its own, which is to be small.
         "shim": [folder for folder in ORDER if folder not in ("base", "shim")]}
# Functions that nothing in src/ calls, and why they are there all the same.
ONLY_IN_TESTS = {
    "lose_power": "plays a machine that went down", "newest_of": "what a test asks of a database in memory", "make_memory_log": "the database of tests",
    "forked": "a log that has another's past",
    "backing_off": "what a test asks of the scheduler's queue", "parse_configuration": "of KubeSchedulerConfiguration, no flag gives one yet",
    "scores_of": "what a test compares with kube-scheduler's", "image_fs_info": "of the runtime, for pods",
    "verify_server": "the other half of verify_client", "hmac_sha1": "for RFC 2202's vectors", "hmac_sha256": "for RFC 4231's vectors",
    "all_not_yet": "a table that a test walks over", "full_token": "the token as a person is told it",
    "removal_of": "of plans that remove, as those of workloads will", "parse_yaml_all": "streams of documents, which tests read",
    "choose_with": "how a test brings its own certificate by name", "receive_message": "whole messages, for exec and attach",
    "closed_by_peer": "how a websocket ended, for exec and attach", "backgrounds": "what a test asks of the cores",
    "from_protobuf": "one object without its envelope, which tests decode", "find_resource": "what tests look up",
    "is_listed": "what a test asks of the pods", "spec_of": "", "is_gone": "",
    "add_encoders": "an extension of CEL that its specification's data needs and Kubernetes doesn't have",
    # Netlink's and nftables' vocabulary: Services and policies, which come next, use the rest.
    "put_u16": "", "put_flag": "", "remove_chain": "", "flush_set": "", "remove_set": "", "go_to": "", "ct": "", "constant": "", "unequal": "", "in_set": "",
    "initial_suspend": "", "final_suspend": "", "return_value": "", "return_void": "",  # of coroutines, called by the compiler
}
LINES_MAX = 900      # a file that needs a table of contents is two files
DOCUMENTS = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"]


def known_files():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, text=True, capture_output=True)
    if listed.returncode == 0 and listed.stdout:
        names = listed.stdout.splitlines()
    else:
        names = [str(p.relative_to(ROOT)) for p in ROOT.rglob("*")
                 if p.is_file() and not re.match(r"build|\.git/|\.cache", str(p.relative_to(ROOT)))]
    return [name for name in names if (ROOT / name).is_file()]


FILES = known_files()
SOURCES = [f for f in FILES if f.endswith((".cc", ".h"))]
OF_SRC = [f for f in SOURCES if f.startswith("src/")]


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


def included(name):
    """(line number, path between quotes) of each #include "…"."""
    for number, line in enumerate(read(name).splitlines(), 1):
        found = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
        if found:
            yield number, found.group(1)


class Tidy(unittest.TestCase):
    maxDiff = None

    def none(self, complaints):
        self.assertEqual([], sorted(complaints))

    def test_there_is_something_to_check(self):
        self.assertGreater(len(OF_SRC), 100)
        folders = {f.split("/")[1] for f in OF_SRC}
        self.none(f"src/{folder}: not in the order of dependency" for folder in folders - set(ORDER))

    def test_folders_depend_downwards(self):
        complaints = []
        for name in OF_SRC:
            own = ORDER.index(name.split("/")[1])
            for number, path in included(name):
                folder = path.split("/")[0]
                if folder not in ORDER:
                    complaints.append(f'{name}:{number}: "{path}" does not begin with a folder of src/')
                elif ORDER.index(folder) > own:
                    complaints.append(f"{name}:{number}: {ORDER[own]} may not use {folder}")
        self.none(complaints)

    def test_rooms_depend_downwards(self):
        complaints = []
        for name in OF_SRC:
            folder, own, *within = name.split("/")[1:]
            for number, path in included(name):
                other, _, rest = path.partition("/")
                if other in NEVER.get(folder, []):
                    complaints.append(f"{name}:{number}: {folder} may not use {other}")
                if folder not in ROOMS or other != folder or not within or rest.startswith(own + "/"):
                    continue
                tier = {room: i for i, tier in enumerate(ROOMS[folder]) for some in tier for room in some.split("+")}
                together = {room: some for tier in ROOMS[folder] for some in tier for room in some.split("+")}
                room = rest.split("/")[0]
                if own not in tier:
                    complaints.append(f"{name}: {own}/ is not among the rooms of {folder}")
                elif "/" in rest and tier.get(room, 99) >= tier[own] and together.get(room) != together[own]:
                    complaints.append(f"{name}:{number}: the room {own} may not use {rest}")
                elif "/" not in rest and folder in GROUND and rest.removesuffix(".h") not in GROUND[folder]:
                    complaints.append(f"{name}:{number}: the room {own} may not use {folder}/{rest}, which is above it")
        self.none(complaints)

    def test_public_headers_know_no_kubernetes(self):
        """include/kedge and all that it includes stands on these folders alone."""
        public = ["base", "reactor", "net", "tunnel", "balancer"]
        waiting = [f for f in FILES if f.startswith("include/kedge/")]
        self.assertGreater(len(waiting), 3)
        complaints, seen = [], set(waiting)
        while waiting:
            name = waiting.pop()
            for number, path in included(name):
                at = ("include/" if path.startswith("kedge/") else "src/") + path
                if not path.startswith("kedge/") and path.split("/")[0] not in public:
                    complaints.append(f"{name}:{number}: {path} is not for other programs")
                elif at not in seen and at in FILES:
                    seen.add(at)
                    waiting.append(at)
        self.none(complaints)

    def test_the_build_has_the_same_order(self):
        listed = re.search(r"foreach folder : \[(.*?)\]", read("meson.build"), re.S).group(1)
        self.assertEqual(ORDER, re.findall(r"'(\w+)'", listed))

    def test_included_files_exist(self):
        generated = {f[:-3] for f in FILES if f.endswith(".in")}
        complaints = []
        for name in OF_SRC:
            for number, path in included(name):
                at = "src/" + path
                # What the build generates says so in its folder's meson.build.
                if at not in FILES and at not in generated and not self.generates(at):
                    complaints.append(f'{name}:{number}: there is no "{path}"')
        self.none(complaints)

    def generates(self, path):
        folder = pathlib.PurePosixPath(path)
        for parent in folder.parents:
            build = f"{parent}/meson.build"
            if build in FILES and folder.name in read(build):
                return True
        return False

    def test_headers_stand_alone_and_introduce_themselves(self):
        complaints = []
        for name in SOURCES:
            if not name.endswith(".h"):
                continue
            lines = read(name).splitlines()
            if not lines or not lines[0].startswith("// "):
                complaints.append(f"{name}:1: a header begins with a comment that says what it is for")
            if "#pragma once" not in lines:
                complaints.append(f"{name}: no #pragma once")
        self.none(complaints)

    def test_each_folder_explains_itself(self):
        """By a README.md, or by the head comment of a header named like the folder or like what it gives."""
        complaints = []
        for folder in {f.split("/")[1] for f in OF_SRC}:
            heads = [read(f).splitlines()[0] for f in OF_SRC if f.startswith(f"src/{folder}/") and f.endswith(".h")]
            if f"src/{folder}/README.md" not in FILES and not any(head.startswith("// ") for head in heads):
                complaints.append(f"src/{folder}: neither a README.md nor a header with a head comment")
        self.none(complaints)

    def test_every_source_is_built(self):
        complaints = []
        for name in SOURCES:
            if not name.endswith(".cc"):
                continue
            path = pathlib.PurePosixPath(name)
            builds = [f"{parent}/meson.build" for parent in path.parents if f"{parent}/meson.build" in FILES]
            target = path.name[:-3].removesuffix("_fuzz") if name.startswith("tests/fuzz/") else path.name
            if not any(f"{target}'" in read(build) for build in builds):
                complaints.append(f"{name}: no meson.build above it lists it")
        self.none(complaints)

    def test_each_controller_is_tested_alone_and_in_the_world(self):
        """CONTRIBUTING.md: a unit test of what it plans, and a simulated one of how it runs, named after it."""
        names = re.findall(r'\.name = "([a-z-]+)"', read("src/control/controllers.cc"))
        self.assertGreater(len(names), 10)
        for folder in ("tests/unit/control/", "tests/sim/"):
            cases = "\n".join(case for f in SOURCES if f.startswith(folder)
                              for case in re.findall(r'TEST_CASE\(\s*"([^"]*)"', read(f)))
            self.none(f"{name}: no TEST_CASE in {folder} is named after it" for name in names if not re.search(rf"\b{name}\b", cases))

    def test_nothing_is_left_to_do(self):
        word = re.compile(r"\b(" + "|".join(["TO" + "DO", "FIX" + "ME", "XX" + "X"]) + r")\b")
        complaints = []
        for name in FILES:
            if name.endswith((".cc", ".h", ".py", ".md", ".build", ".in")) or name.startswith("scripts/"):
                for number, line in enumerate(read(name).splitlines(), 1):
                    if word.search(line):
                        complaints.append(f"{name}:{number}: {line.strip()}")
        self.none(complaints)

    def test_no_machine_is_named(self):
        place = re.compile(r"(?<![\w./-])/(work|Users)/|/tmp/kedge/")
        complaints = []
        for name in FILES:
            if name.endswith((".cc", ".h", ".py", ".md", ".build", ".in")) or name.startswith("scripts/"):
                if name.startswith("tests/tidy/"):
                    continue
                for number, line in enumerate(read(name).splitlines(), 1):
                    if place.search(line):
                        complaints.append(f"{name}:{number}: {line.strip()}")
        self.none(complaints)

    def test_wraps_name_what_is_built(self):
        """subprojects/: an archive by its digest, how it is built, and a dependency that meson.build asks for."""
        asked, wraps = set(re.findall(r"dependency\('([^']+)'", read("meson.build"))), [f for f in FILES if f.endswith(".wrap")]
        self.assertGreater(len(wraps), 3)
        complaints = []
        for name in wraps:
            keys = dict(re.findall(r"^(\w+) = (.+)$", read(name), re.M))
            provided = re.findall(r"^([\w-]+) = \w+_dep$", read(name), re.M)
            build = f"subprojects/packagefiles/{keys.get('patch_directory')}/meson.build"
            version = re.search(r"version: '([^']+)'", read(build)).group(1) if build in FILES else "none"
            if not re.fullmatch(r"[0-9a-f]{64}", keys.get("source_hash", "")) or not keys.get("source_url", "").startswith("https://"):
                complaints.append(f"{name}: no archive with a digest")
            if not provided or not set(provided) <= asked:
                complaints.append(f"{name}: meson.build asks for none of {provided}")
            if not keys["directory"].endswith("-" + version) or f"| {version} |" not in read("subprojects/README.md"):
                complaints.append(f"{name}: {build} and the README are of another version")
        self.none(complaints)

    def test_files_are_short(self):
        too_long = []
        for name in SOURCES + [f for f in FILES if f.endswith(".py")]:
            lines = read(name).count("\n")
            if lines > LINES_MAX:
                too_long.append(f"{name}: {lines} lines; at most {LINES_MAX}")
        self.none(too_long)

    def test_functions_are_called(self):
        """A function that only tests call, or nobody, is one to be deleted. Found by its name: declared in a header of src/, and nowhere in
        src/ or benchmarks/ but where it is declared and defined."""
        head = re.compile(r"^(?:  )?(?:\[\[nodiscard\]\] )?(?:(?:virtual|inline|static|constexpr|explicit|friend|consteval) )*"
                          r"(?!(?:return|co_return|throw|else|case|using|delete|new|co_await|if|for|while|switch|asm)\b)"
                          r"[A-Za-z_][\w:<>,&* ]{0,200}?[\w>&*] [&*]?(?:\w+::)*(\w+)\(")
        used, declared, where = collections.Counter(), collections.Counter(), {}
        for name in SOURCES:
            if name.split("/")[0] not in ("src", "benchmarks", "examples"):
                continue
            for number, line in enumerate(read(name).splitlines(), 1):
                line = re.sub(r'"(?:[^"\\]|\\.)*"', '""', line.split("//")[0])
                used.update(re.findall(r"\w+", line))
                found = head.match(line)
                if found and "=" not in line[:found.start(1)]:
                    declared[found.group(1)] += 1
                    if name.startswith("src/") and name.endswith(".h"):
                        where.setdefault(found.group(1), f"{name}:{number}")
        self.none(f"{at}: only tests call {name}, or nobody" for name, at in where.items()
                  if used[name] <= declared[name] and name not in ONLY_IN_TESTS)

    def test_the_tree_is_formatted(self):
        wrong = subprocess.run(["clang-format-19", "--dry-run", "--Werror", *SOURCES], cwd=ROOT, text=True, capture_output=True)
        self.assertEqual(0, wrong.returncode, wrong.stderr[:4000])

    def test_text_is_clean(self):
        complaints = []
        for name in SOURCES + [f for f in FILES if f.endswith((".build", ".py", ".md"))]:
            text = read(name)
            if text and not text.endswith("\n"):
                complaints.append(f"{name}: does not end with a line feed")
            for number, line in enumerate(text.split("\n"), 1):
                if "\t" in line or line != line.rstrip():
                    complaints.append(f"{name}:{number}: a tab, or white space at the end")
        self.none(complaints)

    def test_links_lead_somewhere(self):
        complaints = []
        for name in [f for f in FILES if f.endswith(".md")]:
            folder = (ROOT / name).parent
            for target in re.findall(r"\]\(([^)\s]+)\)", read(name)):
                if re.match(r"[a-z]+:", target):
                    continue
                path, _, anchor = target.partition("#")
                at = (folder / path).resolve() if path else ROOT / name
                if not at.exists():
                    complaints.append(f"{name}: {target} is not there")
                elif anchor and at.suffix == ".md" and anchor not in anchors(at.read_text(encoding="utf-8")):
                    complaints.append(f"{name}: {target}: no such heading")
        self.none(complaints)

    def test_the_tests_that_documents_name_are_there(self):
        """The last column of docs/security.md: files below tests/, some with words of their cases; a bare name is a file of the API's."""
        named = re.compile(r'\b((?:unit|integration|sim|fuzz|turns|answers)/[\w/.]*\w|[a-z]\w*_test)\b|"([^"]+)"')
        complaints, looked_up = [], 0
        for number, line in enumerate(read("docs/security.md").splitlines(), 1):
            cells = line.strip().strip("|").split("|")
            words = ""
            for path, case in named.findall(cells[-1]) if len(cells) == 4 else []:
                looked_up += 1
                if path:
                    place = rf"tests/{path}(/|\.|$)" if "/" in path else rf"tests/unit/api/(.*/)?{path}\."
                    files = [f for f in FILES if re.match(place, f)]
                    words = "\n".join(read(f) for f in files)
                    if not files:
                        complaints.append(f"docs/security.md:{number}: no test {path}")
                elif case not in words:
                    complaints.append(f"docs/security.md:{number}: no case {case!r} there")
        self.assertGreater(looked_up, 50)
        self.none(complaints)

    def test_what_a_project_needs_is_there(self):
        self.none(f"{name} is missing" for name in DOCUMENTS + ["LICENSE", ".clang-format", ".clang-tidy", ".editorconfig", ".ci/run"]
                  if name not in FILES)
        self.assertIn("Apache License", read("LICENSE"))


def anchors(markdown):
    """The names that GitHub gives to headings."""
    return {re.sub(r"[^\w\- ]", "", h.strip().lower()).replace(" ", "-") for h in re.findall(r"^#+ (.*)$", markdown, re.M)}


if __name__ == "__main__":
    unittest.main()
