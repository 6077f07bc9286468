"""The lists of commands and targets are whole, and a misspelt one gets the nearest."""

import re
import subprocess

import pytest
from made import as_a_user

from analysis_lib.core.project import CHECKOUT
from analysis_lib.ui.command_line import main
from analysis_lib.ui.help import HEADINGS, GroupedParser


def test_every_command_stands_under_one_heading(capsys, monkeypatch):
    parsers = []
    monkeypatch.setattr(GroupedParser, "format_help", lambda parser: parsers.append(parser) or "")
    with pytest.raises(SystemExit):
        main(["--help"])
    listed = [name for names in HEADINGS.values() for name in names]
    assert sorted(listed) == sorted(parsers[0]._choices().choices)


def test_help_has_a_line_for_each(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    lines = capsys.readouterr().out.splitlines()
    assert ended.value.code == 0 and all(f"{heading}:" in lines for heading in HEADINGS)
    assert "  measure       Measure areas and densities from CT and masks." in lines


@pytest.mark.parametrize(("wrong", "near"), [("measured", "measure"), ("Report", "report"), ("compares", "compare")])
def test_a_misspelt_command_gets_the_nearest(wrong, near, capsys):
    with pytest.raises(SystemExit) as ended:
        main([wrong])
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"error: no command '{wrong}'; did you mean '{near}'?\n"


def test_other_errors_are_those_of_argparse(capsys):
    with pytest.raises(SystemExit):
        main(["measure"])
    assert "the following arguments are required: --study" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("word", "said"), [("stduy", "nothing makes 'stduy'; did you mean make study?"), ("x/y", "nothing makes 'x/y'")]
)
def test_make_says_which_target_is_near(word, said):
    result = subprocess.run(["make", word], cwd=CHECKOUT, env=as_a_user(), capture_output=True, text=True)
    assert result.returncode == 2 and result.stderr.splitlines()[0] == f"make: {said}"


def test_make_lists_every_target_that_is_explained():
    text = (CHECKOUT / "Makefile").read_text(encoding="utf-8")
    explained = re.findall(r"^([a-z-]+):.* ## ", text, re.MULTILINE)
    said = subprocess.run(["make"], cwd=CHECKOUT, env=as_a_user(), capture_output=True, text=True, check=True).stdout
    listed = [line.split()[1] for line in said.splitlines() if line.startswith("  make ")]
    assert sorted(listed) == sorted(explained)
