"""Statements that data can confirm or refute, their verdicts, and both as text."""

from collections.abc import Iterable
from typing import NamedTuple

from .markdown import table

HOLDS, FAILS, NOT_RUN = "holds", "doesn't hold", "not run"
SIGNS = {HOLDS: "✓ holds", FAILS: "✗ doesn't hold", NOT_RUN: "– not run", "": ""}
IN_PART = "◐ in part"


def verdict(true: bool | None) -> str:
    """HOLDS or FAILS; NOT_RUN for None."""
    return NOT_RUN if true is None else HOLDS if true else FAILS


class Check(NamedTuple):
    """A statement that our data can confirm or refute."""

    statement: str
    evidence: str  # the figures that decide it
    verdict: str  # HOLDS, FAILS or NOT_RUN


class Conclusion(NamedTuple):
    """What others conclude, and the checks of it."""

    text: str
    checks: list[Check]

    @property
    def verdict(self) -> str:
        """It holds where all checks hold, and doesn't where one fails."""
        verdicts = {check.verdict for check in self.checks}
        return FAILS if FAILS in verdicts else NOT_RUN if NOT_RUN in verdicts else HOLDS

    @property
    def sign(self) -> str:
        """The verdict as it is shown: where some checks hold and others don't, the conclusion holds in part.

        >>> Conclusion("All is well.", [Check("a", "97 %", HOLDS), Check("b", "12 %", FAILS)]).sign
        '◐ in part'
        """
        verdicts = {check.verdict for check in self.checks}
        return IN_PART if {HOLDS, FAILS} <= verdicts else SIGNS[self.verdict]

    @property
    def counted(self) -> str:
        """How many of the checks hold.

        >>> checks = Check("a", "97 %", HOLDS), Check("b", "12 %", FAILS), Check("c", "", NOT_RUN)
        >>> Conclusion("All is well.", list(checks)).counted
        '1 of 3 holds, 1 not run'
        """
        verdicts = [check.verdict for check in self.checks]
        gap = f", {verdicts.count(NOT_RUN)} not run" if NOT_RUN in verdicts else ""
        return f"{verdicts.count(HOLDS)} of {len(verdicts)} hold{'s' * (verdicts.count(HOLDS) == 1)}{gap}"

    @property
    def against(self) -> str:
        """What speaks against it: the checks that fail, each with its figures.

        >>> Conclusion("All is well.", [Check("a", "97 %", HOLDS), Check("b", "12 %", FAILS)]).against
        'b (12 %)'
        """
        return "; ".join(f"{check.statement} ({check.evidence})" for check in self.checks if check.verdict == FAILS)

    @property
    def in_words(self) -> str:
        """The same as a sentence.

        >>> checks = Check("a", "97 %", HOLDS), Check("b", "12 %", FAILS), Check("c", "", NOT_RUN)
        >>> Conclusion("All is well.", list(checks)).in_words
        "1 of 3 checks holds, 1 doesn't, 1 is not run."
        """
        verdicts = [check.verdict for check in self.checks]
        holds, fails, left = (verdicts.count(v) for v in (HOLDS, FAILS, NOT_RUN))
        if len(verdicts) == 1:
            return f"The check {'is ' if left else ''}{verdicts[0]}."
        if len(verdicts) == holds:
            return "Both checks hold." if holds == 2 else f"All {holds} checks hold."
        if len(verdicts) == left:
            return "Neither check is run." if left == 2 else f"None of the {left} checks is run."
        words = f"{holds} of {len(verdicts)} checks {'holds' if holds == 1 else 'hold'}"
        words += (f", {fails} doesn't" if fails == 1 else f", {fails} don't") if fails else ""
        return words + (f", {left} {'is' if left == 1 else 'are'} not run." if left else ".")

    @property
    def markdown(self) -> str:
        """Under a heading, a table of the checks."""
        rows = [[check.statement, check.evidence, SIGNS[check.verdict]] for check in self.checks]
        return f"### {self.text}\n\n" + table(["check", "from our data", "verdict"], "lll", rows)


def overview(conclusions: Iterable[Conclusion]) -> str:
    """A table of the conclusions in Markdown, a verdict on each, and below what speaks against those that fail."""
    conclusions = list(conclusions)
    rows = [[conclusion.text, conclusion.counted, conclusion.sign] for conclusion in conclusions]
    text = table(["conclusion", "checks", "verdict"], "lll", rows)
    failing = [f"- **{c.text}** Not so in our data: {c.against}." for c in conclusions if c.against]
    if not failing:
        return text
    rule = "A conclusion holds where all of its checks hold, and in part where some do. What speaks against one:"
    return "\n\n".join([text, rule, "\n".join(failing)])
