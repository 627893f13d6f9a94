"""The launcher with a scheduler and servers that only wait, so that tests of the launcher itself start in no time."""
from arcface_mxnet.recognition import launch
from arcface_mxnet.recognition.launcher import job, plan
from arcface_mxnet.runtime.errors import run_command


def idle(made: plan.Job, place: plan.Place, folder: str):
    return list(made.command) if place.role == plan.WORKER else ["sleep", "1000"]


if __name__ == "__main__":
    job.arguments, job.AFTERWARDS, launch.AFTERWARDS = idle, 0.2, 0.2
    run_command(launch.main)
