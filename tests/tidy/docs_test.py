#!/usr/bin/env python3
"""What docs/ and README.md tell people to type is there: commands, their flags, variables, scripts; and scripts/docs makes pages whose links lead somewhere."""

import functools
import os
import pathlib
import re
import shlex
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
KEDGE = os.environ["KEDGE_BINARY"]
PAGES = sorted(ROOT.glob("docs/*.md")) + [ROOT / "README.md"]
OTHERS = {"kubectl", "crictl", "ctr"}
# Of other programs, named in a sentence.
FOREIGN = {"--verify", "--previous", "--from-literal", "--duration"}


def output(*argv):
    p = subprocess.run(argv, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)
    return p.stdout + p.stderr if p.returncode == 0 else ""


@functools.cache
def help_of(*words):
    text = output(KEDGE, *words, "--help")
    return text if text.startswith("kedge " + " ".join(words) + " - ") else ""


@functools.cache
def all_help():
    # What is refused, or K3s's own hidden flags, may be named, too.
    hidden = "".join(f"   --{name}\n" for name in re.findall(r'[.]name = "([a-z-]+)"', (ROOT / "src/cli/flag_table.cc").read_text()))
    out, names = hidden + help_of("server") + help_of("agent"), re.findall(r"^   ([a-z][\w-]*) ", output(KEDGE, "--help"), re.M)
    for name in names:
        group = help_of(name)
        out += group + "".join(help_of(name, sub) for sub in re.findall(r"^   ([a-z][\w-]*) ", group, re.M))
    return out + "".join(output(str(f), "--help") for f in (ROOT / "scripts").iterdir() if f.is_file() and "--help" in f.read_text(errors="ignore"))


def flags_in(text):
    return set(re.findall(r"(?<![\w-])--[a-z][\w-]*\w(?![\w-])", text))


def code(page):
    """(line number, text) of indented lines and of spans of code."""
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        if line.startswith("    "):
            yield number, line.strip()
        else:
            for span in re.findall(r"`([^`]+)`", line):
                yield number, span


def words_of(text):
    try:
        return shlex.split(text, comments=True)
    except ValueError:
        return text.split()


class Docs(unittest.TestCase):
    def none(self, complaints):
        self.assertEqual([], list(complaints))

    def every(self, check):
        for page in PAGES:
            for number, text in code(page):
                yield from (f"{page.name}:{number}: {text}: {why}" for why in check(text))

    def test_commands_and_their_flags(self):
        seen = 0

        def check(text):
            nonlocal seen
            words = words_of(text)
            if len(words) < 2 or words[0] != "kedge" or not re.fullmatch(r"[a-z][\w-]*", words[1]) or words[1] == "version":
                return
            seen += 1
            if words[1] in OTHERS:
                return
            named = words[1:3] if len(words) > 2 and help_of(*words[1:3]) else words[1:2]
            told = help_of(*named)
            if not told:
                yield "there is no such command"
            elif re.search(r"^COMMANDS:", told, re.M) and len(words) > 2 and not words[2].startswith("-") and re.fullmatch(r"[a-z-]+", words[2]):
                yield f"{words[1]} has no {words[2]}"
            for flag in flags_in(" ".join(words)) - flags_in(told) - {"--help"}:
                yield f"no flag {flag}"
        self.none(self.every(check))
        self.assertGreater(seen, 60)

    def test_flags_that_are_named_alone(self):
        known = flags_in(all_help()) | FOREIGN

        def check(text):
            if text.startswith("--"):
                yield from (f"nobody has the flag {flag}" for flag in flags_in(text) - known)
        self.none(self.every(check))

    def test_scripts_and_their_options(self):
        def check(text):
            for name, rest in re.findall(r"(?:^|\s)scripts/([\w.-]+)(.*)", text.split("#")[0]):
                script = ROOT / "scripts" / name
                if not script.exists():
                    yield f"no scripts/{name}"
                # install.sh hands what isn't its own to kedge.
                elif options := flags_in(rest) - {"--help"}:
                    told = script.read_text() + (all_help() if name in ("install.sh", "run", "test") else "")
                    yield from (f"scripts/{name} has no {option}" for option in options if option not in told)
        self.none(self.every(check))

    def test_variables(self):
        known = (ROOT / "scripts/install.sh").read_text() + all_help()

        def check(text):
            yield from (f"nobody reads {name}" for name in re.findall(r"\b(?:INSTALL_|K3S_)[A-Z0-9_]*[A-Z0-9]\b", text) if name not in known)
        self.none(self.every(check))

    def test_keys_of_the_configuration(self):
        known, seen = flags_in(all_help()), 0
        for number, text in code(ROOT / "docs/install.md"):
            if found := re.fullmatch(r"([a-z][a-z-]*):( .*)?", text):
                seen += 1
                self.assertIn("--" + found[1], known, f"install.md:{number}")
        self.assertGreater(seen, 2)

    def test_the_pages_and_one_of_every_flag(self):
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run([str(ROOT / "scripts/docs"), "--kedge", KEDGE, folder], check=True, capture_output=True)
            out, links = pathlib.Path(folder), 0
            for page in [*out.glob("docs/*.html"), out / "README.html"]:
                for target in re.findall(r'href="([^"]+)"', page.read_text()):
                    path = target.partition("#")[0]
                    # Sources and scripts stay where they are.
                    if re.match(r"[a-z]+:", target) or not path or not path.endswith((".html", ".json", ".yml", ".yaml")):
                        continue
                    links += 1
                    self.assertTrue((page.parent / path).exists(), f"{page.name}: {target}")
            self.assertGreater(links, 50)
            made = (out / "docs/flags.html").read_text()
            for command in ("server", "agent"):
                for flag in re.findall(r"^   (--?[\w-]+)", help_of(command), re.M):
                    self.assertIn(f"<code>{flag}", made)
            self.assertNotIn("<p>|", made)


if __name__ == "__main__":
    unittest.main()
