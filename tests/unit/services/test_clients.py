"""Settings of other programs: what is put into them, what stays, and what comes back."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from services.__main__ import app
from services.workbench.clients import GatewayAddress, SettingsUnreadable, clients

GATEWAY = GatewayAddress("http://127.0.0.1:8787", "pm-key")
FILES = [name for name, client in clients(Path("/home")).items() if client.merged is not None]


@pytest.mark.parametrize("name", clients(Path("/home")))
def test_every_client_is_told_the_address_and_the_model(name: str) -> None:
    said = clients(Path("/home"))[name].settings(GATEWAY)
    assert "http://127.0.0.1:8787" in said
    assert "auto" in said
    assert "pm-key" in said or name == "codex", "codex reads its key from a variable"


def test_other_settings_stay_and_a_second_time_changes_nothing() -> None:
    known = clients(Path("/home"))
    before = '{"permissions": {"allow": ["x"]}, "env": {"EDITOR": "vi", "ANTHROPIC_MODEL": "old"}}'
    merge = known["claude-code"].merged
    assert merge is not None
    once = merge(before, GATEWAY)
    value = json.loads(once)
    assert value["permissions"] == {"allow": ["x"]}
    assert value["env"]["EDITOR"] == "vi"
    assert value["env"]["ANTHROPIC_MODEL"] == "auto"
    assert merge(once, GATEWAY) == once

    toml = known["codex"].merged
    assert toml is not None
    before = (
        '# mine\nmodel = "gpt-5"\napproval_policy = "never"\n\n'
        '[model_providers.pointsman]\nbase_url = "old"\n\n[tui]\nnotifications = true\n'
    )
    once = toml(before, GATEWAY)
    config = tomllib.loads(once)
    assert config["model"] == "auto"
    assert config["approval_policy"] == "never"
    assert config["tui"] == {"notifications": True}
    assert config["model_providers"]["pointsman"]["base_url"] == "http://127.0.0.1:8787/v1"
    assert once.startswith('model = "auto"')
    assert "# mine" in once
    assert toml(once, GATEWAY) == once


@pytest.mark.parametrize("name", FILES)
def test_what_is_not_in_its_form_is_left_alone(name: str) -> None:
    merge = clients(Path("/home"))[name].merged
    assert merge is not None
    with pytest.raises(SettingsUnreadable, match="they are not"):
        merge("{[", GATEWAY)


def settings_file(name: str, before: str | None, home: Path) -> Path:
    """A client's file, with these settings in it; None: it is not there."""
    file = clients(home)[name].file
    assert file is not None
    if before is not None:
        file.parent.mkdir(parents=True)
        file.write_text(before)
    return file


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("before", ["", None])
def test_written_and_undone(
    name: str, before: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    file = settings_file(name, before, tmp_path)
    runner = CliRunner()
    for _ in range(2):
        wrote = runner.invoke(app, ["connect", name, "--write", "--key", "pm-key"])
        assert wrote.exit_code == 0, wrote.output
        assert f"pointsman connect {name} --undo" in wrote.output
    assert "8787" in file.read_text()
    assert file.stat().st_mode & 0o077 == 0
    assert runner.invoke(app, ["connect", name, "--undo"]).exit_code == 0
    assert (file.read_text() if file.exists() else None) == before
    assert [*file.parent.glob("*pointsman*")] == []
    assert runner.invoke(app, ["connect", name, "--undo"]).exit_code == 1


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("before", ["", None])
def test_undone_keeps_what_others_have_changed_meanwhile(
    name: str, before: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    file = settings_file(name, before, tmp_path)
    runner = CliRunner()
    for mark in ("first", "second"):
        assert runner.invoke(app, ["connect", name, "--write", "--key", mark]).exit_code == 0
        file.write_text(f"{file.read_text()}\n ")  # another program has written it
    ends = file.read_text()
    assert runner.invoke(app, ["connect", name, "--undo"]).exit_code == 0
    assert (file.read_text() if file.exists() else None) == before
    kept = [one.read_text() for one in file.parent.glob("*.changed-*")]
    assert ends in kept
    assert len(kept) == 2
    assert all(one.stat().st_mode & 0o077 == 0 for one in file.parent.glob("*.changed-*"))


def test_what_has_no_file_says_what_to_do_by_hand() -> None:
    runner = CliRunner()
    for name in ("cursor", "openwebui"):
        assert runner.invoke(app, ["connect", name, "--write"]).exit_code == 2
        assert runner.invoke(app, ["connect", name]).exit_code == 0
    assert runner.invoke(app, ["connect", "emacs"]).exit_code == 2
