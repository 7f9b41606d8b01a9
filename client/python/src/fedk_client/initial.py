"""`python -m fedk_client.initial FILE:APP OUT`: an app's initial model as a safetensors file.

For programs that must not import user code themselves. Prints one line of JSON, or on stderr why not.
"""

import json
import logging
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import click

from fedk_client.app import ClientApp
from fedk_client.errors import ClientError
from fedk_client.failure import describe
from fedk_client.loading import load
from fedk_client.seeds import seeded
from fedk_protocol.codec import Arrays, Safetensors

log = logging.getLogger("fedk_client")


def initial(app: ClientApp[Any, Any], *, seed: int = 0) -> Arrays:
    """The weights of `model()`; the same for the same seed."""
    with seeded(seed):
        return app.weights(app.model())


def summary(arrays: Arrays, size: int) -> Mapping[str, object]:
    """What the line of JSON says."""
    return {
        "tensors": len(arrays),
        "weights": sum(int(array.size) for array in arrays.values()),
        "dtypes": sorted({str(array.dtype) for array in arrays.values()}),
        "bytes": size,
    }


@click.command()
@click.argument("app")
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--seed", default=0, show_default=True, help="Of the global random generators while model() runs.")
def main(app: str, out: Path, seed: int) -> None:
    """Write the initial model of FILE:APP to OUT."""
    try:
        with redirect_stdout(sys.stderr):  # what user code prints; stdout is the line of JSON
            arrays = initial(load(app), seed=seed)
        size = _write(out, arrays)
    except ClientError as error:
        click.echo(str(error), err=True)
        sys.exit(error.exit_code)
    except Exception as error:  # model() is user code, and may raise anything
        log.debug("model() failed", exc_info=True)
        click.echo(f"model() raised {describe(error, share=True)}", err=True)
        sys.exit(1)
    click.echo(json.dumps(summary(arrays, size)))


def _write(out: Path, arrays: Arrays) -> int:
    with out.open("wb") as file:
        file.writelines(Safetensors().encode(arrays))
        return file.tell()


if __name__ == "__main__":
    main()
