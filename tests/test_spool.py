"""What is appended is read again in order: after a crash, a cut-off line, and when somebody else takes over."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from studies.tracking import spool as module
from studies.tracking.spool import SEGMENT, Spool, encoded, left_behind, records_of

REPOSITORY = Path(__file__).parents[1]


def put(spool: Spool, *numbers: int) -> None:
    """Append a record for each number."""
    spool.append([encoded({"i": i}) for i in numbers])


def drained(spool: Spool) -> tuple[list[int], list[bool]]:
    """The numbers of all records, and for each segment whether it was taken over."""
    numbers, again = [], []
    while True:
        segment = spool.oldest()
        if segment is None:
            return numbers, again
        numbers += [record["i"] for record in records_of(segment.path)]
        again.append(segment.taken_over)
        spool.delivered()


def died(folder: Path, num: int) -> None:
    """Another process appends records and ends at once, without a word."""
    script = (
        "import os, sys; from pathlib import Path; from studies.tracking.spool import Spool, encoded;"
        "spool = Spool(Path(sys.argv[1]));"
        "[spool.append([encoded({'i': i})]) for i in range(int(sys.argv[2]))]; os._exit(1)"
    )
    subprocess.run([sys.executable, "-c", script, str(folder), str(num)], cwd=REPOSITORY, check=False)


def test_records_come_back_in_order_and_leave_no_file(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "mlflow")
    for first in range(0, 3 * SEGMENT, 100):
        put(spool, *range(first, first + 100))
    assert spool.num_records == 3 * SEGMENT
    assert drained(spool) == (list(range(3 * SEGMENT)), [False] * 3)
    spool.append([encoded({"i": -1, "nan": float("nan"), "text": "ψ\n", "number": np.int64(3)})])
    segment = spool.oldest()
    assert segment is not None
    (record,) = records_of(segment.path)
    assert record["text"] == "ψ\n" and record["number"] == 3
    spool.delivered()
    spool.close()
    assert list((tmp_path / "mlflow").iterdir()) == []


def test_what_a_dead_process_left_is_delivered_first(tmp_path: Path) -> None:
    died(tmp_path, 5)
    assert [path.name.split("-")[0] for path in left_behind(tmp_path)] == ["spool", "writer"]
    spool = Spool(tmp_path)
    put(spool, 5)
    assert spool.num_records == 6
    assert left_behind(tmp_path) == [], "it is this process's now"
    assert drained(spool) == ([0, 1, 2, 3, 4, 5], [True, False])


def test_the_same_process_takes_over_from_a_tracker_that_was_closed(tmp_path: Path) -> None:
    first = Spool(tmp_path)
    put(first, 0)
    other = Spool(tmp_path)
    put(other, 10)
    assert drained(other)[0] == [10], "the first is still at work"
    first.close()
    other.close()
    second = Spool(tmp_path)
    put(second, 1)
    assert drained(second) == ([0, 1], [True, False])


def test_what_a_running_process_writes_is_left_alone(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from studies.tracking.spool import Spool, encoded;"
        "spool = Spool(Path(sys.argv[1]));"
        "spool.append([encoded({'i': 0})]); print('ready', flush=True); time.sleep(60)"
    )
    words = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(words, cwd=REPOSITORY, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"
        spool = Spool(tmp_path)
        spool.prepare()
        assert spool.num_records == 0 and left_behind(tmp_path) == []
        process.send_signal(signal.SIGKILL)
    assert len(left_behind(tmp_path)) == 2


def test_a_line_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    died(tmp_path, 3)
    (segment,) = tmp_path.glob("spool-*.jsonl")
    segment.write_bytes(segment.read_bytes()[:-4])
    spool = Spool(tmp_path)
    spool.prepare()
    assert drained(spool)[0] == [0, 1]


def test_a_host_that_is_silent_for_long_counts_as_gone(tmp_path: Path) -> None:
    writer = "other-host-17-1700000000000-0123abcd"
    (tmp_path / f"spool-{writer}-00000001.jsonl").write_text('{"i": 0}\n')
    (tmp_path / f"writer-{writer}").touch()
    assert left_behind(tmp_path) == []
    long_ago_s = time.time() - module.STALE_AFTER_S - 5
    os.utime(tmp_path / f"writer-{writer}", (long_ago_s, long_ago_s))
    assert len(left_behind(tmp_path)) == 2


def test_a_full_disk_leaves_what_was_there_and_can_go_on(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    put(spool, 0)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40, before[1]))
    try:
        with pytest.raises(OSError) as found:
            put(spool, *range(1, 20))
        assert found.value.errno == errno.EFBIG
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert spool.num_records == 1
    put(spool, 1)
    assert drained(spool)[0] == [0, 1]
