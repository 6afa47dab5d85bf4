import json
from pathlib import Path

import optuna

from studies import journal
from studies.tracking.ledger import Ledger, folder_of
from studies.tracking.untold import untold


def test_what_mlflow_was_not_told_to_the_end_is_told_again_once(tmp_path: Path) -> None:
    study = optuna.create_study(study_name="lines-smoke/unet/ab", storage=journal.storage(tmp_path))
    for _ in range(3):
        study.tell(study.ask(), 1.0)
    study.ask()
    ledger = Ledger(tmp_path, "lines-smoke")
    folder = folder_of(tmp_path, "lines-smoke")
    folder.mkdir(parents=True)

    def numbers() -> list[int]:
        return [trial.number for trial in untold(tmp_path, "lines-smoke", study)[0]]

    assert numbers() == [0, 1, 2]
    ledger.ended({"lines-smoke/unet/ab/0": "FINISHED", "lines-smoke/unet/ab/1": "KILLED"})
    assert numbers() == [1, 2]
    entry = {"op": "end", "key": "lines-smoke/unet/ab/2", "status": "FINISHED"}
    (folder / "spool-host-1-2-ab-00000001.jsonl").write_text(json.dumps(entry) + "\n" + '{"op": "end", "k')
    assert numbers() == [1], "what waits in a spool is told"
    ledger.ended({"lines-smoke/unet/ab/1": "FINISHED"})
    assert untold(tmp_path, "lines-smoke", study) == ([], [], True)
    ledger.ended({"lines-smoke/unet/ab": "FINISHED"})
    assert untold(tmp_path, "lines-smoke", study) == ([], [], False)
