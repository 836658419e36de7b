"""A line that tells how far a run is."""

from typing import Optional

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from .frames import Source


class ProgressLine:
    """Frames done, frames and people per second, and the time left as far as it can be told.

    Args:
        num_items: Number of pictures and videos, None if unknown.
        disable: Whether to show nothing.
    """

    def __init__(self, num_items: Optional[int], disable: bool) -> None:
        self._progress = Progress(
            BarColumn(),
            TextColumn('{task.completed}/{task.fields[total_text]} frames'),
            TextColumn('{task.fields[speed_text]}'),
            TimeRemainingColumn(),
            disable=disable,
        )
        self._total = num_items
        self._task = self._progress.add_task('', total=num_items, total_text='?', speed_text='')
        self._num_people = 0
        self._source: Optional[Source] = None
        self._progress.start()

    def advance(self, source: Source, num_people: int) -> None:
        """One more frame is done."""
        self._num_people += num_people
        if source is not self._source:
            self._source = source
            if self._total is not None and source.video is not None:
                frames = source.video.num_frames
                self._total = None if frames is None else self._total + frames - 1
        task = self._progress.tasks[0]
        done = task.completed + 1
        seconds = max(task.elapsed or 0, 1e-3)
        self._progress.update(
            self._task,
            completed=done,
            total=self._total,
            total_text='?' if self._total is None else str(self._total),
            speed_text=f'{done / seconds:.1f} frames/s, {self._num_people / seconds:.1f} people/s,',
        )

    def close(self) -> None:
        self._progress.stop()
