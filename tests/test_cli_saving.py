"""Where a result goes if it cannot go where it should."""

from __future__ import annotations

from pathlib import Path

from cli_runs import FAST

import pynst
from pynst.cli import main


def rescued(captured):
    """The picture whose path is on stdout."""
    assert "-rescued-" in captured.out
    path = captured.out.strip().splitlines()[-1]
    assert f"is saved in {path} instead" in captured.err
    pixels = pynst.load_image(path)
    Path(path).unlink()
    return pixels


def test_a_folder_that_goes_away_costs_no_image(pictures, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "results"
    folder.mkdir()
    import pynst.cli.stylize

    real = pynst.cli.stylize.save

    def gone(*arguments, **settings):
        folder.rmdir()
        return real(*arguments, **settings)

    monkeypatch.setattr(pynst.cli.stylize, "save", gone)
    assert main([*pictures, "-o", str(folder / "r.png"), "--quiet", *FAST]) == 1
    captured = capsys.readouterr()
    assert "output: no such directory" in captured.err
    assert rescued(captured).shape == (54, 72, 3)


def test_without_a_home_and_a_current_folder_a_picture_is_still_rescued(
    pictures, tmp_path, capsys, monkeypatch
):
    folder = tmp_path / "results"
    folder.mkdir()
    import pynst.cli.stylize

    real = pynst.cli.stylize.save

    def gone(*arguments, **settings):
        folder.rmdir()
        return real(*arguments, **settings)

    def none():
        raise RuntimeError("Could not determine home directory.")

    def removed():
        raise FileNotFoundError

    monkeypatch.setattr(pynst.cli.stylize, "save", gone)
    monkeypatch.setattr(Path, "home", none)
    monkeypatch.setattr(Path, "cwd", removed)
    assert main([*pictures, "-o", str(folder / "r.png"), "--quiet", *FAST]) == 1
    assert rescued(capsys.readouterr()).shape == (54, 72, 3)


def test_without_any_folder_the_loss_is_said_without_a_traceback(
    pictures, tmp_path, capsys, monkeypatch
):
    """A full disk everywhere: tempfile finds no folder that takes a file."""
    output = tmp_path / "r.png"

    def full(*arguments, **settings):
        raise pynst.ImageError("output: cannot write r.png: No space left on device")

    def nowhere():
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setattr("pynst.result.save_image", full)
    monkeypatch.setattr("tempfile.gettempdir", nowhere)
    assert main([*pictures, "-o", str(output), "--quiet", *FAST]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "the best image so far could not be saved in" in captured.err


def test_a_name_as_long_as_the_disk_takes_is_cut_for_the_rescue(
    pictures, tmp_path, capsys, monkeypatch
):
    import pynst.result

    output = tmp_path / f"{'long' * 60}.png"
    real = pynst.result.save_image

    def refused(pixels, path, **settings):
        if Path(path) == output:
            raise pynst.ImageError(f"output: cannot write {path}")
        return real(pixels, path, **settings)

    monkeypatch.setattr(pynst.result, "save_image", refused)
    assert main([*pictures, "-o", str(output), "--quiet", *FAST]) == 1
    assert rescued(capsys.readouterr()).shape == (54, 72, 3)


def test_a_demo_that_cannot_be_saved_is_rescued(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    real = pynst.save_image

    def refused(pixels, path, **settings):
        if Path(path).name == "demo.png":
            raise pynst.ImageError("output: cannot write demo.png: No space left on device")
        return real(pixels, path, **settings)

    monkeypatch.setattr(pynst, "save_image", refused)
    assert main(["demo", "-o", "demo.png", "--image-size", "64", "--quiet"]) == 1
    assert rescued(capsys.readouterr()).shape[0] == 48


def test_the_curves_are_written_beside_the_picture(pictures, tmp_path, capsys):
    path, curves = tmp_path / "r.png", tmp_path / "loss.svg"
    assert main([*pictures, "-o", str(path), "--curves", str(curves), *FAST]) == 0
    assert path.exists()
    assert curves.read_bytes().startswith(b"<svg")


def test_curves_that_cannot_be_written_are_refused_before_the_run(pictures, tmp_path, capsys):
    path = tmp_path / "r.png"
    curves = tmp_path / "missing" / "loss.svg"
    assert main([*pictures, "-o", str(path), "--curves", str(curves), *FAST]) == 1
    assert "curves: no such directory" in capsys.readouterr().err
    assert not path.exists()


def test_curves_that_fail_in_the_end_cost_no_picture(pictures, tmp_path, capsys, monkeypatch):
    def full(self, path):
        raise pynst.ImageError("curves: cannot write loss.svg: No space left on device")

    monkeypatch.setattr("pynst.curves.Curves.save", full)
    path = tmp_path / "r.png"
    assert main([*pictures, "-o", str(path), "--curves", str(tmp_path / "loss.svg"), *FAST]) == 1
    assert "No space left" in capsys.readouterr().err
    assert pynst.load_image(path).shape == (54, 72, 3)
