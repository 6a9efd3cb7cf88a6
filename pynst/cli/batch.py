"""``pynst batch``: many pictures, from folders, patterns or a table of jobs."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from pynst.cli.parser import Parser
from pynst.cli.signals import Signals
from pynst.cli.single import add_settings, given_settings
from pynst.cli.terminal import Display, clock, line, path_line, say, tell
from pynst.options import TransferOptions

if TYPE_CHECKING:
    from pynst.jobs.batches import BatchJob, BatchProgress

__all__ = ["add_arguments", "run"]

_DEFAULT_NAME = "{content}--{style}.png"

_MOST_SHOWN = 3  # pictures in work that the progress line names

_EPILOG = """\
examples:
  pynst batch photos/ art/*.jpg -o out/
  pynst batch photos/ art/ -o out/ --name "{style}/{content}.jpg" --workers 4 --recursive
  pynst batch jobs.csv -o out/ --scheduler tcp://host:8786

The first line of a table names its columns: content, style, output, and settings. The same command
again goes on where the last one has ended, inside a picture, too; pictures that are finished are
kept. Exit code 1 if a job has failed.
"""


def add_arguments(parser: Parser) -> None:
    """Fill in the command's parser."""
    parser.usage = "pynst batch CONTENT STYLE [STYLE ...] -o FOLDER [options]"
    parser.description = "Stylise every content with every style, or do the jobs of a table."
    parser.epilog = _EPILOG
    parser.add_argument("CONTENT", help="a picture, a folder, a quoted pattern, or a CSV file")
    parser.add_argument("STYLE", nargs="*", help="pictures, folders or patterns; none with a table")
    parser.option(
        "-o", "--output", metavar="FOLDER", required=True,
        help="gets the pictures, manifest.jsonl (how each job has ended), and .pynst (checkpoints)",
    )  # fmt: skip
    parser.option(
        "--name", metavar="NAME", default=_DEFAULT_NAME,
        help="of each picture: text with {content}, {style}, {content_suffix}, {style_suffix};"
        " default: %(default)s",
    )  # fmt: skip
    parser.option("--recursive", action="store_true", help="search the subfolders of folders, too")
    parser.option(
        "--workers", metavar="N", type=int,
        help="jobs at the same time, which share threads and memory; default: one per GPU, else 1",
    )  # fmt: skip
    parser.option(
        "--scheduler", metavar="ADDRESS",
        help="of a Dask cluster that does the jobs, such as tcp://host:8786; needs the extra batch",
    )  # fmt: skip
    parser.option("--dry-run", action="store_true", help="say which jobs there are, and do none")
    parser.option("--retry-failed", action="store_true", help="try jobs again that have failed")
    parser.option("--watch", action="store_true", help="go on with pictures that are added later")
    parser.option("--bits", type=int, choices=(8, 16), default=8, help="bits per channel")
    parser.option("--quiet", action="store_true", help="no progress line")
    parser.option("--paper", action="store_true", help="begin with the paper's setting")
    add_settings(parser)


def run(given: argparse.Namespace, signals: Signals) -> int:
    """Run the command; returns the exit code."""
    from pynst.jobs.batches import batch

    settings = given_settings(given)
    asked: dict[str, Any] = {
        "content": given.CONTENT,
        "style": given.STYLE or None,
        "folder": given.output,
        "options": TransferOptions.paper() if given.paper else None,
        "name": given.name,
        "recursive": given.recursive,
        "bits": given.bits,
        **settings,
    }
    if given.dry_run:
        return _dry_run(asked)
    report = _Report(given.quiet)
    jobs = batch(
        **asked,
        workers=given.workers,
        scheduler=given.scheduler,
        retry_failed=given.retry_failed,
        watch=given.watch,
        callback=report.show,
    )
    try:
        for job in jobs:
            report.ended(job)
    except KeyboardInterrupt:
        report.display.close()
        jobs.close()
        say(f"interrupted; {report.summary()}; the same command goes on from here")
        return signals.exit_code
    report.display.close()
    if not given.quiet:
        say(report.summary())
    return 1 if report.counts["failed"] else 0


def _dry_run(asked: dict[str, Any]) -> int:
    """Say which jobs there are, and which of them are done."""
    from pynst.jobs.batches import is_done, make_plan

    done = is_done(make_plan(**asked))
    for output, there in done.items():
        line(f"{'done ' if there else 'to do'}  {output}")
    say(f"{len(done)} jobs, {sum(done.values())} of them done")
    return 0


class _Report:
    """A line per job that has ended, and one that tells of all."""

    def __init__(self, quiet: bool) -> None:
        self.display = Display(quiet)
        self.counts = {"done": 0, "kept": 0, "failed": 0}
        self._quiet = quiet
        self._jobs = 0
        self._last = ""
        self._left = ""

    def show(self, progress: BatchProgress) -> None:
        """Show where the batch stands."""
        self._jobs = progress.jobs
        shares = [f"{name} {share:.0%}" for name, share in progress.running.items()]
        running = ", ".join(shares[:_MOST_SHOWN]) + ("" if len(shares) <= _MOST_SHOWN else ", ...")
        self._left = "" if progress.left is None else f"  left {clock(progress.left)}"
        text = f"{progress.ended}/{progress.jobs}  {running}{self._left}"
        if not self._quiet and self.display.updates and text != self._last:
            self.display.update(text)
            self._last = text

    def ended(self, job: BatchJob) -> None:
        """Tell of a job: the path of its picture on standard output, the rest on standard error."""
        self.counts[job.state] += 1
        number = sum(self.counts.values())
        self.display.close()
        if job.state == "failed":
            say(f"error: {job.output}: {job.error}")
            return
        if not self._quiet:
            how = "kept" if job.state == "kept" else f"{job.seconds:.1f} s"
            tell(f"{number}/{max(number, self._jobs)}  {job.output}  {how}{self._left}")
        path_line(job.output)

    def summary(self) -> str:
        """How many jobs have ended, and how."""
        made, kept, failed = (self.counts[state] for state in ("done", "kept", "failed"))
        return f"{made} made, {kept} kept, {failed} failed"
