"""Gives back what it got; the first site notes when each model came. Runs in NVFlare's environment."""

import argparse
import time
from pathlib import Path

import nvflare.client as flare

parser = argparse.ArgumentParser()
parser.add_argument("--times", type=Path)
times = parser.parse_args().times

flare.init()
while flare.is_running():
    model = flare.receive()
    if model is None:
        break
    if flare.get_site_name() == "site-1":
        with times.open("a") as file:
            file.write(f"{time.time()}\n")
    flare.send(flare.FLModel(params=model.params, params_type=flare.ParamsType.FULL))
