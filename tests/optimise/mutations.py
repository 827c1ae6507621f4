"""Change the optimisers line by line, and see whether the tests notice.

Run by hand: python -m tests.optimise.mutations [words], where only mutations with one of the words in their file, class
or line are made. Every mutation is made in a copy of the tree, where the tests that bear the name of the rule run on it
in a process of their own. A table of what was caught goes to stdout, then the mutations that survived. Those that can't
be seen, since the changed line means the same, stand below with the reason.
"""

import argparse
import ast
import collections
import copy
import os
import queue
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILES = ["momentum", "adaptive", "adam", "muon", "soap", "averages", "modifiers", "schedules"]
TESTS = ["test_optimiser_rules", "test_modifiers", "test_schedules", "test_rules_numbers", "test_rules_saved"]
TESTS += ["test_muon", "test_soap", "test_averages"]
FIRST = {
    name: [f"test_{name}"] for name in ("muon", "soap", "averages", "modifiers", "schedules")
}  # the tests that see most; else the first
NAMES = {"Averaging": "Adam", "_tuned": "YellowFin"}  # parts of rules, and whose tests run
NAMES_OF_FILES = {
    "muon": "muon",
    "soap": "soap",
    "averages": "averages",
    "modifiers": "modifiers or Chain",
    "schedules": "schedules or modifiers",
}
PASSED_OVER = {"__repr__", "__post_init__", "accepts", "check_state"}  # texts and messages
BINARY = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Pow: ast.Mult}
BINARY |= {ast.FloorDiv: ast.Div, ast.Mod: ast.FloorDiv, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd}
COMPARISONS = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq}
COMPARISONS |= {ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In}
PAIRS = [
    ("beta1", "beta2"),
    ("power1", "power2"),
    ("nu1", "nu2"),
    ("m", "v"),
    ("maximum", "minimum"),
    ("eta", "lambda_"),
]
SWAPPED = dict(PAIRS) | {b: a for a, b in PAIRS}
UNWRAPPED = {"sqrt", "sign", "abs", "clip", "maximum", "minimum", "number", "exp", "log", "cos", "astype"}

# Changed lines that mean the same, each with its function and the reason.
EQUIVALENT_LINES = """
YellowFin.init: averages, weight, recent = (0.0,) * 5, 1.0, (1.0,) * self.window
    the first measured step fills the window
YellowFin.apply: h = np.sum(g * g, dtype=np.float64)
    all that is made of it becomes plain numbers
YellowFin.apply: high, low = (np.where(measured, functools.reduce(f, recent), 2.0) for f in (np.maximum, np.minimum))
    unmeasured steps take nothing of it
YellowFin.apply: distance = averaged(distance, norm / np.where(squared_norm == 0, 2.0, squared_norm))
    ‖g‖ is 0 there, too
YellowFin.apply: share = np.where(weight == 1, 1.0, 1 - weight)
    it divides numbers, and averages whose sum is in float64
YellowFin.apply: share = number(np.where(weight == 1, 2.0, 1 - weight))
    nothing was averaged, and the velocity is 0
_tuned: q = np.where(noisy, distance * low / np.sqrt(2 * np.where(noisy, variance, 2.0)), 1.0)
    unused where not noisy
_tuned: q = np.where(noisy, distance * low / np.sqrt(2 * np.where(noisy, variance, 1.0)), 2.0)
    unused where not noisy
_tuned: y = np.minimum(np.where(noisy, y, 2.0), 2 / (np.sqrt(high / low) + 1))
    the other bound is at most 1
RMSProp.apply: mean = (self.rho * state[1] - (1 - self.rho) * g)
    the average with the other sign; its square is used
Padam.apply: return (m, v, w), self.eta * m / np.where(w == 0, 2, w) ** self.p # where w is 0, m is, too
    0 over any number
RAdam.apply: r = number(np.where(trusted, rectified, 1.0)) ** 0.5
    unused where v is not trusted
RAdam.apply: limit = np.where(limit > 4, limit, 5.0) # rho stays below 4 then, and r is not used
    all that is made of it becomes plain numbers
RAdam.apply: limit = number(np.where(limit > 4, limit, 6.0)) # rho stays below 4 then, and r is not used
    any number will do by which nothing is divided by 0
RAdam.apply: limit = number(np.where(limit > 4, limit, 0.0)) # rho stays below 4 then, and r is not used
    any number will do by which nothing is divided by 0
OptimiserChain.__init__: object.__setattr__(self, "_counts", [size_of_state(at(rule, 1)) for rule in rules])
    a state is as large at every step
OptimiserChain.whole: scopes = [getattr(rule, "whole", 0.5) for rule in self.rules]
    only the two scopes are looked for
size_of_state: state = rule.init(np.zeros(1))
    an array is counted whatever its size
ClipNorm.apply: norm = np.sqrt(np.sum(g.astype(np.float64) ** 2))
    NumPy's float64 is a float, too
ClipNorm.apply: shortened = np.where((norm >= self.omega), self.omega / np.where(norm > 0, norm, 1.0), 1.0)
    ω/ω is 1
ClipNorm.apply: shortened = np.where(norm > self.omega, self.omega / np.where(norm > 0, norm, 2.0), 1.0)
    a norm of 0 is not above ω
CosineRestarts.__call__: return self.stop + (self.start - self.stop) * _cosine((1 + share))
    cos(π + z) is cos(π − z)
Sequence.__call__: value = np.where(t < start, value, schedule(np.maximum(t - start, 0)))
    what comes of NumPy's integer becomes a plain number, too
OneCycle.__call__: return number(np.where((t <= top), up, down))
    both are the peak there
Scheduled.whole: return getattr(self.rule, "whole", 0.5)
    only how many arrays are stepped at once
"""
_lines = EQUIVALENT_LINES.strip().splitlines()
EQUIVALENT = {line: reason.strip() for line, reason in zip(_lines[::2], _lines[1::2])}


@dataclass(frozen=True)
class Mutation:
    file: str
    owner: str
    before: str
    after: str
    source: bytes

    def __str__(self) -> str:
        return f"{self.file}.py {self.owner}: {self.before}  →  {self.after}"


def variants(node: ast.expr, names: set[str]) -> Iterator[ast.expr]:
    """What may stand in the place of an expression by mistake, in a function where `names` occur."""
    if isinstance(node, ast.BinOp):
        for kind in {BINARY.get(type(node.op), type(node.op))} - {type(node.op)}:
            yield ast.BinOp(node.left, kind(), node.right)
        yield node.left
        yield node.right
        left = node.left
        if isinstance(node.op, ast.Add) and isinstance(left, ast.Call) and ast.unparse(left.func) == "np.sqrt":
            yield ast.Call(left.func, [ast.BinOp(left.args[0], node.op, node.right)], [])  # ε within the root
    elif isinstance(node, ast.UnaryOp):
        yield node.operand
    elif isinstance(node, ast.Compare) and len(node.ops) == 1:
        yield ast.Compare(node.left, [COMPARISONS[type(node.ops[0])]()], node.comparators)
        yield ast.UnaryOp(ast.Not(), node) if "np" not in ast.unparse(node) else node.left
    elif isinstance(node, ast.IfExp):
        yield node.body
        yield node.orelse
    elif isinstance(node, ast.Constant) and type(node.value) in (int, float):
        yield ast.Constant(node.value + 1)
        if node.value:
            yield ast.Constant(type(node.value)(0))
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield ast.Constant(not node.value)
    elif isinstance(node, ast.Constant) and node.value is None:
        yield ast.Constant(0.5)
    elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Load):
        name = node.id if isinstance(node, ast.Name) else node.attr
        if SWAPPED.get(name) in {*names, "maximum", "minimum"}:
            other = copy.copy(node)
            setattr(other, "id" if isinstance(node, ast.Name) else "attr", SWAPPED[name])
            yield other
    elif isinstance(node, ast.Call):
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name == "astype":
            yield node.func.value
        elif name in UNWRAPPED:
            yield from node.args[: 2 if name in ("maximum", "minimum") else 1]
        elif name == "where" and len(node.args) == 3:
            yield from node.args[1:]


def expressions(
    node: ast.AST, owner: str = "", names: frozenset[str] = frozenset()
) -> Iterator[tuple[str, ast.expr, frozenset[str]]]:
    """Every expression of the formulas and defaults: its class and function, and the names that occur there."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | ast.FunctionDef):
            if child.name not in PASSED_OVER:
                inside = ast.Module(child.body, [])
                found = [getattr(n, "attr", getattr(n, "id", "")) for n in ast.walk(inside)]
                yield from expressions(inside, f"{owner}.{child.name}".strip("."), frozenset(found))
        elif isinstance(child, ast.AnnAssign):
            yield from expressions(ast.Module([child.value] if child.value else [], []), owner, names)
        elif not isinstance(child, ast.Raise | ast.Import | ast.ImportFrom | ast.JoinedStr):
            if isinstance(child, ast.expr):
                yield owner, child, names
            yield from expressions(child, owner, names)


def mutations(file: str) -> Iterator[Mutation]:
    """Every change of one place in a file, each that leads to the same text once."""
    source = (ROOT / "tinyflux" / "optimise" / f"{file}.py").read_bytes()
    lines = source.splitlines(keepends=True)
    starts = [sum(map(len, lines[:i])) for i in range(len(lines) + 1)]
    seen = {source}
    for owner, node, names in expressions(ast.parse(source)):
        first, last = starts[node.lineno - 1] + node.col_offset, starts[node.end_lineno - 1] + node.end_col_offset
        for variant in variants(node, names):
            text = ast.unparse(ast.fix_missing_locations(variant))
            if not isinstance(variant, ast.Name | ast.Constant | ast.Attribute | ast.Call):
                text = f"({text})"
            changed = source[:first] + text.encode() + source[last:]
            if changed in seen:
                continue
            seen.add(changed)
            begin, end = starts[node.lineno - 1], starts[node.end_lineno]
            before, after = source[begin:end], changed[begin : end + len(changed) - len(source)]
            yield Mutation(file, owner, *[" ".join(piece.decode().split()) for piece in (before, after)], changed)


def survives(mutation: Mutation, folder: Path) -> bool:
    """Whether the tests pass with the mutation."""
    target = folder / "tinyflux" / "optimise" / f"{mutation.file}.py"
    original = target.read_bytes()
    target.write_bytes(mutation.source)
    try:
        owner = mutation.owner.split(".")[0]
        words = NAMES_OF_FILES.get(mutation.file) or NAMES.get(owner, owner)
        return all(tested(folder, files, "-k", words) for files in (FIRST.get(mutation.file, TESTS[:1]), TESTS))
    finally:
        target.write_bytes(original)


def tested(folder: Path, names: list[str], *options: str) -> bool:
    """Whether the tests pass on the copy of the tree in `folder`; without an end, they don't."""
    files = [f"tests/optimise/{name}.py" for name in names]
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--assert=plain", *options, *files]
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    except subprocess.TimeoutExpired:
        return False
    if run.returncode not in (0, 1, 2):  # 1: a test failed; 2: a file could not be imported
        raise RuntimeError(run.stdout + run.stderr)
    return run.returncode == 0


def copy_tree(folder: Path) -> Path:
    """The library and the tests of the optimisers."""
    shutil.copytree(ROOT / "tinyflux", folder / "tinyflux")
    for name in ("optimise", "record", "support"):
        shutil.copytree(ROOT / "tests" / name, folder / "tests" / name)
    shutil.copytree(ROOT / "docs" / "understand", folder / "docs" / "understand")
    for name in ("pyproject.toml", "tests/__init__.py", "tests/conftest.py"):
        shutil.copy(ROOT / name, folder / name)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--list", action="store_true", help="only list the mutations")
    given = parser.parse_args()
    made = [m for file in FILES for m in mutations(file) if not given.words or any(w in str(m) for w in given.words)]
    if given.list:
        print(*made, sep="\n")
        return
    with tempfile.TemporaryDirectory() as temporary:
        folders: queue.Queue[Path] = queue.Queue()
        for i in range(given.jobs):
            folders.put(copy_tree(Path(temporary) / str(i)))
        if not tested(Path(temporary) / "0", TESTS):
            raise SystemExit("The tests fail without any mutation.")

        def outcome(mutation: Mutation) -> str:
            folder = folders.get()
            try:
                survived = survives(mutation, folder)
            finally:
                folders.put(folder)
            equivalent = f"{mutation.owner}: {mutation.after}" in EQUIVALENT
            return "equivalent" if survived and equivalent else "survived" if survived else "caught"

        with ThreadPoolExecutor(given.jobs) as pool:
            outcomes = []
            for mutation, result in zip(made, pool.map(outcome, made), strict=True):
                outcomes.append((mutation, result))
                if result == "survived":
                    print(mutation, file=sys.stderr, flush=True)
    report(outcomes)


def report(outcomes: list[tuple[Mutation, str]]) -> None:
    """The table, then the mutations that were not caught."""
    counts: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)
    for mutation, result in outcomes:
        counts[f"{mutation.file}: {mutation.owner.split('.')[0]}"][result] += 1
        counts["in all"][result] += 1
    print("| rule | caught | equivalent | survived |\n|---|---|---|---|")
    for owner, count in sorted(counts.items(), key=lambda item: item[0] == "in all"):
        print(f"| {owner} | {count['caught']} | {count['equivalent']} | {count['survived']} |")
    for mutation, result in outcomes:
        if result != "caught":
            print(f"\n{result}: {mutation}", EQUIVALENT.get(f"{mutation.owner}: {mutation.after}", ""), sep="\n")


if __name__ == "__main__":
    main()
