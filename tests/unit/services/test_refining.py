"""What is added to a task's name stands in the prompt."""

from __future__ import annotations

import pytest

from services.describer.refining import refined


@pytest.mark.parametrize(
    ("name", "prompt", "description"),
    [
        (
            "Translate legal text",
            "Translate this clause from German into plain English: Der Mieter hat …",
            "Translate legal text from German to English",
        ),
        ("Translate text", "Übersetze ins Englische: Guten Morgen", "Translate text to English"),
        ("Translate text", "Traduis en anglais : « Chapitre 3 »", "Translate text to English"),
        ("Translate text", "Traduce al inglés este mensaje", "Translate text to English"),
        ("Translate text", "Przetłumacz na polski: the cat", "Translate text to Polish"),
        ("Translate text", "Переведи на английский: кот", "Translate text to English"),
        (
            "Translate text",
            "Translate this German letter into French: Liebe …",
            "Translate text from German to French",
        ),
        (
            "Translate text",
            "Translate the following English text to Polish",
            "Translate text from English to Polish",
        ),
        (
            "Translate text",
            "Polish, please: the English text below",
            "Translate text from English to Polish",
        ),
        ("Translate text", "把这句话翻译成中文", "Translate text to Chinese"),
        ("Translate text", "what does this mean? ciao", "Translate text"),
        (
            "Translate code between programming languages",
            "port this Python script to Go code",
            "Translate code between programming languages from Python to Go",
        ),
        (
            "Translate code between programming languages",
            "in golang please, it is python now",
            "Translate code between programming languages from Go to Python",
        ),
        ("Write unit tests", "pytest for this, please", "Write unit tests in Python"),
        ("Refactor code", "clean this up", "Refactor code"),
        ("Review code", "is my JavaScript any good, or my Rust?", "Review code"),
        (
            "Extract fields from an invoice",
            "number, date and total as JSON",
            "Extract fields from an invoice as JSON",
        ),
        ("Extract action items", "als Tabelle bitte", "Extract action items as a table"),
        ("Write a poem", "a poem about JSON, in English", "Write a poem"),
    ],
)
def test_refined(name: str, prompt: str, description: str) -> None:
    assert refined(name, prompt) == description


def test_a_long_prompt_is_read_at_both_ends() -> None:
    middle = "x " * 50_000
    assert refined("Translate text", f"{middle} into Dutch") == "Translate text to Dutch"
    assert refined("Translate text", f"{middle} into Dutch {middle}") == "Translate text"
