"""Is a history of one object linearizable? The search of Wing and Gong (1993) with Lowe's memory (2017).

An operation was called at one time and answered at another; somewhere between it must have taken effect at once. Of one that
was never answered nobody knows: it may take effect at any time after its call, or never. A history is linearizable when
there is an order of effects within these times in which every answer is what the object would have said.

The object is a Kubernetes object: absent, or a value at a resource version. Every object is checked by itself, which is enough
(linearizability is local: Herlihy and Wing 1990, theorem 1).
"""

import sys
from dataclasses import dataclass

FOREVER = float("inf")
ABSENT = None


@dataclass(frozen=True)
class Op:
    call: float
    answer: float  # FOREVER: there was none
    kind: str  # get, create, update, delete
    value: str = ""  # create, update: what it writes
    expected: int = 0  # update, delete: the resource version that it replaces
    outcome: str = "unknown"  # ok, exists, conflict, absent, unknown
    seen: tuple = ABSENT  # get: (value, version); create, update: the version in [1]


def step(op, state):
    """The states that may follow `state` when `op` takes effect with its outcome; none when it can't."""
    if op.kind == "get":
        return [state] if state == op.seen else []
    if op.kind == "create":
        if op.outcome == "ok":
            return [(op.value, op.seen[1])] if state is ABSENT else []
        if op.outcome == "exists":
            return [state] if state is not ABSENT else []
        # Nobody was told its version: whoever sees the value next tells it.
        return [(op.value, None)] if state is ABSENT else []
    version = state[1] if state is not ABSENT else 0
    fits = state is not ABSENT and version in (op.expected, None)
    if op.outcome == "absent":
        return [state] if state is ABSENT else []
    if op.outcome == "conflict":
        return [state] if state is not ABSENT and version != op.expected else []
    if op.kind == "delete":
        return [ABSENT] if fits else []
    return [(op.value, op.seen[1] if op.outcome == "ok" else None)] if fits else []


def same(op, state):
    """Versions that nobody was told match any: gives the state with what `op` tells about it."""
    if state is ABSENT or state[1] is not None:
        return state
    if op.kind == "get" and op.seen is not ABSENT and op.seen[0] == state[0]:
        return op.seen
    if op.kind in ("update", "delete") and op.outcome in ("ok", "unknown"):
        return (state[0], op.expected)
    return state


def linearizable(history):
    """An order of effects as a list of operations, or None when there is none."""
    ops = sorted(history, key=lambda o: o.call)
    answered = sum(1 << i for i, o in enumerate(ops) if o.answer != FOREVER)
    seen = set()
    # Depth first, without recursion: (operations that have taken effect, state, the last one, what led here).
    stack = [(0, ABSENT, -1, None)]
    while stack:
        done, state, last, before = here = stack.pop()
        if done & answered == answered:
            order = []
            while here[3] is not None:
                order.append(ops[here[2]])
                here = here[3]
            return order[::-1]
        # The next to take effect was called before the first answer that is still open.
        low, first, window = (~done & done + 1).bit_length() - 1, FOREVER, []
        for i in range(low, len(ops)):
            if ops[i].call > first:
                break
            if not done >> i & 1:
                window.append(i)
                first = min(first, ops[i].answer)
        for i in reversed(window):
            o = ops[i]
            if o.call > first:
                continue
            for next_state in step(o, same(o, state)):
                key = (done | 1 << i, next_state)
                if key not in seen:
                    seen.add(key)
                    stack.append((done | 1 << i, next_state, i, here))
    return None


def explain(history):
    """The history's lines, for a failure's message."""
    return "\n".join(f"{o.call:9.4f} … {o.answer:9.4f} {o.kind} value={o.value!r} expected={o.expected} → {o.outcome} {o.seen}"
                     for o in sorted(history, key=lambda o: o.call))


def _examples():
    """Histories with known answers: a checker that finds everything right would be of no use."""
    c = lambda a, b, v, r: Op(a, b, "create", v, 0, "ok", (v, r))
    u = lambda a, b, v, e, r: Op(a, b, "update", v, e, "ok", (v, r))
    g = lambda a, b, seen: Op(a, b, "get", outcome="ok", seen=seen)
    return [
        ("one after the other", True, [c(0, 1, "a", 5), g(2, 3, ("a", 5)), u(4, 5, "b", 5, 6), g(6, 7, ("b", 6))]),
        ("a stale read", False, [c(0, 1, "a", 5), u(2, 3, "b", 5, 6), g(4, 5, ("a", 5))]),
        ("a read beside a write may see either", True, [c(0, 1, "a", 5), u(2, 6, "b", 5, 6), g(3, 4, ("a", 5)), g(3, 5, ("b", 6))]),
        ("… but not the new and then the old", False, [c(0, 1, "a", 5), u(2, 9, "b", 5, 6), g(3, 4, ("b", 6)), g(5, 6, ("a", 5))]),
        ("a lost update", False, [c(0, 1, "a", 5), u(2, 3, "b", 5, 6), u(4, 5, "c", 5, 7)]),
        ("two creates", False, [c(0, 3, "a", 5), c(1, 4, "b", 6)]),
        ("an acknowledged create that is gone", False, [c(0, 1, "a", 5), g(2, 3, ABSENT)]),
        ("an unknown create that is seen", True, [Op(0, FOREVER, "create", "a"), g(2, 3, ("a", 9))]),
        ("… or never", True, [Op(0, FOREVER, "create", "a"), g(2, 3, ABSENT)]),
        ("… late, and by others", True, [Op(0, FOREVER, "create", "a"), g(2, 3, ABSENT), u(4, 5, "b", 9, 10)]),
        ("… but not applied twice", False, [Op(0, FOREVER, "create", "a"), g(1, 2, ("a", 9)), Op(3, 4, "delete", "", 9, "ok"), g(5, 6, ("a", 11))]),
        ("a conflict that was none", False, [c(0, 1, "a", 5), Op(2, 3, "update", "b", 5, "conflict")]),
        ("already there, although it never was", False, [Op(0, 1, "create", "a", 0, "exists")]),
        ("removed and made again", True, [c(0, 1, "a", 5), Op(2, 3, "delete", "", 5, "ok"), c(4, 5, "b", 7), g(6, 7, ("b", 7))]),
    ]


if __name__ == "__main__":
    wrong = [name for name, wanted, history in _examples() if (linearizable(history) is not None) != wanted]
    sys.exit(f"wrong: {wrong}" if wrong else 0)
