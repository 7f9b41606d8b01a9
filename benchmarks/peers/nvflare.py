"""NVFlare in its proof-of-concept deployment: a server and a site for each client, real processes; not its simulator."""

import re
import shutil
from itertools import pairwise
from pathlib import Path

from benchmarks.peers.environment import Environment
from benchmarks.peers.work import Work

NAME = "nvflare"
COMMANDS = "nvflare poc prepare -n CLIENTS; nvflare poc start; nvflare job submit -j JOB; nvflare poc stop"
APP = Path(__file__).with_name("nvflare_app")
READY, DONE = "120", "240"  # seconds that it has to start, and to work


def measure(work: Work, environment: Environment, folder: Path) -> list[float]:
    """Seconds from the first site's task to its next one, but for the first."""
    env = {"NVFLARE_POC_WORKSPACE": str(folder / "poc"), "HOME": str(folder)}
    shutil.copytree(APP, folder, dirs_exist_ok=True)

    def run(*words: str | Path) -> str:
        return environment.run(*words, folder=folder, **env)

    run("python", "job.py", str(work.clients), str(work.weights), str(work.rounds))
    run("nvflare", "poc", "prepare", "-n", str(work.clients), "--force")
    try:
        run("nvflare", "poc", "start", "--timeout", READY)
        found = re.search(r"job_id: (\S+)", run("nvflare", "job", "submit", "-j", folder / "job" / "echo"))
        if found is None:
            raise RuntimeError("nvflare job submit named no job")
        run("nvflare", "job", "wait", found[1], "--timeout", DONE, "--interval", "1")
    finally:
        run("nvflare", "poc", "stop")
    noted = [float(line) for line in (folder / "times").read_text().split()]
    if len(noted) != work.rounds:
        raise RuntimeError(f"site-1 got {len(noted)} tasks of {work.rounds}")
    return [after - before for before, after in pairwise(noted)]
