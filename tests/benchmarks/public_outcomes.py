"""Outcome matrices from public repositories, as docs/evaluation.md uses them.

    make public-outcomes CLONES=folder DATA=folder

CLONES holds a clone of each repository under its own name (`ZeroEval`, `MMLU-Pro`, …; bare ones
are read too). The files that are written are for measuring. They are not part of this repository.
Scores are recomputed from the recorded answers where the source has no scores of its own.
"""

from __future__ import annotations

import argparse
import ast
import csv
import gzip
import io
import json
import random
import re
import subprocess
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.catalog.estimates import estimate_tokens

SEED = 0
MOST = 6000
"""Prompts of a set, drawn at random."""
PRICES = {
    "Athene-70B": (0.88, 0.88),
    "c4ai-command-r-v01": (0.15, 0.60),
    "claude-2.1": (8.0, 24.0),
    "claude-3-5-sonnet": (3.0, 15.0),
    "Claude-3.5-Sonnet": (3.0, 15.0),
    "claude-3-haiku": (0.25, 1.25),
    "Claude-3-Haiku": (0.25, 1.25),
    "claude-3-opus": (15.0, 75.0),
    "claude-instant-1.2": (0.80, 2.40),
    "command-r": (0.15, 0.60),
    "DeepSeek-Coder-V2": (0.14, 0.28),
    "gemini-1.5-flash": (0.075, 0.30),
    "gemini-1.5-pro": (1.25, 5.0),
    "Gemini-Flash-1.5": (0.075, 0.30),
    "Gemini-Pro-1.5": (1.25, 5.0),
    "gemma-2-9b-it": (0.30, 0.30),
    "gemma-7b-it": (0.20, 0.20),
    "gpt-3.5-turbo": (0.50, 1.50),
    "gpt-4-1106-preview": (10.0, 30.0),
    "gpt-4-turbo": (10.0, 30.0),
    "GPT-4-Turbo": (10.0, 30.0),
    "gpt-4o-mini": (0.15, 0.60),
    "GPT-4O-mini": (0.15, 0.60),
    "gpt-4o": (2.50, 10.0),
    "GPT-4O": (2.50, 10.0),
    "jamba-1.5-large": (2.0, 8.0),
    "LLama3.1-405b": (3.50, 3.50),
    "LLama3.1-70b": (0.88, 0.88),
    "LLama3.1-8b": (0.18, 0.18),
    "mathstral-7B": (0.20, 0.20),
    "Meta-Llama-3.1-70B": (0.88, 0.88),
    "Meta-Llama-3.1-8B": (0.18, 0.18),
    "Meta-Llama-3_1-70B": (0.88, 0.88),
    "Meta-Llama-3_1-8B": (0.18, 0.18),
    "Mistral-7B-Instruct-v0.2": (0.20, 0.20),
    "Mistral-Large": (2.0, 6.0),
    "mistral-small-2402": (0.20, 0.60),
    "Mixtral-8x7B-Instruct-v0.1": (0.60, 0.60),
    "open-mistral-nemo": (0.15, 0.15),
    "open-mixtral-8x7b": (0.70, 0.70),
    "Phi-3-mini-4k-instruct": (0.10, 0.10),
    "Qwen1.5-72B-Chat": (0.90, 0.90),
    "Qwen2-7B-Instruct": (0.20, 0.20),
    "Qwen2-Ins-72B": (0.90, 0.90),
    "Qwen2.5-72B-Instruct": (0.90, 0.90),
    "Qwen2.5-Ins-32B": (0.80, 0.80),
}
"""By the beginning of a model's name: USD per million tokens of input and of output. List prices of
December 2024 (litellm 1.55.12); open models as Together priced their size."""
ROUTE_LLM = {
    "gpt-4-1106-preview": "gpt-4-1106-preview",
    "Mixtral-8x7B-Instruct-v0.1": "mistralai/Mixtral-8x7B-Instruct-v0.1",
}
"""RouteLLM's two models, with its own names of them."""

ZERO_EVAL = (
    "claude-3-5-sonnet-20241022",
    "claude-3-haiku-20240307",
    "gemini-1.5-flash",
    "gemma-2-9b-it",
    "gpt-3.5-turbo-0125",
    "gpt-4o-2024-08-06",
    "gpt-4o-mini-2024-07-18",
    "Meta-Llama-3.1-70B-Instruct",
    "Meta-Llama-3.1-8B-Instruct",
    "Mistral-Large-2",
    "Qwen2-7B-Instruct",
)
MMLU_PRO = (
    "c4ai-command-r-v01",
    "DeepSeek-Coder-V2",
    "gemini-1.5-flash-002",
    "gemini-1.5-pro-002",
    "jamba-1.5-large",
    "mathstral-7B",
    "Meta-Llama-3_1-70B-Instruct",
    "Meta-Llama-3_1-8B-Instruct",
    "Mistral-7B-Instruct-v0.2",
    "Mixtral-8x7B-Instruct-v0.1",
    "Phi-3-mini-4k-instruct",
    "Qwen1.5-72B-Chat",
)
BFCL = (
    "claude-3-5-sonnet-20240620",
    "claude-3-haiku-20240307",
    "claude-3-opus-20240229",
    "gemini-1.5-flash-preview-0514",
    "gpt-3.5-turbo-0125",
    "gpt-4-turbo-2024-04-09",
    "gpt-4o-mini-2024-07-18",
    "mistral-small-2402",
    "open-mistral-nemo-2407",
    "open-mixtral-8x7b",
)
BFCL_KINDS = (
    "simple",
    "multiple_function",
    "parallel_function",
    "parallel_multiple_function",
    "java",
    "javascript",
)
ALPACA = ("claude-2.1", "claude-instant-1.2", "gemma-7b-it", "gpt-3.5-turbo-1106")
ANSWER = re.compile(r'"answer"\s*:\s*("(?:[^"\\]|\\.)*"|[^,}\n]+)')
NUMBER = re.compile(
    r"[^\d.,/:^−-]*(-?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?)"
    r"(?:[^\d/:^]|/(?=\s*(?:[A-Za-z]{3}|h\b)))*"
)
QUESTION = re.compile(r"## (?:Question|Problem)s?:?\s*(.*?)\n## Instruction", re.DOTALL)

Row = dict[str, Any]
Rows = list[Row]


@dataclass(frozen=True, slots=True)
class Repository:
    """The newest commit of a clone."""

    git: Path

    def read(self, path: str) -> bytes:
        """A file's bytes. Raises `subprocess.CalledProcessError` if it is not there."""
        return subprocess.run(
            ["git", "--git-dir", str(self.git), "show", f"HEAD:{path}"],
            capture_output=True,
            check=True,
        ).stdout

    def paths(self, prefix: str) -> list[str]:
        """Paths that begin so."""
        listed = subprocess.run(
            ["git", "--git-dir", str(self.git), "ls-tree", "-r", "-z", "--name-only", "HEAD"],
            capture_output=True,
            check=True,
        ).stdout.decode()
        return [path for path in listed.split("\0") if path.startswith(prefix)]


def repository(clones: Path, name: str) -> Repository:
    """The clone of that name in a folder. Raises `SystemExit` if there is none."""
    for folder in sorted(clones.glob(f"*{name}")):
        for git in (folder / ".git", folder / "repo", folder):
            if (git / "HEAD").exists():
                return Repository(git)
    raise SystemExit(f"{clones} has no clone of {name}; clone it there, or leave its sets out")


def price_of(model: str) -> tuple[float, float]:
    """USD per million tokens of input and of output. Raises `StopIteration` for an unknown
    model."""
    return next(price for name, price in PRICES.items() if model.startswith(name))


def usd(model: str, prompt: str, answer: str) -> float:
    """What an answer cost, by estimated tokens. Raises `StopIteration` for an unknown model."""
    tokens = (estimate_tokens(len(text.encode())) for text in (prompt, answer))
    return sum(n * price for n, price in zip(tokens, price_of(model), strict=True)) / 1e6


def row_of(rows: dict[str, Row], key: str, prompt: str) -> Row:
    """The row of that key; made, if it is not there."""
    return rows.setdefault(key, {"prompt": prompt, "scores": {}, "cost_usd": {}})


def complete(rows: Iterable[Mapping[str, Any]], models: Sequence[str]) -> Rows:
    """Rows in which every model has a score, with its models alone, in a random order; at most
    `MOST`."""
    whole = [
        {
            "prompt": row["prompt"],
            "scores": {m: row["scores"][m] for m in models},
            "cost_usd": {m: row["cost_usd"][m] for m in models},
        }
        for row in rows
        if all(m in row["scores"] for m in models)
    ]
    random.Random(SEED).shuffle(whole)
    return whole[:MOST]


def mmlu(clones: Path) -> Rows:
    """MMLU answered by two models, of RouteLLM."""
    source = repository(clones, "RouteLLM")
    rows = []
    for path in source.paths("routellm/evals/mmlu/responses/"):
        for line in csv.DictReader(io.StringIO(source.read(path).decode())):
            prompt = line["prompt"]
            rows.append(
                {
                    "prompt": prompt,
                    "scores": {m: float(line[theirs] == "True") for m, theirs in ROUTE_LLM.items()},
                    "cost_usd": {m: usd(m, prompt, "A") for m in ROUTE_LLM},
                }
            )
    return complete(rows, sorted(ROUTE_LLM))


def zero_eval(task: str, right: Callable[[str, str], bool]) -> Callable[[Path], Rows]:
    """A task of ZeroEval: answers are compared with the known ones by `right`."""

    def convert(clones: Path) -> Rows:
        source = repository(clones, "ZeroEval")
        rows: dict[str, Row] = {}
        for model in ZERO_EVAL:
            for record in json.loads(source.read(f"result_dirs/{task}/{model}.json")):
                if not (asked := QUESTION.findall(record["chat_history"][0])):
                    continue
                prompt = asked[-1].strip()
                output = record["output"][0]
                said = ANSWER.findall(output)
                known = str(record.get("correct_answer", record.get("answer")))
                row = row_of(rows, prompt, prompt)
                row["scores"][model] = float(
                    bool(said) and right(said[-1].strip().strip('"'), known)
                )
                row["cost_usd"][model] = usd(model, prompt, output)
        return complete(rows.values(), ZERO_EVAL)

    return convert


def value(text: str) -> float | None:
    """The number in a text that has one: "$1,200", "18 eggs"."""
    found = NUMBER.fullmatch(text.strip())
    return float(found[1].replace(",", "")) if found else None


def same_number(said: str, known: str) -> bool:
    """Whether both are the same number."""
    return value(said) is not None and value(said) == value(known)


def same_formula(said: str, known: str) -> bool:
    """Whether both are the same, apart from spaces and ways to write a fraction."""

    def plain(text: str) -> str:
        text = text.replace("\\\\", "\\").replace("dfrac", "frac").replace("\\!", "")
        return re.sub(r"[\s$]", "", text)

    return plain(said) == plain(known) or (
        plain(known).replace(".", "").lstrip("-").isdigit() and same_number(said, known)
    )


def mmlu_pro(clones: Path) -> Rows:
    """MMLU-Pro, the answers of twelve models with five examples."""
    source = repository(clones, "MMLU-Pro")
    rows: dict[str, Row] = {}
    for model in MMLU_PRO:
        archive = zipfile.ZipFile(
            io.BytesIO(source.read(f"eval_results/model_outputs_{model}_5shots.zip"))
        )
        names = [n for n in archive.namelist() if n.endswith(".json") and "MACOSX" not in n]
        for record in (r for n in names for r in json.loads(archive.read(n))):
            if not isinstance(record, dict) or "pred" not in record:
                continue
            options = record["options"]
            options = ast.literal_eval(options) if isinstance(options, str) else options
            choices = "\n".join(f"{c}. {o}" for c, o in zip("ABCDEFGHIJ", options, strict=False))
            prompt = f"{record['question']}\n{choices}"
            answer = str(record.get("model_outputs") or record.get("generated_text") or "")
            row = row_of(rows, str(record["question_id"]), prompt)
            row["scores"][model] = float(record["pred"] == record["answer"])
            row["cost_usd"][model] = usd(model, prompt, answer)
    return complete(rows.values(), MMLU_PRO)


def bfcl(clones: Path) -> Rows:
    """Berkeley's function calling: questions with tools, valid calls, measured tokens."""
    source = repository(clones, "BFCL-Result")
    newest = "2024-08-11"
    prompts: dict[str, str] = {}
    for path in source.paths(f"{newest}/score/"):
        if not path.endswith("_score.json"):
            continue
        for line in source.read(path).decode().splitlines()[1:]:
            asked = json.loads(line).get("prompt")
            if isinstance(asked, dict) and isinstance(asked.get("question"), str):
                tools = json.dumps(asked["function"])
                prompts[asked["id"]] = f"{asked['question']}\n\nTools: {tools}"
    rows: dict[str, Row] = {}
    for model in BFCL:
        given, taken = price_of(model)
        for kind in BFCL_KINDS:
            failed = {
                json.loads(line)["id"] - 1
                for line in source.read(f"{newest}/score/{model}/{kind}_score.json")
                .decode()
                .splitlines()[1:]
            }
            answers = source.read(
                f"{newest}/result/{model}/gorilla_openfunctions_v1_test_{kind}_result.json"
            )
            for line in answers.decode().splitlines():
                record = json.loads(line)
                at = str(record["id"])
                if at not in prompts or "input_token_count" not in record:
                    continue
                row = row_of(rows, at, prompts[at])
                row["scores"][model] = float(int(at.rpartition("_")[2]) not in failed)
                row["cost_usd"][model] = (
                    record["input_token_count"] * given + record["output_token_count"] * taken
                ) / 1e6
    return complete(rows.values(), BFCL)


def livecodebench(clones: Path) -> Rows:
    """LiveCodeBench's self-repair: the fraction of ten attempts that pass."""
    scores = json.loads(
        repository(clones, "livecodebench.github.io").read("src/mocks/performances_repair.json")
    )["performances"]
    submitted = repository(clones, "submissions").read(
        "O1-Mini-2024-09-12 (N=1)/Scenario.codegeneration_1_0.2_eval_all.json"
    )
    prompts = {q["question_id"]: q["question_content"] for q in json.loads(submitted)}
    rows: dict[str, Row] = {}
    models = sorted(
        {s["model"] for s in scores if any(s["model"].startswith(name) for name in PRICES)}
    )
    for score in scores:
        model = score["model"]
        if model not in models or score["question_id"] not in prompts:
            continue
        prompt = prompts[score["question_id"]]
        row = row_of(rows, score["question_id"], prompt)
        row["scores"][model] = score["pass@1"] / 100
        row["cost_usd"][model] = usd(model, prompt, prompt)
    return complete(rows.values(), models)


def alpaca(clones: Path) -> Rows:
    """AlpacaEval: the probability that an answer is preferred to GPT-4 Turbo's."""
    source = repository(clones, "alpaca_eval")
    rows: dict[str, Row] = {}
    for model in ALPACA:
        found = source.read(f"results/{model}/weighted_alpaca_eval_gpt4_turbo/annotations.json")
        for record in json.loads(found):
            if record.get("preference") is None:
                continue
            prompt = record["instruction"]
            row = row_of(rows, prompt, prompt)
            row["scores"][model] = record["preference"] - 1
            row["cost_usd"][model] = usd(model, prompt, record["output_2"])
    return complete(rows.values(), ALPACA)


GSM8K = "routellm_gsm8k"
SETS: Mapping[str, Callable[[Path], Rows]] = {
    "routellm_mmlu": mmlu,
    "zeroeval_gsm": zero_eval("gsm", same_number),
    "zeroeval_math": zero_eval("math-l5", same_formula),
    "mmlupro": mmlu_pro,
    "bfcl": bfcl,
    "lcb_repair": livecodebench,
    "alpaca": alpaca,
}


def write_gsm8k(clones: Path, target: Path) -> Path:
    """GSM8K answered by RouteLLM's two models, as it stands, with prices beside it."""
    answers = repository(clones, "RouteLLM").read("routellm/evals/gsm8k/gsm8k_responses.csv")
    prices = {
        theirs: dict(zip(("input", "output"), price_of(model), strict=True))
        for model, theirs in ROUTE_LLM.items()
    }
    (target / "routellm_gsm8k.prices.json").write_text(json.dumps({"prices": prices}) + "\n")
    path = target / "routellm_gsm8k.csv.gz"
    path.write_bytes(gzip.compress(answers, mtime=0))
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("clones", type=Path, help="folder of the clones")
    parser.add_argument("target", type=Path, help="folder of the files that are written")
    parser.add_argument("--sets", default=",".join([GSM8K, *SETS]), help="which of them")
    asked = parser.parse_args()
    asked.target.mkdir(parents=True, exist_ok=True)
    for name in asked.sets.split(","):
        if name == GSM8K:
            print(write_gsm8k(asked.clones, asked.target))
            continue
        rows = SETS[name](asked.clones)
        path = asked.target / f"{name}_{len(rows[0]['scores'])}x{len(rows)}.jsonl.gz"
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        path.write_bytes(gzip.compress(lines.encode(), mtime=0))
        print(f"{path}: {len(rows)} prompts, {len(rows[0]['scores'])} models")


if __name__ == "__main__":
    main()
