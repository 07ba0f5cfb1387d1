"""TensorBoard event files: scalars, histograms and images of one run.

A file is opened, appended to and closed at each flush: no thread and no open file per run, so
that thousands of runs can be recorded at once. Records are framed here, since TensorBoard's own
writer computes checksums in pure Python, which takes longer than everything else that a run leaves.
"""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Container, Mapping
from pathlib import Path

import google_crc32c
import torch
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import HistogramProto, Summary
from torch import Tensor

BINS = 30


def histograms(values: Tensor) -> list[HistogramProto | None]:
    """Histograms of many sets of numbers at once, each between its own minimum and maximum.

    Numbers that are not finite have no place in a histogram and are left out; a set without any
    other has none.

    Args:
        values: N sets of M numbers, [N, M].

    Returns:
        N histograms of 30 equal bins.
    """
    values = values.detach().to("cpu", torch.float64)
    finite = values.isfinite()
    zeros = torch.zeros_like(values)
    infinity = torch.full_like(values, float("inf"))
    low = torch.where(finite, values, infinity).amin(dim=1, keepdim=True)  # [N, 1]
    high = torch.where(finite, values, -infinity).amax(dim=1, keepdim=True)
    width = torch.where(high > low, high - low, torch.ones_like(low))
    place = torch.where(finite, (values - low) / width * BINS, zeros)
    counts = torch.zeros(len(values), BINS, dtype=torch.float64)  # [N, bins]
    counts.scatter_add_(1, place.long().clamp(0, BINS - 1), finite.double())
    limits = low + width * torch.arange(1, BINS + 1) / BINS  # [N, bins], the upper edges
    kept = torch.where(finite, values, zeros)
    columns = (low[:, 0], high[:, 0], finite.sum(1), kept.sum(1), kept.square().sum(1))
    rows = zip(*(column.tolist() for column in (*columns, limits, counts)), strict=True)
    return [
        HistogramProto(
            min=least,
            max=most,
            num=number,
            sum=total,
            sum_squares=squares,
            bucket_limit=edges,
            bucket=heights,
        )
        if number
        else None
        for least, most, number, total, squares, edges, heights in rows
    ]


class EventFile:
    """Collects a run's events and appends them to one file at each flush."""

    def __init__(self, folder: Path) -> None:
        """Names the file; nothing is written yet."""
        stamp = f"{time.time_ns() // 1000:016d}.{socket.gethostname()}.{os.getpid()}"
        self.path = folder / f"events.out.tfevents.{stamp}"
        self.pending: list[bytes] = []
        self._write(Event(file_version="brain.Event:2"))

    def take_over(self, step: int, again: Container[str]) -> None:
        """Takes the place of earlier files in the folder, for a run that goes on from a step.

        What they hold of later steps is void, and so is what a run says once, at its end.

        Args:
            step: The last step that counts.
            again: Tags that will be written again at that step.
        """
        earlier = sorted(self.path.parent.glob("events.out.tfevents.*"))
        for file in earlier:
            for record in RawEventFileLoader(str(file)).Load():
                event = Event.FromString(record)
                values = [
                    value
                    for value in event.summary.value
                    if not value.tag.startswith(("test/", "_hparams_/"))
                    and not (event.step == step and value.tag in again)
                ]
                if values and event.step <= step:
                    kept = Summary(value=values)
                    kept_event = Event(step=event.step, wall_time=event.wall_time, summary=kept)
                    self.pending.append(framed(kept_event.SerializeToString()))
        self.flush()
        for file in earlier:
            file.unlink()

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Adds numbers by tag."""
        self.add(step, [Summary.Value(tag=tag, simple_value=v) for tag, v in values.items()])

    def histogram(self, step: int, tag: str, histogram: HistogramProto) -> None:
        """Adds a histogram."""
        self.add(step, [Summary.Value(tag=tag, histo=histogram)])

    def image(self, step: int, tag: str, png: bytes) -> None:
        """Adds a picture in PNG format."""
        picture = Summary.Image(encoded_image_string=png)
        self.add(step, [Summary.Value(tag=tag, image=picture)])

    def add(self, step: int, values: list[Summary.Value]) -> None:
        """Adds summaries at a step."""
        self._write(Event(step=step, summary=Summary(value=values)))

    def _write(self, event: Event) -> None:
        event.wall_time = time.time()
        self.pending.append(framed(event.SerializeToString()))

    def flush(self) -> None:
        """Appends what has come since the last flush."""
        if self.pending:
            with self.path.open("ab") as file:
                file.write(b"".join(self.pending))
            self.pending = []


def framed(data: bytes) -> bytes:
    """A record of the TFRecord format: length, its checksum, the data, their checksum.

    Source: "TFRecords format details" in TensorFlow's guide; checksums are CRC-32C, masked.
    """
    length = struct.pack("<Q", len(data))
    return length + _checksum(length) + data + _checksum(data)


def _checksum(data: bytes) -> bytes:
    crc = google_crc32c.value(data)
    masked = ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
    return struct.pack("<I", masked)
