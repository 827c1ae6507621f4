"""Change the optimisers line by line, and see whether the tests notice.

Run by hand: python tests/optimise/mutations.py [words], where only mutations with one of the words in their file, class
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
FILES = ["momentum", "adaptive", "adam", "amsgrad", "yellowfin", "modifiers", "schedules"]
TESTS = ["test_optimiser_rules", "test_modifiers", "test_schedules", "test_rules_numbers", "test_rules_saved"]
FIRST = {"modifiers": ["test_modifiers"], "schedules": ["test_schedules"]}  # the tests that see most; else the first
NAMES = {"Averaging": "Adam", "_tuned": "YellowFin"}  # parts of rules, and whose tests run
NAMES_OF_FILES = {"modifiers": "modifiers or Chain", "schedules": "schedules"}
PASSED_OVER = {"__repr__", "__post_init__"}  # texts and messages
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

# file, class or function, the line without spaces at its ends, and why the mutation changes nothing that can be seen
EQUIVALENT: dict[tuple[str, str, str], str] = {}


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
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *options, *files]
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
    without = shutil.ignore_patterns("__pycache__", "*.pyc")
    shutil.copytree(ROOT / "tinyflux", folder / "tinyflux", ignore=without)
    shutil.copytree(ROOT / "tests" / "optimise", folder / "tests" / "optimise", ignore=without)
    for name in ("pyproject.toml", "README.md", "tests/conftest.py"):
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
            equivalent = (mutation.file, mutation.owner, mutation.after) in EQUIVALENT
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
            print(
                f"\n{result}: {mutation}", EQUIVALENT.get((mutation.file, mutation.owner, mutation.after), ""), sep="\n"
            )


if __name__ == "__main__":
    main()
