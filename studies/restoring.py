"""`restore`: a trained model or variant on images of one's own."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from dehazing.data.archive import load_training
from dehazing.data.ome_metadata import ome_acquisition, ome_pinholes
from dehazing.data.own_image import OwnImage, read_own
from dehazing.data.restored_file import Writer, path_of
from dehazing.data.series import Series
from dehazing.estimation import LevelEstimator, fit
from dehazing.familiar import SAME, Gain, Seen, seen
from dehazing.optics import airy_units
from dehazing.pipeline.store import writing
from dehazing.stages.applied import Loop, OneShot, Posterior, Tiles
from dehazing.tiling import TILE_PX
from studies import asking
from studies.trained import Trained, experiment_of, find

TRAINING_FIELDS = 64  # that normalisation apart, everything is compared with
PLANES_THAT_VOTE = 8  # of a channel, on its level


def add_restore(parser: argparse.ArgumentParser) -> None:
    """Options of `restore`."""
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="TIFF, OME-TIFF, ImageJ; CZI, LIF, ND2")
    parser.add_argument("--model", required=True, help="unet, nafnet, hdn, or a variant as the report names it")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where the restored images go")
    parser.add_argument("--level", type=int, metavar="T", help="of the series trained on; default: estimated")
    parser.add_argument(
        "--pinhole", metavar="P", help="in the series' unit, or open; default: the file's, or estimated"
    )
    parser.add_argument("--axes", metavar="AXES", help="of the files, as ZCYX; default: what their metadata say")
    parser.add_argument("--spread", action="store_true", help="a second channel: how much HDN's samples differ")
    parser.add_argument("--dtype", choices=("float32", "input"), default="float32", help="of the restored images")
    parser.add_argument(
        "--normalise",
        choices=("training", "own"),
        default="training",
        help="by the training series (default), or by each channel's own mean and spread, for another gain",
    )
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda or cuda:1")
    parser.add_argument("--force", action="store_true", help="restore what is unlike the training, write over files")
    asking.add_investigation(parser)
    parser.set_defaults(names=["all"])


def restore(arguments: argparse.Namespace) -> int:
    """Restore every image plane by plane, and say at which level and why."""
    asking.check_storage(arguments.storage)
    root = arguments.storage.expanduser().resolve()
    default = f"{arguments.dataset.stem}-{arguments.scale}"
    experiment = experiment_of(root, arguments.experiment, default)
    found = find(root, experiment, arguments.model, lambda: asking.investigation(arguments))
    _check_device(arguments.device)
    work = Work(arguments, found)
    work.check()
    out = arguments.out.expanduser().resolve()
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
    print(f"{found.label} of {found.origin}")
    written: set[Path] = set()
    for path in arguments.images:
        for image in read_own(path.expanduser(), arguments.axes):
            _check_target(path_of(image, out), image, written, arguments.force)
            written.add(work.restore(image, out))
    return 0


@dataclass(frozen=True)
class Choice:
    """The level of one channel, and why."""

    level: int
    why: str


class Work:
    """What all images of one command share: the networks, and what they were trained on."""

    def __init__(self, arguments: argparse.Namespace, found: Trained) -> None:
        self.arguments, self.found = arguments, found
        self.series: Series = load_training(found.folder(found.series), TRAINING_FIELDS)
        self.seen: Seen = seen(self.series)
        self.bar: tqdm = tqdm(disable=True)
        self._estimator = lru_cache(maxsize=4)(self._fit)

    def check(self) -> None:
        """ValueError for a level, a pinhole or a wish that this model cannot serve, before anything is read."""
        if self.arguments.level is not None and self.arguments.pinhole is not None:
            raise ValueError("--level and --pinhole say the same: give one of them.")
        if self.arguments.level is not None and not 1 <= self.arguments.level <= self.seen.T:
            raise ValueError(
                f"`1 <= --level <= {self.seen.T}` must hold, as 0 is the clean level, but is {self.arguments.level}."
            )
        if self.arguments.pinhole is not None:
            self._hazy(self.seen.level_of(self._pinhole), f"--pinhole {self.arguments.pinhole}")
        if self.arguments.spread and self.found.kind != "hdn":
            raise ValueError(f"--spread needs hdn, whose samples differ, but --model is {self.found.label}.")

    @cached_property
    def model(self) -> OneShot | Posterior | Loop:
        """The networks; loaded when the first image has been found fit."""
        tiles = Tiles(self.arguments.device, TILE_PX, lambda: self.bar.update())
        folders = self.found.folders()
        if self.found.kind == "hdn":
            return Posterior(folders["hdn"], tiles)
        if self.found.configuration is None:
            return OneShot(folders[self.found.kind], tiles)
        x_train = torch.from_numpy(self.series.x("train")).to(self.arguments.device)
        return Loop(self.found.configuration, folders, x_train, tiles)

    def restore(self, image: OwnImage, out: Path) -> Path:
        """The written file of one image; ValueError where it is unlike what the model saw."""
        own = self.arguments.normalise == "own"
        self._check_pixels(image)
        choices = [self._choice(image, channel) for channel in range(image.num_channels)]
        gains = []
        for channel, choice in enumerate(choices):
            what = f"{image.name}, channel {channel}" if image.num_channels > 1 else image.name
            print(f"{what}: {self.seen.name(choice.level)}, {choice.why}")
            if own:
                gains.append(self.seen.own_gain(*_moments(image, channel), choice.level))
            else:
                self._check_intensities(image, channel, choice.level)
                gains.append(SAME)
        if (loop := self.found.configuration) and not loop.lower_starts and any(c.level < self.seen.T for c in choices):
            self._say(f"{self.found.label} was confirmed from level {self.seen.T} on; here it begins below")
        levels = ", ".join(dict.fromkeys(self.seen.name(choice.level) for choice in choices))
        how = f"Restored by {self.found.label} of {self.found.origin}, from {levels}."
        with writing(out):
            writer = Writer(image, out, self.arguments.dtype == "input", self.arguments.spread, how)
        try:
            self._planes(image, choices, gains, writer)
        except BaseException:
            writer.drop()
            raise
        with writing(out):
            path = writer.close()
        if writer.num_cut_off:
            self._say(f"{writer.num_cut_off} pixels lie beyond the ends of the image's type and were cut off")
        print(f"{path}")
        return path

    def _planes(self, image: OwnImage, choices: Sequence[Choice], gains: Sequence[Gain], writer: Writer) -> None:
        height, width = image.values.shape[-2:]
        num_tiles = -(-height // TILE_PX) * -(-width // TILE_PX)
        calls = sum(self.model.num_calls(choices[image.channel_of(index)].level) for index in image.indices())
        with tqdm(total=calls * num_tiles, desc=image.name, unit="tile", disable=None, leave=False) as self.bar:
            for number, index in enumerate(image.indices()):
                channel = image.channel_of(index)
                level, gain = choices[channel].level, gains[channel]
                x_t = torch.from_numpy(self.seen.normalised(image.values[index], level, gain))
                restored = self.model(
                    x_t[None, None].to(self.arguments.device), level, self.found.seed + number, self.arguments.spread
                )
                planes = [self.seen.counts(restored.x0_hat[0, 0].cpu().numpy(), gain)]
                if restored.spread is not None:
                    planes.append(self.seen.spread_counts(restored.spread[0, 0].cpu().numpy(), gain))
                writer.write(index, *planes)

    @property
    def _pinhole(self) -> float:
        text = self.arguments.pinhole
        try:
            return math.inf if text == "open" else float(text)
        except ValueError as error:
            raise ValueError(f"--pinhole must be a number in {self.seen.unit} or `open`, but is {text!r}.") from error

    def _choice(self, image: OwnImage, channel: int) -> Choice:
        if self.arguments.level is not None:
            return Choice(self.arguments.level, "as given by --level")
        if self.arguments.pinhole is not None:
            return Choice(self.seen.level_of(self._pinhole), f"nearest to --pinhole {self.arguments.pinhole}")
        stated = self._stated(image, channel)
        return self._estimated(image, channel) if stated is None else stated

    def _stated(self, image: OwnImage, channel: int) -> Choice | None:
        """By the pinhole that the file's metadata state, where the series has it."""
        said = ome_pinholes(image.ome)
        if said is None or len(said[0]) not in (1, image.num_channels) or self.seen.unit == "alpha":
            return None
        sizes, unit = said
        size, optics = sizes[channel if len(sizes) > 1 else 0], ome_acquisition(image.ome)
        shown = "an open pinhole" if math.isinf(size) else f"a pinhole of {size:.3g} {unit}"
        if unit == "um" and self.seen.unit == "au" and optics.numerical_aperture and optics.emission_nm:
            size, unit = airy_units(size, optics.numerical_aperture, optics.emission_nm), "au"
        try:
            if unit != self.seen.unit and not math.isinf(size):
                raise ValueError(f"The series' pinholes are in {self.seen.unit}.")
            level = self.seen.level_of(size)
        except ValueError as error:
            self._say(f"{image.name} states {shown}, which is not used: {error}")
            return None
        self._hazy(level, f"{image.name} states {shown}, which")
        return Choice(level, f"nearest to the {shown.partition(' ')[2]} that the file states")

    def _estimated(self, image: OwnImage, channel: int) -> Choice:
        own, side = self.arguments.normalise == "own", min(image.values.shape[-2:])
        indices = [*image.indices(channel)]
        planes = [image.values[index] for index in indices[:: -(-len(indices) // PLANES_THAT_VOTE)]]
        try:
            estimator = self._estimator(not own, side)
            estimate = estimator(planes)
        except ValueError as error:
            raise ValueError(f"{image.name}: {error} --level gives it.") from error
        if not estimate.is_like_training:
            if not own and self._estimator(False, side)(planes).is_like_training:
                why = (
                    "its intensities lie far outside; --normalise own allows for another gain, --level says what it is"
                )
            else:
                why = "--level says what it is"
            self._refuse(f"{image.name} is unlike the training frames of every level: {why}")
        sure = estimate.probabilities[estimate.level]
        why = f"estimated, {sure:.0%} sure"
        others = [t for t in range(self.seen.T + 1) if t != estimate.level]
        second = max(others, key=lambda t: estimate.probabilities[t])
        if estimate.probabilities[second] >= 0.05:
            why += f" ({self.seen.name(second)}: {estimate.probabilities[second]:.0%})"
        why += f"; of training tiles that were left out, {estimator.share_right:.0%} are named rightly"
        self._hazy(estimate.level, f"{image.name}, {why},")
        return Choice(estimate.level, why)

    def _fit(self, with_intensities: bool, side: int) -> LevelEstimator:
        return fit([field.frames for field in self.series.fields], with_intensities, side)

    def _hazy(self, level: int, what: str) -> None:
        if level == 0:
            raise ValueError(
                f"{what} is {self.seen.name(0)}, the clean one: there is nothing to restore; --level chooses a level "
                "all the same."
            )

    def _check_pixels(self, image: OwnImage) -> None:
        why = self.seen.unfamiliar_pixels(image.pixel_size_um)
        if why is not None:
            self._refuse(f"{image.name} lies far outside what the model saw: {why}")
        elif image.pixel_size_um is None and self.seen.pixel_size_um is not None:
            self._say(
                f"{image.name} states no pixel size; that of the training series is {self.seen.pixel_size_um:.4g} µm"
            )

    def _check_intensities(self, image: OwnImage, channel: int, level: int) -> None:
        found = [self.seen.unfamiliar_intensities(image.values[index], level) for index in image.indices(channel)]
        reasons = [reason for reason in found if reason is not None]
        if not reasons:
            return
        planes = f" in {len(reasons)} of {len(found)} planes" if len(found) > 1 else ""
        text = f"{image.name} lies far outside what the model saw{planes}: {reasons[0]}"
        if 2 * len(reasons) > len(found):
            self._refuse(f"{text}; --normalise own allows for another gain")
        else:
            self._say(text)

    def _refuse(self, text: str) -> None:
        """A sentence, with --force a note."""
        if not self.arguments.force:
            raise ValueError(f"{text}; --force restores it all the same.")
        self._say(text)

    @staticmethod
    def _say(text: str) -> None:
        print(f"note: {text}")


def _moments(image: OwnImage, channel: int) -> tuple[float, float]:
    """Mean and standard deviation over all planes of a channel."""
    planes = [image.values[index] for index in image.indices(channel)]
    mean = float(np.mean([plane.mean(dtype=np.float64) for plane in planes]))
    variance = np.mean([plane.var(dtype=np.float64) + (plane.mean(dtype=np.float64) - mean) ** 2 for plane in planes])
    return mean, math.sqrt(float(variance))


def _check_target(path: Path, image: OwnImage, written: set[Path], force: bool) -> None:
    if path == image.path.resolve():
        raise ValueError(f"--out must be another folder than that of the images, but {path} is one of them.")
    if path in written:
        raise ValueError(f"Images must have names of their own, but two would be written as {path}.")
    if path.exists() and not force:
        raise ValueError(f"{path} exists already; --force writes over it.")


def _check_device(device: str) -> None:
    try:
        kind = torch.device(device).type
    except RuntimeError as error:
        raise ValueError(f"--device must be cpu, cuda or cuda:NUMBER, but is {device!r}.") from error
    if kind not in ("cpu", "cuda") or (kind == "cuda" and not torch.cuda.is_available()):
        raise ValueError(f"--device must be cpu, or cuda on a machine with a GPU, but is {device!r}.")
