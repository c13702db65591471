"""A task description without a language model: the prompt's own instruction, found by rules.

Extractive and deterministic. It names the task only as well as the prompt does, and may carry some
of its content; the language model does better, this is what stands in for it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_WORDS = 30
CHARS_A_WORD = 8
"""Where words are not parted by spaces, and at most anywhere."""
INSTRUCTION = 3.0
"""What a sentence that opens with an instructing verb has at least (`Sentence.instructs`)."""
READ_CHARS = 8000
"""More of a prompt is not read: what nobody bounds, somebody sends."""

_FENCED = re.compile(r"```.*?(?:```|\Z)|~~~.*?(?:~~~|\Z)", re.DOTALL)
_QUOTED = re.compile(
    r"“[^”]{25,2000}”|„[^“”\"]{25,2000}[“”\"]|«[^»]{25,2000}»|\"[^\"]{25,2000}\"|(?<!\w)'[^'\n]{40,2000}'(?!\w)"
)
_NUMBERS = re.compile(r"(?<![\w.])[-+]?[$€£]?\d[\d.,:/]{0,30}\s?[%€$£]?(?![\w-])")
_LINKS = re.compile(r"https?://\S{1,500}|[\w.+-]{1,64}@[\w-]{1,64}\.[\w.]{1,64}")
_NUMBER_OF_SOMEBODY = re.compile(r"(?<![\w.])\+?\d(?:[ ()./–-]{0,3}\d){8,24}(?!\w)")
"""What may be the number of a telephone, an account or a card: nine digits or more."""
_DATE = re.compile(r"\d{4}-\d\d-\d\d|\d\d?[./]\d\d?[./]\d{2,4}")
_WEB = re.compile(r"(?<!\w)(?:\w{1,20}://|www\.)\S+", re.IGNORECASE)
_MAIL = re.compile(r"[\w.+-]{1,64}@[\w-]+(?:\.[\w-]+)+")
_SECRET = re.compile(r"(?<!\w)(?=[\w-]{0,60}\d)(?=[\w-]{0,60}[A-Za-z])[\w-]{20,}")
"""A key or a token: long, and of letters and digits."""
_SPACE = re.compile(r"\s+")
_MARKS = re.compile(r"[{}\[\]();=<>_|\\]")
_LETTER = re.compile(r"[^\W\d_]")
_CODE_LINE = re.compile(r"\w\.\w+\(|\bdef \w+\(|==|=>|->|&&|[{};]\s*$")
_SENTENCE = re.compile(
    r"(?:[^.!?。！？؟।۔\n]|[.!?](?!\s|$))+(?:[.!?。！？؟।۔]+|$|(?=\n))", re.MULTILINE
)  # so do full-width, Arabic and Hindi stops
_LIST_MARK = re.compile(r"^\s*(?:[-*•>#]+|\(?\d+[.)]|[A-Za-z][.)])\s+")
_GREETING = re.compile(
    r"^(?:hi|hello|hey|dear|good (?:morning|evening|afternoon)|thanks|thank you|hallo|guten tag"
    r"|bonjour|hola|ciao|please help(?: me)?)(?:\s+[^\W\d_]+){0,2}\s*[,.!]+\s*",
    re.IGNORECASE,
)
_POLITE = re.compile(
    r"^(?:please|kindly|can you|could you|would you|will you|i need you to|i want you to|i would "
    r"like you to|i'd like you to"
    r"|help me(?: to)?|bitte|kannst du|können sie|por favor|puedes|s'il vous "
    r"plaît|peux-tu|pouvez-vous)\s+(?:please\s+)?",
    re.IGNORECASE,
)
_PLEASE = re.compile(
    r"^(?:please|pls|kindly|bitte|por favor|s'il (?:vous|te) plaît|per favore|alstublieft|proszę"
    r"|пожалуйста)\s+",
    re.IGNORECASE,
)

_VERBS = """
add adapt analyse analyze annotate answer arrange assess brainstorm build calculate categorize
categorise change check choose classify clean code combine compare complete compose compute
condense convert correct count create critique debug decide define describe design determine
develop diagnose draft edit estimate evaluate examine expand explain extract fill find fix flag
format generate give grade group guess identify implement improve infer interpret invent label
list make match name normalise normalize optimise optimize order organise organize outline
paraphrase parse pick plan predict prepare produce proofread propose prove provide rank rate read
recommend redact refactor rephrase reply respond review revise rewrite score select shorten show
simplify solve sort split spot state structure suggest summarise summarize tag teach tell test
transcribe transform translate turn verify work write analysiere beantworte berechne beschreibe
bewerte entwirf erkläre erkläre erstelle fasse finde formuliere gib klassifiziere korrigiere nenne
prüfe schreibe schreib übersetze übersetz vergleiche verbessere zähle analyse calcule classe
compare corrige crée décris donne explique extrais rédige réécris résume résous traduis trouve
vérifie écris analiza calcula clasifica compara corrige crea da describe escribe explica extrae
genera redacta resuelve resume traduce analizza calcola classifica correggi crea descrivi estrai
riassumi scrivi spiega traduci trova analise calcule classifique compare corrija crie descreva
escreva explique extraia liste reescreva resuma traduza beschrijf classificeer corrigeer geef
schrijf vat vertaal
"""
VERBS = frozenset(_VERBS.split())
"""Imperatives that open an instruction, in the languages that prompts come in most."""

_QUESTION = re.compile(
    r"^(?:what|which|who|whom|whose|when|where|why|how|is|are|was|were|do|does|did|can|could|should|would|will|may"
    r"|was|welche[rsn]?|wer|wann|wo|warum|wie|ist|sind|quel(?:le)?s?|qui|quand|où|pourquoi|comment|qué|cuál|quién|cuándo|dónde|cómo)\b",
    re.IGNORECASE,
)


def extract(prompt: str, max_words: int = MAX_WORDS) -> str:
    """The prompt's instruction in at most `max_words` words: its best sentence or two, without
    code, quotations and numbers.

    Never empty for a prompt that holds a character other than space.
    """
    found = _sentences(_bounded(prompt))
    if not found:
        return _cut(_clean(prompt) or prompt.strip(), max_words)
    scores = [_score(s, i, len(found)) for i, s in enumerate(found)]
    best = max(range(len(found)), key=lambda i: (scores[i], -i))
    text = _task(found[best])
    others = [
        i
        for i in range(len(found))
        if i != best and scores[i] >= 1.0 and len(found[i].split()) <= 25
    ]
    if (
        len(text.split()) < 6 and others
    ):  # "Translate this." says too little: add what comes next best
        second = max(others, key=lambda i: (scores[i], -i))
        text = (
            f"{text} {_task(found[second])}" if best < second else f"{_task(found[second])} {text}"
        )
    return _cut(text or _clean(prompt) or prompt.strip(), max_words)


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence of a prompt, or the part of it before or after a colon."""

    text: str
    """No longer than `MAX_WORDS`, with its stop or colon, without "please" before it."""
    instructs: float
    """How much it looks like an instruction, by its words and its place: about -1..6."""


def length(text: str) -> int:
    """Words of a text; of one that is not parted by spaces, as many as its letters would give."""
    return max(len(text.split()), -(-len(text) // CHARS_A_WORD))


def sentences(prompt: str, most: int = 16) -> list[Sentence]:
    """The prompt's sentences in order, without code and quotations; of more than `most` the first,
    the last, and those that look most like instructions. None where it has nothing else."""
    found = _sentences(scrubbed(_bounded(prompt)))
    parts = []
    for i, sentence in enumerate(found):
        instructs = _score(sentence, i, len(found))
        marks = len(_MARKS.findall(sentence))
        code = marks > max(2.0, 0.06 * len(sentence)) or _CODE_LINE.search(sentence)
        if code and instructs < INSTRUCTION:
            continue
        text = _PLEASE.sub("", sentence)
        text = text[:1].upper() + text[1:]
        head, colon, tail = _halves(text)
        both = colon and min(length(head), length(tail)) >= 3
        for part in (head + colon, tail) if both else (text,):
            short = _cut(part.strip(" ,;-…"), MAX_WORDS)[: MAX_WORDS * CHARS_A_WORD]
            if len(_LETTER.findall(short)) >= 3:
                parts.append(Sentence(short, instructs))
    if len(parts) > most:
        ends = {0, len(parts) - 1}
        order = sorted(
            set(range(len(parts))) - ends, key=lambda place: (-parts[place].instructs, place)
        )
        parts = [parts[i] for i in sorted({*ends, *order[: most - 2]})]
    return parts


def whole(prompt: str) -> str:
    """A short prompt on one line, without a greeting and "please" before it, which stands for
    itself. Empty for a longer one, and where there is nothing but code or a link."""
    if length(prompt) > MAX_WORDS:
        return ""
    text = scrubbed(prompt.strip())
    if len(_LETTER.findall(_FENCED.sub("", text))) < 3:
        return ""
    text = _PLEASE.sub("", _GREETING.sub("", _SPACE.sub(" ", text)))
    return text[:1].upper() + text[1:] if len(_LETTER.findall(text)) >= 3 else ""


def scrubbed(text: str) -> str:
    """A text without web links, e-mail addresses and what looks like a key; also without what may
    be the number of a telephone, an account or a card."""
    text = _SECRET.sub("…", _MAIL.sub("…", _WEB.sub("…", text)))
    return _NUMBER_OF_SOMEBODY.sub(_kept_number, text)


def _kept_number(match: re.Match[str]) -> str:
    """A number of many digits that belongs to nobody: a date, a sequence, a large number."""
    text = match.group()
    groups = re.findall(r"\d+", text)
    alone = len(groups) == 1 and text[0] not in "+0" and len(text) < 12
    sequence = min(map(len, groups)) == 1 and text[0] != "+"
    return text if alone or sequence or _DATE.match(text) else "…"


def _halves(text: str) -> tuple[str, str, str]:
    """A text before its first colon, the colon, and after it."""
    for colon in (":", "："):
        if colon in text:
            return text.partition(colon)
    return text, "", ""


def _bounded(prompt: str) -> str:
    """What is read of a prompt: its beginning and its end, where instructions stand."""
    if len(prompt) <= READ_CHARS:
        return prompt
    return prompt[: READ_CHARS * 3 // 4] + "\n" + prompt[-READ_CHARS // 4 :]


def _sentences(text: str) -> list[str]:
    """Sentences in order, without code, links, quotations and greetings."""
    body = _QUOTED.sub(" ", _LINKS.sub(" ", _FENCED.sub(" ", text)))
    return [s for s in (_clean(m.group()) for m in _SENTENCE.finditer(body)) if s]


def _clean(sentence: str) -> str:
    text = _LIST_MARK.sub("", sentence.strip())
    text = _GREETING.sub("", text)
    return _SPACE.sub(" ", text).strip(" \t\"'`*_#>-")


def _score(sentence: str, index: int, count: int) -> float:
    words = re.findall(r"[^\W\d_]+", _POLITE.sub("", sentence).lower())
    if not words:
        return -1.0
    score = 0.0
    if words[0] in VERBS:
        score += 3.0
    elif any(w in VERBS for w in words[:4]):
        score += 1.5
    if _POLITE.match(sentence):
        score += 1.0
    if sentence.endswith(("?", "？")) or _QUESTION.match(sentence):
        score += 1.5
    if index == 0:
        score += 1.0
    elif index == count - 1:
        score += 0.75
    if 4 <= len(words) <= 40:
        score += 0.5
    elif len(words) > 80:
        score -= 1.0  # that is content, or no sentence at all
    return score


def _task(sentence: str) -> str:
    """The instruction without politeness, and without what follows a colon: that is mostly
    content."""
    text = _POLITE.sub("", sentence)
    head, colon, tail = text.partition(":")
    if colon and len(head.split()) >= 3 and len(tail.split()) > 2:
        text = head
    text = _SPACE.sub(" ", _NUMBERS.sub("", text)).strip(" ,;:-")
    return text[:1].upper() + text[1:]


def _cut(text: str, max_words: int) -> str:
    words = text.split()
    short = " ".join(words[:max_words])
    return short[:400] if short else text[:400]


def together(description: str, prompt: str) -> str:
    """What is embedded where the description and the prompt both stand for the task."""
    return f"{description}\n{prompt.strip()}"
