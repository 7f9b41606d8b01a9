"""Writes the job: FedAvg of numpy arrays. Runs in NVFlare's environment: `job.py CLIENTS WEIGHTS ROUNDS`."""

import sys
from pathlib import Path

import numpy as np
from nvflare.app_common.np.recipes.fedavg import NumpyFedAvgRecipe

clients, weights, rounds = map(int, sys.argv[1:])
here = Path(__file__).resolve().parent
np.save(here / "model.npy", np.linspace(-1, 1, weights, dtype=np.float32))
recipe = NumpyFedAvgRecipe(
    name="echo",
    initial_ckpt=str(here / "model.npy"),
    min_clients=clients,
    num_rounds=rounds,
    train_script="client.py",
    train_args=f"--times {here / 'times'}",
)
recipe.export(str(here / "job"))
