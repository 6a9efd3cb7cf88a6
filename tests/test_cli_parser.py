"""The parser: where files may stand, what ends a list of values, groups, suggestions, usage."""

from __future__ import annotations

import contextlib
import io
import re
from dataclasses import fields

import pytest
from cli_runs import FAST
from hypothesis import given, settings
from hypothesis import strategies as st

import pynst
from pynst.cli import main
from pynst.cli.parser import COMMANDS, parse
from pynst.options import GROUPS, TransferOptions

CONTENT, STYLE = "a.jpg", "b.jpg"


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("a.jpg b.jpg", {}),
        ("stylize a.jpg b.jpg", {}),
        ("a.jpg -o x.png b.jpg", {"output": "x.png"}),
        ("-o x.png a.jpg b.jpg", {"output": "x.png"}),
        ("-ox.png a.jpg b.jpg", {"output": "x.png"}),
        ("--output=x.png a.jpg b.jpg", {"output": "x.png"}),
        ("a.jpg b.jpg --style-layers relu1_1 relu2_1 -o x.png",
         {"style_layers": ["relu1_1", "relu2_1"], "output": "x.png"}),
        ("--style-layers relu1_1=2 conv2_1 level3=.5 a.jpg b.jpg",
         {"style_layers": ["relu1_1=2", "conv2_1", "level3=.5"]}),
        ("a.jpg --content-layers relu4_2 b.jpg --seed 3", {"content_layers": ["relu4_2"],
                                                            "seed": 3}),
        ("--iterations 3 5 a.jpg b.jpg", {"iterations": [3, 5]}),
        ("--iterations 3 a.jpg --seed 1 b.jpg", {"iterations": [3], "seed": 1}),
        ("a.jpg --iterations 3 5 b.jpg --levels 2", {"iterations": [3, 5], "levels": 2}),
        ("--quiet a.jpg --force b.jpg", {"quiet": True, "force": True}),
        ("--no-record a.jpg --preserve-color b.jpg", {"record": False, "preserve_color": True}),
        ("--iterations 3 5 -- a.jpg b.jpg", {"iterations": [3, 5]}),
        ("--iterations=3 a.jpg b.jpg", {"iterations": [3]}),
        ("--style-weight -1e3 a.jpg b.jpg", {"style_weight": -1e3}),
        ("--style-weight -2 a.jpg b.jpg", {"style_weight": -2.0}),
        ("a.jpg --style-weight 1e3 b.jpg", {"style_weight": 1e3}),
    ],
)  # fmt: skip
def test_files_may_stand_anywhere(words, wanted):
    given = vars(parse(words.split()))
    assert (given["CONTENT"], given["STYLE"]) == (CONTENT, [STYLE])
    assert {name: given[name] for name in wanted} == wanted
    assert given["command"] == ["stylize"]


@pytest.mark.parametrize(
    "words",
    [
        "-o out.png --style-blend 1 2 a.jpg b.jpg c.jpg",
        "a.jpg --style-blend 1 2 b.jpg c.jpg -o out.png",
        "a.jpg b.jpg --style-blend 1 2 c.jpg -o out.png",
        "a.jpg b.jpg c.jpg --style-blend 1 2 -o out.png",
        "a.jpg --style-blend 1 2 -o out.png -- b.jpg c.jpg",
    ],
)
def test_several_styles_with_their_shares_in_any_order(words):
    given = parse(words.split())
    assert (given.CONTENT, given.STYLE) == ("a.jpg", ["b.jpg", "c.jpg"])
    assert (given.style_blend, given.output) == ([1, 2], "out.png")


def test_behind_two_dashes_every_word_is_a_file():
    given = parse(["--iterations", "3", "--", "5", "-strange.jpg", "relu1_1"])
    assert given.iterations == [3]
    assert (given.CONTENT, given.STYLE) == ("5", ["-strange.jpg", "relu1_1"])


@pytest.mark.parametrize(
    "words",
    ["replay --style a.jpg b.jpg -- r.png", "replay --style a.jpg b.jpg r.png",
     "replay r.png --style a.jpg b.jpg", "replay --quiet --style a.jpg b.jpg r.png --force"],
)  # fmt: skip
def test_a_list_of_files_leaves_the_command_the_one_that_it_needs(words):
    given = parse(words.split())
    assert given.PICTURE == "r.png"
    assert given.style == ["a.jpg", "b.jpg"]


def test_the_order_of_the_words_does_not_matter_to_a_run(pictures, tmp_path):
    outputs = []
    for number, words in enumerate(([*pictures, *FAST], [*FAST, *pictures],
                                    [pictures[0], *FAST, pictures[1]])):  # fmt: skip
        outputs.append(tmp_path / f"{number}.png")
        assert main([*words, "-o", str(outputs[-1]), "--no-record", "--quiet"]) == 0
    assert len({path.read_bytes() for path in outputs}) == 1


# ---- what is wrong -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["inf"], "'inf' is neither a command nor a file; did you mean info?"),
        (["weigths", "list"], "did you mean weights?"),
        (["stylise", "a.jpg", "b.jpg"], "did you mean stylize?"),
        (["weights", "lst"], "unknown command 'lst'; did you mean list?"),
        (["weights"], "the following arguments are required: COMMAND"),
        (["a.jpg", "b.jpg", "--imge-size", "3"], "--imge-size; did you mean --image-size?"),
        (["a.jpg", "b.jpg", "--style-wieght=3"], "--style-wieght; did you mean --style-weight?"),
        (["a.jpg", "b.jpg", "--image"], "unknown option --image; did you mean"),
        (["--style-image", "b.jpg"], "--style-image; STYLE stands by itself, as the usage shows"),
        (["a.jpg", "b.jpg", "--gpu", "0"], "--gpu; did you mean --backend?"),
        (["a.jpg", "b.jpg", "--size", "512"], "--size; did you mean --image-size?"),
        (["replay", "r.png", "--qiet"], "--qiet; did you mean --quiet?"),
        (["a.jpg", "b.jpg", "--zzz"], "unknown option --zzz"),
        (["a.jpg", "b.jpg", "-z"], "unknown option -z"),
        (["a.jpg", "b.jpg", "-o"], "expected one argument"),
        (["a.jpg", "b.jpg", "--image-size", "--quiet"], "expected one argument"),
        (["a.jpg", "b.jpg", "--iterations"], "expected at least one argument"),
        (["a.jpg", "b.jpg", "--iterations", "many"], "invalid int value: 'many'"),
        (["a.jpg"], "required: CONTENT, STYLE"),
        (["--quiet"], "required: CONTENT, STYLE"),
        (["info", "extra"], "there is no use for extra"),
        (["replay", "a.png", "b.png"], "there is no use for b.png"),
        (["weights", "import"], "required: FILE"),
        (["a.jpg", "b.jpg", "--\x1b[31mred"], "unknown option --\\x1b[31mred"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_is_told_with_what_was_meant(words, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("usage: pynst")
    assert "\x1b" not in captured.err
    last = captured.err.splitlines()[-1]
    assert re.match(r"pynst( \w+)?( \w+)?: error: ", last)
    assert message in last


def test_a_file_whose_name_is_nearly_a_command_is_a_file(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "inf").write_bytes(b"no picture")
    assert main(["inf", "b.jpg"]) == 1
    assert "content: " in capsys.readouterr().err
    assert main(["holiday", "painting"]) == 1
    assert "content: no such file: holiday" in capsys.readouterr().err


def test_no_words_at_all_is_wrong_usage_and_shows_three_examples(capsys):
    assert main([]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) < 10
    assert len(re.findall(r"^  pynst ", captured.err, re.M)) == 3
    for word in COMMANDS:
        assert word == "stylize" or word in captured.err


# ---- help ----------------------------------------------------------------------------------------


def help_of(*words, capsys):
    with pytest.raises(SystemExit) as stop:
        main([*words, "--help"])
    assert stop.value.code == 0
    return capsys.readouterr().out


def test_help_shows_every_setting_in_its_group(capsys):
    text = help_of(capsys=capsys)
    heads = [line[:-1] for line in text.splitlines() if line.endswith(":") and line[0] != " "]
    assert [head for head in heads if head in GROUPS] == list(GROUPS)
    parts = re.split(rf"^({'|'.join(GROUPS)}|general):$", text, flags=re.M)[1:]
    groups = dict(zip(parts[::2], parts[1::2], strict=True))
    for each in fields(TransferOptions):
        assert f"  --{each.name.replace('_', '-')}" in groups[each.metadata["group"]], each.name
    assert groups["pictures"].split()[0] == "CONTENT"
    assert groups["files"].lstrip().startswith(("-o PATH, --output PATH", "-o, --output PATH"))
    assert "SUPPRESS" not in text
    for name, summary in COMMANDS.items():
        assert re.search(rf"^  {name} +{summary}$", text, re.M)


def test_the_settings_of_a_group_are_declared_together_in_the_order_of_the_groups():
    order = [GROUPS.index(each.metadata["group"]) for each in fields(TransferOptions)]
    assert order == sorted(order)


@pytest.mark.parametrize("command", [[name] for name in COMMANDS] + [["weights", "import"]])
def test_every_command_has_its_help(command, capsys):
    text = help_of(*command, capsys=capsys)
    assert text.startswith("usage: pynst")
    assert "--help" in text
    assert max(map(len, text.splitlines())) <= 100


def test_the_version_is_told(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"pynst {pynst.__version__}\n"


WORDS = st.sampled_from(
    ["a.jpg", "b.jpg", "3", "-3", "-1e5", "nan", "relu1_1", "level1=2", "--", "-", "", "-o", "-ox",
     "--iterations", "--iterations=3", "--style-layers", "--style-blend", "--seed", "--quiet",
     "--no-record", "--paper", "--style", "--zzz", "--=", "-z", "demo", "info", "weights", "list",
     "import", "replay", "stylize", "\x1b[31m", "\udcff", "a\0b", "%s", "--image-size=%(x)s"]
) | st.text(max_size=4)  # fmt: skip


@settings(max_examples=300)
@given(st.lists(WORDS, min_size=1, max_size=8))
def test_any_words_are_parsed_or_refused_as_wrong_usage(words):
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            given = parse(words)
        except SystemExit as stop:
            assert stop.code in (0, 2)
        else:
            assert given.command[0] in COMMANDS


PARTS = [
    ["a.jpg"],
    ["b.jpg"],
    ["c.jpg"],
    ["-o", "x.png"],
    ["--quiet"],
    ["--iterations", "3", "5"],
    ["--style-layers", "relu1_1", "level2=3"],
]


@given(st.permutations(PARTS))
def test_every_order_of_files_and_options_means_the_same(parts):
    given = parse([word for part in parts for word in part])
    assert [given.CONTENT, *given.STYLE] == [part[0] for part in parts if part[0].endswith(".jpg")]
    assert (given.iterations, given.quiet, given.output) == ([3, 5], True, "x.png")
    assert given.style_layers == ["relu1_1", "level2=3"]
