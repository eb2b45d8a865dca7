"""The request of a namespace's user that holds a loop up the longest, as a search finds it (tests/turns/heaviest.cc)."""

from .kit import *


def heaviest():
    found = json.loads(subprocess.run([os.path.join(BUILD, "tests/turns/turns_heaviest")], stdout=subprocess.PIPE, text=True, check=True).stdout)
    row("the heaviest request of a namespace's user: its longest turn", f"{found['longest_ms']:.1f} ms", f"{found['request']}; all of its turns {found['all_ms']:.0f} ms", "", "≤ 20 ms")
