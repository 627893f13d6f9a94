"""A run as TensorBoard event files, for those who keep their runs there."""
from arcface_mxnet.logs.run import Run
from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.files import PathLike

GROUPS = {"acc": "train/accuracy", "loss": "train/loss", "lr": "train/rate", "speed": "train/images_per_second",
          "cosine": "train/cosine", "cosine_margin": "train/cosine_margin"}


def write(run: Run, folder: PathLike) -> int:
    """Write every figure of `run` into an event file in `folder`; returns how many scalars.

    Train figures are under `train/`, those of a verification set under its name (`lfw/accuracy`). Raises InputError
    where tensorboardX is not installed.
    """
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        raise InputError("--tensorboard: tensorboardX is not installed; pip install tensorboardX") from None
    tags = dict(GROUPS)
    for target in run.targets:
        tags.update({f"{target}_{kind}": f"{target}/{kind}" for kind in ("accuracy", "std", "xnorm")})
    count = 0
    with SummaryWriter(str(folder)) as writer:
        for column, tag in tags.items():
            values = run.table.set_index("step")[column].dropna() if column in run.table else ()
            for step, value in getattr(values, "items", tuple)():
                writer.add_scalar(tag, float(value), int(step))
                count += 1
    return count
