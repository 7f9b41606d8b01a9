"""FedAvg over echo clients, which notes when each model is there. Runs in Flower's environment."""

import time
from pathlib import Path

import numpy as np
from flwr.app import ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    config = context.run_config
    clients = config["clients"]

    def note(_round: int, _arrays: ArrayRecord) -> None:
        with Path(config["times"]).open("a") as file:
            file.write(f"{time.time()}\n")

    strategy = FedAvg(fraction_evaluate=0.0, min_train_nodes=clients, min_available_nodes=clients)
    first = ArrayRecord([np.linspace(-1, 1, config["weights"], dtype=np.float32)])
    strategy.start(grid=grid, initial_arrays=first, num_rounds=config["rounds"], evaluate_fn=note)
