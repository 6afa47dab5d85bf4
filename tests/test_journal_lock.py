import os
import subprocess
import sys
import time
from pathlib import Path

import optuna

from studies import journal
from studies.journal_lock import JournalLock

HOLD = """
import sys, time
from pathlib import Path
from studies.journal_lock import JournalLock
JournalLock(Path(sys.argv[1])).acquire()
print("held", flush=True)
time.sleep(60)
"""


def test_whoever_is_killed_over_the_lock_keeps_nobody_waiting(tmp_path: Path) -> None:
    path = tmp_path / "journal.log"
    path.touch()
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1]
    )
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    holder.kill()
    begun_s = time.monotonic()
    lock = JournalLock(path)
    assert lock.acquire() and time.monotonic() - begun_s < 5
    lock.release()
    holder.communicate()


def test_what_a_full_disk_cut_off_is_dropped_before_the_next_line(tmp_path: Path) -> None:
    study = optuna.create_study(study_name="a", storage=journal.storage(tmp_path))
    study.ask()
    path = tmp_path / "optuna" / "journal.log"
    whole = path.read_bytes()
    os.truncate(path, len(whole) - 5)
    again = optuna.load_study(study_name="a", storage=journal.storage(tmp_path))
    again.ask()
    assert len(optuna.load_study(study_name="a", storage=journal.storage(tmp_path)).trials) == 1
    assert path.read_bytes().endswith(b"\n")
