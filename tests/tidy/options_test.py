"""Each option of the command line is read by somebody, or its table says that it has no effect yet, and then nobody reads it.

The tables are src/cli/flag_table.cc and the *_arguments.cc beside it. A field that is only handed on (into the settings of the
supervisor or of the node, or into the document that agents get) isn't read by that: what it was handed to must be read.
"""

import pathlib
import re
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
SOURCES = {path: path.read_text() for path in sorted((ROOT / "src").rglob("*")) if path.suffix in (".cc", ".h")}
# What declares options and settings, checks them, or tells of them.
NO_READERS = re.compile(r"cli/(flag_table|flags|options|help|node_args|unread)\.|_arguments\.cc$|supervisor/config\.h|supervisor/config_document\.cc|node/config\.h")
# What agents are told, and what the node reads of it.
DOCUMENT = (ROOT / "src/supervisor/config_document.cc").read_text()
NODE = "\n".join(text for path, text in SOURCES.items() if path.relative_to(ROOT).parts[1] == "node")


def uses():
    """field → the settings that it is copied to, or None where something is done with it."""
    found = {}
    for path, text in SOURCES.items():
        if NO_READERS.search(path.as_posix()):
            continue
        for statement in re.split(r"[;{}]", re.sub(r"//[^\n]*", "", text)):
            copy = re.match(r"\s*c\.(\w+) =\s", statement) if path.name in ("server_settings.cc", "daemon.cc") else None
            for use in re.finditer(r"(?<=[\w)\]])(?:\.|->)(\w+)\b(?!\s*=[^=])", statement):
                found.setdefault(use[1], set()).add(copy[1] if copy else None)
    return found


USES = uses()


def rows(path):
    """(name, field, marked) of each row of a table that goes to a field."""
    for row in re.split(r"\n    \{(?=\.name = |\")", path.read_text())[1:]:
        name = re.match(r'(?:\.name = )?"([^"]+)"', row)
        field = re.search(r"&(?:\w+)::(\w+)", row)
        if not name or not field:
            continue
        marked = re.search(r"\.state = (?:ignored|already)", row) or re.search(r"&\w+::\w+, *\"", row)
        yield name[1], field[1], bool(marked)


def is_read(field, seen=frozenset()):
    """Whether anything of the program depends on the field of that name, in whichever struct."""
    for copy in USES.get(field, ()):
        if copy is None or (copy != field and copy not in seen and is_read(copy, seen | {field})):
            return True
    told = re.search(r'\{"(\w+)",[^{}]*?\bc\.%s\b' % field, DOCUMENT)
    return bool(told and f'"{told[1]}"' in NODE)


class Options(unittest.TestCase):
    maxDiff = None

    def tables(self):
        found = [ROOT / "src/cli/flag_table.cc"] + sorted((ROOT / "src/cli").glob("*_arguments.cc"))
        self.assertGreater(len(found), 1)
        return found

    def test_every_option_is_read_or_marked(self):
        wrong, count = [], 0
        for table in self.tables():
            for name, field, marked in rows(table):
                count += 1
                if marked and is_read(field):
                    wrong.append(f"{table.name}: {name} is marked as without effect, but {field} is read: take the mark away")
                if not marked and not is_read(field):
                    wrong.append(f"{table.name}: nobody reads {field} of {name}: read it, or mark the row")
        self.assertGreater(count, 60)
        self.assertEqual([], wrong)

    def test_the_search_finds_what_it_should(self):
        self.assertTrue(is_read("https_listen_port"))
        self.assertTrue(is_read("tls_san"))            # by another name in the supervisor's settings
        self.assertTrue(is_read("flannel_backend"))    # by the node, out of the document
        self.assertFalse(is_read("supervisor_metrics"))
        self.assertFalse(is_read("no_such_option"))


if __name__ == "__main__":
    unittest.main()
