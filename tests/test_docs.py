"""The documents tell the present truth."""

import re

from proxmox_graph_mail.settings import Settings
from tests import reference
from tests.programs import TREE

README = (TREE / "README.md").read_text("utf-8")
EXAMPLE = (TREE / "packaging" / "proxmox-graph-mail.conf.example").read_text("utf-8")
KEYS = {name.upper() for name in Settings.model_fields}


def test_readme_names_real_settings_alone_and_the_example_has_all() -> None:
    """Whatever looks like a key of ours is one."""
    assert set(re.findall(r"\b(?:GRAPH|MAIL|QUEUE|CREDENTIAL|ALARM)_[A-Z_]+\b", README)) <= KEYS
    assert set(re.findall(r"^#?([A-Z_]+)=", EXAMPLE, re.MULTILINE)) == KEYS


def test_what_people_read_about_settings_is_made_from_the_model_s_words() -> None:
    """`make docs` writes docs/settings.md, the manual page's keys and the example; every key has words."""
    page = (TREE / reference.MANUAL).read_text("utf-8")
    assert (TREE / "docs" / "settings.md").read_text("utf-8") == reference.settings()
    assert reference.manual(page) == page
    assert reference.example() == EXAMPLE
    assert all(reference.words().values())


def test_the_example_s_values_are_the_defaults_or_placeholders() -> None:
    """Uncommenting a line changes nothing that it does not say."""
    values = dict(re.findall(r"^#([A-Z_]+)=(.*)$", EXAMPLE, re.MULTILINE))
    for key in ("GRAPH_CLOUD", "MAIL_FORMAT", "GRAPH_SAVE_TO_SENT_ITEMS", "GRAPH_CREDENTIAL"):
        assert str(Settings.model_fields[key.lower()].default).lower() == values[key]
    assert values["QUEUE_LIFETIME"] == "5d"


def test_readme_s_first_screen_names_the_two_commands() -> None:
    """A stranger finds them without scrolling."""
    first = "\n".join(README.splitlines()[:24])
    assert "make demo" in first
    assert "make test" in first


def test_links_lead_somewhere() -> None:
    """Every relative link of README and docs."""
    for page in (TREE / "README.md", *(TREE / "docs").glob("*.md")):
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), (page, target)


def test_nothing_of_a_machine_is_named() -> None:
    """No path, host or tool of the machine it was written on."""
    import subprocess

    tracked = subprocess.run(["git", "ls-files"], cwd=TREE, capture_output=True, text=True, check=False).stdout.split()
    for name in tracked:
        text = (TREE / name).read_text("utf-8", "replace") if (TREE / name).is_file() else ""
        for word in ("/" + "work/", "far" + "m-", ".py" + "env", "../" + "shared"):
            assert word not in text, (name, word)


def test_the_matrix_of_what_breaks_is_the_acceptance_s() -> None:
    """Each way in which that breaks a host is a row of docs/operations.md, and no cell says that all is well."""
    from tests.acceptance.test_07_matrix import ROWS

    page = (TREE / "docs" / "operations.md").read_text("utf-8")
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith("| ") and line.endswith("hour |")]
    rows += [line.split(" | ") for line in page.splitlines() if line.startswith("| ") and line.endswith("minutes |")]
    assert {row[0].removeprefix("| ") for row in rows} == {row.name for row in ROWS}
    for row in rows:
        assert len(row) == 6
        assert row[2].startswith("CRITICAL - ")
        assert all(cell and not cell.startswith("OK") for cell in row[1:])
