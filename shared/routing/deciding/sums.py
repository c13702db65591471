"""Sums that a text shows, such as "16 - 3 = 13", and whether they come out.

A wrong sum tells more of an answer than its embedding does. Of Mixtral's answers to GSM8K, 71% are
right where all sums come out, and 6% where one does not (docs/decisions/0010-true-units.md).
Only numbers are read, and nothing is executed. A sum is called wrong only where no other reading of
it comes out: European decimals, a conversion of units, a percentage added, a range.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import islice

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]

NAMES = ("wrong", "any_wrong", "any", "count")
SIZE = len(NAMES)
"""Numbers that `sums` gives. Heads of tables depend on them: another set needs another name in
`shared.routing.deciding.cascade.SEES`."""
MOST = 40
"""Sums that are looked at."""
READ = 20_000
"""Characters of a text that are looked at."""
NEARLY = 0.05
"""How far, as a fraction, what stands behind "≈" may be off."""
CONVERSIONS = (12.0, 24.0, 60.0, 100.0, 1000.0, 3600.0, 1e6, 1e9)
"""Of units: "4 * 15 = 1 hour"."""

_SIGNS = {
    "\\times": "*",
    "\\cdot": "*",
    "\\div": "÷",
    "\\approx": "≈",
    "\\left": "",
    "\\right": "",
    "\\%": "%",
    "\\,": "",
    "\\*": "*",
    "{,}": ",",
    "×": "*",
    "✕": "*",
    "·": "*",
    "⋅": "*",
    "∙": "*",
    "∗": "*",
    "⁄": "/",
    "−": "-",
    "–": "-",
    "**": "",
    "`": "",
    "&": "",
    "\\(": " ",
    "\\)": " ",
    "\\[": " ",
    "\\]": " ",
    "=>": ";",
    "->": ";",
    "⇒": ";",
    "→": ";",
    "\u00a0": " ",
    "\u202f": " ",
}
Replacement = str | Callable[[re.Match[str]], str]
_REWRITTEN: tuple[tuple[str, Replacement], ...] = (
    (r"<<[^<>]{0,120}>>", ""),  # a calculator's note, as in GSM8K; the sum stands beside it
    (r"\\(?:text|mathrm)\{[^{}]{0,40}\}", ""),
    (r"\\boxed\{([^{}]{1,40})\}", r"\1"),
    (r"\\[dt]?frac\{([^{}]{1,40})\}\{([^{}]{1,40})\}", r"((\1)/(\2))"),
    (r"(?m)^[ \t]*[-*•][ \t]+", ""),  # bullets
    (r"(?<=\d)[ \t]*\n[ \t]*(?==)", " "),
    (r"(?<=[\w)])(?:\*\*|[ \t]+\*\*[ \t]+)(?=[\w(.-])", "^"),  # a power, not bold
    ("|".join(map(re.escape, _SIGNS)), lambda found: _SIGNS[found[0]]),
    (r"\\?[$€£]", ""),
    (  # thousands are marked with _, which Python reads too
        r"(?<![\w.,'’])[1-9]\d{0,2}(?:[,'’ ]\d{3})+(?![\d.,'’]\d|\d)",
        lambda found: re.sub(r"\D", "_", found[0]),
    ),
    (r"(?<![\w.,'’])[1-9]\d{0,2}(?:,\d{3})+(?=\.\d)", lambda found: found[0].replace(",", "_")),
    (r"(?<=[\d)%])[ \t]*[xX][ \t]*(?=[\d(])", " * "),
    (r"(?<!\d)(\d+[ \t]*/[ \t]*\d+)(?=[ \t]*÷)", r"(\1)"),
    (r"(÷[ \t]*)(\d+[ \t]*/[ \t]*\d+)", r"\1(\2)"),
    ("÷", "/"),
    (r"(?<![\w./,)])(\d{1,3})[ \t]+(\d{1,2}/\d{1,2})(?![\w/])", r"(\1+\2)"),  # 2 1/2
)

_NUMBER = r"(?:\d{1,15}(?:_\d{3})*(?:\.\d{1,12})?|\.\d{1,12})"
# each part is atomic, so that a long text of digits and brackets takes no longer than another
_OPERAND = rf"(?>[( \t]{{0,6}}(?:-[( \t]{{0,6}})?{_NUMBER}(?:[ \t]*%)?(?:[ \t]*\)){{0,6}})"
_SIDE = rf"(?>{_OPERAND}(?:[ \t]*[-+*/]{_OPERAND}){{0,12}})"
_CHAIN = re.compile(rf"(?<![\w.,%)]){_SIDE}(?:[ \t]*[=≈](?!=){_SIDE}){{1,6}}")
_LABELS = (
    "step|day|week|question|row|pages?|parts?|problem|case|option|exercise|ages?|chapter|item|nr|no"
)
_FUNCTIONS = r"sqrt|root|sin|cos|tan|log\w{0,2}|ln|mod|twice|half|double|off"
_WORDS = "[xX]|of|times|plus|minus|by|than|over"
_BEFORE = re.compile(
    rf"[-+*/^<>%#№√][ \t]*$|\d[ \t]*:[ \t]*$|==[ \t]*$"
    rf"|\b(?:{_WORDS}|{_FUNCTIONS}|{_LABELS})\.?[ \t]+$",
    re.IGNORECASE,
)
"""What makes the first side of a chain a part of something else: "1/2 of 3 + 4 = 7"."""
_SUBTRACTED = re.compile(r"[\w)%][ \t]*$")
_AFTER = re.compile(
    r"[A-Za-z_\\\d(]|[.,:]\d|[ \t]*[*/^]|[ \t]*\+[ \t]*[\w(]|-\w|[ \t]*-[ \t]*(?:\(|[A-Za-z]\b)"
    r"|[ \t]*(?:thousand|million|billion|bn|[mM](?:n|io|illionen|illiarden)|lakh|crore|[万億亿])",
    re.IGNORECASE,
)
"""What makes the last side a part of something else: "3 * 4 = 12x"."""
_SIGN = re.compile(r"[\d)%][ \t]*[-+*/]")
_ASIDE = re.compile(r"[ \t]*\([^()]*\)[ \t]*")
"""As in "Alani (20 * 2) + Margot (60 * 2) = 160"."""
_PART = re.compile(r"[ \t]*\d+[ \t]*/[ \t]*\d+[ \t]*")
_RANGE = re.compile(r"[ \t]*(\d+)-(\d+)((?:-\d+)*)[ \t]*")
_PERCENT_ADDED = re.compile(rf"[-+][ \t]*{_NUMBER}[ \t]*%")
_PERCENT = re.compile(rf"({_NUMBER})[ \t]*%")
_FIRST = re.compile(_NUMBER)
_ZEROS = re.compile(r"(?<![\d._])0+(?=\d)")


def sums(text: str) -> Array:
    """(SIZE,) float32, in the order of `NAMES`: how many sums are wrong, up to 3; whether one is;
    whether there are any; and the logarithm of how many there are."""
    found = list(islice(checked(text), MOST))
    wrong = found.count(False)
    return np.array([min(wrong, 3), wrong > 0, len(found) > 0, np.log1p(len(found))], np.float32)


def sums_of(texts: Sequence[str]) -> Array:
    """(n, SIZE) float32."""
    return (
        np.stack([sums(text) for text in texts]) if len(texts) else np.zeros((0, SIZE), np.float32)
    )


def checked(text: str) -> Iterator[bool]:
    """Whether each sum of the text comes out, to as many digits as its result has. Sums that may be
    read in several ways are left out where the first reading does not come out."""
    text = _rewritten(text)
    for chain in _CHAIN.finditer(text):
        sides = re.split("([=≈])", chain[0])
        before = text[max(0, chain.start() - 16) : chain.start()]
        negative = chain[0].lstrip().startswith("-")
        if _BEFORE.search(before) or (negative and _SUBTRACTED.search(before)):
            sides = sides[2:]
        if _AFTER.match(text, chain.end()):
            sides = sides[:-2]
        for left, sign, right in zip(sides[::2], sides[1::2], sides[2::2], strict=False):
            if (comes_out := _comes_out(left, right, nearly=sign == "≈")) is not None:
                yield comes_out


def _rewritten(text: str) -> str:
    """With one sign for each operation, and without what surrounds numbers."""
    if len(text) > READ:
        text = text[:READ].rpartition("\n")[0] or text[:READ].rpartition(" ")[0]
    for pattern, replacement in _patterns():
        text = pattern.sub(replacement, text)
    return text


@cache
def _patterns() -> tuple[tuple[re.Pattern[str], Replacement], ...]:
    return tuple((re.compile(pattern), replacement) for pattern, replacement in _REWRITTEN)


def _comes_out(left: str, right: str, *, nearly: bool) -> bool | None:
    """Whether `left` is a sum with the result `right`; None where that can't be told."""
    value, result = _value(left), _value(right)
    if value is None or result is None or not _SIGN.search(left) or _ASIDE.fullmatch(left):
        return None  # "20% of 25 = 0.2 * 25" does not say that 25 is a fifth of itself
    if _agree(value, result, left, right, nearly=nearly):
        return True
    return None if _doubtful(left, right, value, result) else False


def _agree(value: float, result: float, left: str, right: str, *, nearly: bool) -> bool:
    """Whether `value` is the result. In "5 * 3 = 15 + 2 = 17" that may be the 15."""
    first = _FIRST.search(right)
    assert first is not None  # a side begins with a number
    results = [result, float(first[0])] if _SIGN.search(right) else [result]
    if "%" in left + right:
        results += [100 * number for number in results] + [number / 100 for number in results]
    digits = max((len(number.partition(".")[2]) for number in _FIRST.findall(right)), default=0)
    step = 1.0 - 1e-9 if "/" in left else 0.51  # quotients are cut as well as rounded
    near = step * 10.0**-digits + (NEARLY if nearly else 1e-12) * abs(value)
    return any(abs(value - number) <= near for number in results)


def _doubtful(left: str, right: str, value: float, result: float) -> bool:
    """Whether a sum that does not come out may be meant in another way."""
    if _PART.fullmatch(left) and value < 1 < result:
        return True  # "if 3/4 = 9, then 1/4 = 3"
    if (tight := _RANGE.fullmatch(left)) and (tight[3] or int(tight[1]) < int(tight[2])):
        return True  # "1990-1999 = 10 years"
    if _PERCENT_ADDED.search(left):
        return True  # "100 + 10% = 110"
    if any(
        abs(more - times * less) < 1e-9 * abs(more)
        for more, less in ((value, result), (result, value))
        for times in CONVERSIONS
    ):
        return True
    others = _european(left), _european(right)
    if others == (left, right):
        return False
    readings = [_value(side) for side in others]
    return (
        readings[0] is not None
        and readings[1] is not None
        and _agree(readings[0], readings[1], *others, nearly=False)
    )


def _european(side: str) -> str:
    """With thousands and decimals the other way round: "3.500" is 3500, and "3,333" is 3.333."""
    plain = re.sub(r"(\d)\.(\d{3})(?!\d)", r"\1\2", side)
    return re.sub(r"(\d)_(\d{3})(?![\d_])", r"\1.\2", plain)


def _value(side: str) -> float | None:
    """What an expression of numbers comes to; None if it can't be read."""
    side = _ZEROS.sub("", _PERCENT.sub(r"(\1/100)", side)).strip()
    for _ in range(side.count("(") - side.count(")")):
        side = side[1:].lstrip() if side.startswith("(") else f"{side})"
    for _ in range(side.count(")") - side.count("(")):
        side = side.removesuffix(")").rstrip()
    try:
        return _of(ast.parse(side, mode="eval").body)
    except (SyntaxError, ValueError, ZeroDivisionError, OverflowError, RecursionError):
        return None


def _of(node: ast.expr) -> float:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return float(node.value)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_of(node.operand)
    if isinstance(node, ast.BinOp):
        left, right = _of(node.left), _of(node.right)
        if isinstance(node.op, ast.Add):
            return left + right
        if isinstance(node.op, ast.Sub):
            return left - right
        if isinstance(node.op, ast.Mult):
            return left * right
        if isinstance(node.op, ast.Div):
            return left / right
    raise ValueError("no sum")
