"""What a person sees while something long runs: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import IO

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

Report = Callable[[int, float, str], None]  # (step, things per second, what was measured)


@contextlib.contextmanager
def progress(start: int, steps: int, unit: str = "examples", stream: IO[str] | None = None) -> Iterator[Report]:
    """Yields `report(step, speed, text)`, to be called as often as there is something to say.

    Args:
        start: Step that it starts at.
        steps: Step that it ends at.
        unit: What is counted per second.
        stream: Where to write; standard error by default, so that results can be piped.
    """
    console = Console(file=stream, stderr=stream is None, highlight=False)
    if console.is_terminal:
        columns = (
            TextColumn("step {task.completed:.0f}/{task.total:.0f}"),
            BarColumn(),
            TextColumn("{task.fields[text]}"),
            TimeRemainingColumn(compact=True),
        )
        with Progress(*columns, console=console) as bar:
            task = bar.add_task("run", total=steps, completed=start, text="compiling")
            yield lambda step, speed, text: bar.update(
                task, completed=step, text=f"{text}  {speed:,.0f} {unit}/s", refresh=True
            )
        return

    began = time.monotonic()

    def line(step: int, speed: float, text: str) -> None:
        left = (time.monotonic() - began) / max(step - start, 1) * (steps - step)
        console.print(f"step {step}/{steps}  {text}  {speed:,.0f} {unit}/s  {left:.0f} s left", soft_wrap=True)

    yield line
