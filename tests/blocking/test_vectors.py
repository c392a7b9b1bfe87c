"""Vectors of many texts are the same in memory and in a mapped file."""

from __future__ import annotations

import errno
import os

import numpy as np

from blocking import vectors
from blocking.hashing import HashingEncoder

TEXTS = [f"university of place {i}, department {i % 13}" for i in range(500)]


def test_mapped_vectors_are_those_in_memory_and_progress_reaches_the_total(monkeypatch):
    encoder = HashingEncoder(64)
    encoder.fit(TEXTS)
    expected = encoder.encode(TEXTS)
    calls = []
    monkeypatch.setattr(vectors, "MAPPED_BYTES", 1000)
    monkeypatch.setattr(vectors, "TEXTS_AT_ONCE", 120)
    found = vectors.encoded(encoder, TEXTS, lambda *call: calls.append(call))
    assert isinstance(found, np.memmap)
    assert np.array_equal(found, expected)
    assert calls[-1][0] == len(TEXTS)
    assert [done for done, _ in calls] == sorted(done for done, _ in calls)


def test_without_room_on_the_disk_vectors_are_held_in_memory(monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(vectors, "MAPPED_BYTES", 1000)
    monkeypatch.setattr(os, "posix_fallocate", full)
    table = vectors.empty_table(100, 8)
    assert type(table) is np.ndarray
    assert table.shape == (100, 8)
