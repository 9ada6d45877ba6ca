"""The metrics of a run in the files of other tools: TensorBoard event files, and Weights & Biases' offline runs.

Both are optional extras and are imported here only when asked for. Nothing is sent anywhere: an offline run is uploaded
by its owner with `wandb sync`, if at all.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from consilience.errors import InputError, MissingExtra
from consilience.files import writing
from consilience.report.curves import measured
from consilience.report.rundir import RunFiles

Record = Mapping[str, Any]


def to_tensorboard(run: RunFiles, directory: Path) -> Path:
    """Write every metric as TensorBoard scalars, one TensorBoard run (a folder) a stage, since stages count their own
    steps.

    Args:
        directory: where the folders go; made if missing, and must not hold event files of an earlier export.

    Returns:
        the directory.

    Raises:
        MissingExtra: tensorboard is not installed.
        InputError: the run has no metrics, or the directory has event files or cannot be written.
    """
    try:
        from tensorboard.compat.proto.event_pb2 import Event  # type: ignore[import-untyped,import-not-found,unused-ignore]
        from tensorboard.compat.proto.summary_pb2 import Summary  # type: ignore[import-untyped,import-not-found,unused-ignore]
        from tensorboard.summary.writer.event_file_writer import EventFileWriter  # type: ignore[import-untyped,import-not-found,unused-ignore]
    except ModuleNotFoundError:
        raise MissingExtra("writing TensorBoard files", "tensorboard") from None
    _must_have_metrics(run)
    if next(directory.rglob("events.out.tfevents.*"), None) is not None:
        raise InputError(f"{directory} already holds TensorBoard files: give another directory or remove them.")
    with writing(directory):
        directory.mkdir(parents=True, exist_ok=True)
    for stage, records in stages(run.metrics).items():
        with writing(directory):
            writer = EventFileWriter(str(directory / stage))
            for at, record in timed(run, records):
                scalars = [Summary.Value(tag=name, simple_value=value) for name, value in measured(record)]
                writer.add_event(Event(wall_time=at, step=int(record["step"]), summary=Summary(value=scalars)))
            writer.close()
    return directory


def to_wandb(run: RunFiles, directory: Path, project: str = "consilience") -> Path:
    """Write an offline W&B run: configuration, and every metric as `stage/metric` over `stage/step`.

    W&B writes in a process of its own, which is ended so that the files are whole; other W&B runs of this process end
    with it.

    Args:
        directory: where W&B makes its `wandb/offline-run-…` folder.

    Returns:
        that folder, which `wandb sync` uploads.

    Raises:
        MissingExtra: wandb is not installed.
        InputError: the run has no metrics, or the directory cannot be written.
    """
    try:
        import wandb  # type: ignore[import-not-found,unused-ignore]
    except ModuleNotFoundError:
        raise MissingExtra("writing an offline W&B run", "wandb") from None
    _must_have_metrics(run)
    with writing(directory):
        directory.mkdir(parents=True, exist_ok=True)
    quiet = wandb.Settings(
        mode="offline",
        silent=True,
        console="off",
        disable_git=True,
        disable_code=True,
        save_code=False,
        x_disable_stats=True,
        x_disable_meta=True,
    )
    name = f"{run.config.get('recipe', 'run')}-{run.directory.name}"
    with wandb.init(project=project, dir=str(directory), name=name, config=dict(run.config), settings=quiet) as session:
        for stage, records in stages(run.metrics).items():
            session.define_metric(f"{stage}/*", step_metric=f"{stage}/step")
            for record in records:
                numbers = {f"{stage}/{name}": value for name, value in measured(record)}
                session.log({f"{stage}/step": int(record["step"]), **numbers})
        folder = Path(session.dir).parent
    wandb.teardown()
    return folder


def stages(records: Sequence[Record]) -> dict[str, list[Record]]:
    """Records by stage, in the order in which stages began."""
    found: dict[str, list[Record]] = {}
    for record in records:
        found.setdefault(str(record["stage"]), []).append(record)
    return found


def timed(run: RunFiles, records: Sequence[Record]) -> Iterator[tuple[float, Record]]:
    """(seconds of the epoch, record): when the run began, plus the durations `step_s` so far where they are recorded,
    so that the same files give the same times."""
    try:
        at = datetime.datetime.fromisoformat(str(run.config.get("created", ""))).timestamp()
    except ValueError:
        at = 0.0
    for record in records:
        at += float(record.get("step_s") or 0.0)
        yield at, record


def _must_have_metrics(run: RunFiles) -> None:
    if not run.metrics:
        raise InputError(f"{run.directory} has recorded no metrics to export: train first, or name a unit of it.")
