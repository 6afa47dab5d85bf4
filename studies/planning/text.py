"""A plan as people read it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from studies.progress import duration


def show(plan: Mapping[str, Any]) -> None:
    """Print what `plan_of` found."""
    series, resources, search = plan["series"], plan["resources"], plan["search"]
    elsewhere = f", stages in {plan['store']}" if plan["store"] != plan["root"] else ""
    print(f"experiment {plan['experiment']} in {plan['root']}{elsewhere}")
    print(f"dataset    {plan['dataset']}")
    to_be_made = f"to be made{_each(series['cost'])}" if "cost" in series else "in the store"
    print(f"series     {series['fingerprint']}, {to_be_made}")
    print(f"resources  {_resources(resources, ' for each trial')}")
    for kind, of in resources["stages"].items():
        as_all = all(of[key] == resources[key] for key in ("num_cpus", "num_gpus", "memory_gb", "slots"))
        if of["held"] or not as_all:
            print(f"           {kind}: {'as all' if as_all else _resources(of)}{_held(of)}")
    for note in plan["notes"]:
        print(f"note: {note}")
    print()
    for study in plan["studies"]:
        _show_study(study)
    how = "" if search["exact"] else "at most "
    print(f"search: {how}{search['distinct']} distinct executions, of which the store has {search['in_store']}")
    if plan["confirmation"]:
        _show_confirmation(plan["confirmation"])
    print(f"forecast: {_totals(plan['forecast'], '' if resources['slots'] else ' one after the other')}")
    free = plan["disk"]["free_bytes"]
    least = "at least " if plan["forecast"]["unknown"] else ""
    print(
        f"disk: {least}{_bytes(plan['disk']['needed_bytes'])} needed{'' if free is None else f', {_bytes(free)} free'}"
    )
    for warning in plan["warnings"]:
        print(f"warning: {warning}")


def _resources(of: Mapping[str, Any], whom: str = "") -> str:
    part = 1 / of["num_gpus"] if of["num_gpus"] else 0.0
    share = f"1/{round(part)}" if part > 1 and abs(part - round(part)) < 0.01 else f"{of['num_gpus']:g}"
    gpus = f"{share} GPU" if part else "no GPU"
    memory = f", {of['memory_gb']:g} GB set aside" if of["memory_gb"] else ""
    slots = f"{of['slots']} side by side" if of["slots"] else "as many side by side as the cluster holds"
    return f"{of['num_cpus']} CPU and {gpus}{whom}{memory}, {slots}"


def _held(of: Mapping[str, Any]) -> str:
    """What past executions of a stage held, and whether the share of a GPU comes from it."""
    held = of["held"]
    if held is None:
        return ""
    on_gpu = f" and {_bytes(held['gpu'])} of a GPU" if held["gpu"] is not None else ""
    whence = ", whence the share" if of["gpu_share"] == "measured" else ""
    return f" ({held['num']} past held up to {_bytes(held['memory'])}{on_gpu}{whence})"


def _show_study(study: Mapping[str, Any]) -> None:
    print(f"{study['name']}: {study['question']}")
    builds_on = [*study["upstreams"].values()]
    joint = f", searched with {', '.join(study['joint'])}" if study["joint"] else ""
    print(f"    {study['kind']}{' on ' + ', '.join(builds_on) if builds_on else ''}{joint}")
    budget = [f"{study['trials']} trials"]
    budget += [f"{study[key]:g} {unit}" for key, unit in (("max_hours", "h"), ("max_gpu_hours", "GPU-h")) if study[key]]
    batch = f", {study['batch']} together" if study["batch"] > 1 else ""
    stopping = f"stopping: {study['scheduler']}"
    print(f"    {', '.join(budget)} ({study['sampler']}, {stopping}{batch}), {study['ended']} ended")
    objectives = " and ".join(f"{objective['metric']} ({objective['mode']})" for objective in study["objectives"])
    print(f"    objective: {objectives}")
    for constraint in study["constraints"]:
        bounds = [f"{key.replace('_', ' ')} {value:g}" for key, value in constraint.items() if isinstance(value, float)]
        print(f"    constraint: {constraint['metric']} {' '.join(bounds)}")
    for parameter in study["space"]:
        print(f"    {parameter['name']:<18} {_range(parameter)}")
    for sample in study["samples"]:
        print(f"    e.g. {_short(sample)}")
    numbers = study["executions"]
    how = "" if numbers["exact"] else "at most "
    before = f", {numbers['made_before']} made by a study before" if numbers["made_before"] else ""
    print(
        f"    executions: {how}{numbers['distinct']}, {numbers['in_store']} in the store{before}, "
        f"{numbers['to_do']} to do"
    )
    for cost in study["costs"]:
        print(f"        {cost['kind']}{_each(cost)}")
    if not study["settled"]:
        print("    waits for the studies that it builds on: counted as if each chose its first trial")
    print()


def _show_confirmation(confirmation: Mapping[str, Any]) -> None:
    known = f"the store has {confirmation['in_store']}"
    share = known if confirmation["known"] else "which ones is known once the searches are done"
    seeds = ", ".join(map(str, confirmation["seeds"]))
    print(f"confirmation: {confirmation['distinct']} executions on the seeds {seeds}; {share}")
    for cost in confirmation["costs"]:
        print(f"    {cost['num']} {cost['kind']}{_each(cost)}")


def _totals(totals: Mapping[str, Any], how: str) -> str:
    if not totals["executions"] and not totals["series_unknown"]:
        return "nothing is left to execute"
    unknown = f"; {totals['unknown']} executions of unknown cost are not in it" if totals["unknown"] else ""
    if totals["unknown"] == totals["executions"] and totals["executions"]:
        return "unknown: no past executions, and nothing was timed"
    least = "at least " if totals["unknown"] else ""
    gpu = f", {duration(totals['gpu_s'])} of GPU" if totals["gpu_s"] else ""
    return f"{least}{duration(totals['wall_s'])}{how} beside start-up, {duration(totals['cpu_s'])} of CPU{gpu}{unknown}"


def _each(cost: Mapping[str, Any]) -> str:
    if cost["seconds"] is None:
        return f": cost {cost['source']}"
    return f": {duration(cost['seconds'])}, {_bytes(cost['published_bytes'])} ({cost['source']})"


def _bytes(number: float | None) -> str:
    if number is None:
        return "unknown size"
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} TB"


def _range(parameter: Mapping[str, Any]) -> str:
    if "choices" in parameter:
        text = " | ".join(map(str, parameter["choices"]))
    else:
        step = f", step {parameter['step']:g}" if parameter.get("step") else ""
        text = f"{parameter['low']} … {parameter['high']}{' (log)' if parameter.get('log') else ''}{step}"
    only = parameter["only_with"]
    if only is None:
        return text
    if only == "sometimes":
        return f"{text}, not always"
    return f"{text}, only with {only['parameter']} = {' | '.join(map(str, only['choices']))}"


def _short(suggestion: Mapping[str, Any]) -> str:
    shown = {
        name: f"({_short(value)})"
        if isinstance(value, Mapping)
        else f"{value:.3g}"
        if isinstance(value, float)
        else value
        for name, value in suggestion.items()
    }
    return ", ".join(f"{name} {value}" for name, value in shown.items())
