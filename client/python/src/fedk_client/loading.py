"""FILE:APP → the ClientApp in that file, or one sentence that says why not."""

import importlib.util
import sys
import traceback
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any

from fedk_client.app import ClientApp
from fedk_client.errors import LoadError


def load(spec: str) -> ClientApp[Any, Any]:
    """`client.py:app` → the object `app` of client.py, which is imported as its folder's module. Raises LoadError."""
    file, colon, name = spec.rpartition(":")
    if not colon or not file or not name:
        raise LoadError(f'"{spec}" wants FILE:APP, for example {file or name or "client.py"}:app')
    path = Path(file)
    if not path.is_file():
        raise LoadError(_no_file(path))
    return _app_of(_imported(path), name, path.name)


def _no_file(path: Path) -> str:
    folder = path.resolve().parent
    near = get_close_matches(path.name, sorted(other.name for other in folder.glob("*.py")), n=1)
    if path.is_dir():
        return f"{path} is a folder: name the file, for example {path / 'client.py'}:app"
    return f"no file {path.name} (in {folder}).{f' Did you mean {path.with_name(near[0])}?' if near else ''}"


def _imported(path: Path) -> ModuleType:
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)  # as `python client.py` has it: files beside it can be imported
    name = _free_name(path.resolve())
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    if spec is None or spec.loader is None:
        raise LoadError(f"{path.name} is no Python file")
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # user code may raise anything
        del sys.modules[name]
        raise LoadError(_not_importable(path, error), exit_code=1) from error
    return module


def _free_name(path: Path) -> str:
    # its own name, so that worker processes of user code find its classes; but never another module's place
    taken = sys.modules.get(path.stem)
    return path.stem if taken is None or getattr(taken, "__file__", None) == str(path) else f"fedk_app_{path.stem}"


def _not_importable(path: Path, error: BaseException) -> str:
    text = f"{path.name} cannot be imported: {type(error).__name__}: {_message(error)}{_line(path, error)}"
    if isinstance(error, ModuleNotFoundError) and error.name:
        package = error.name.partition(".")[0]
        text += f"\nClients run with {sys.executable};  pip install {_DISTRIBUTIONS.get(package, package)}  there."
    return text


def _message(error: BaseException) -> str:
    return error.msg if isinstance(error, SyntaxError) else str(error)


def _line(path: Path, error: BaseException) -> str:
    if isinstance(error, SyntaxError) and error.filename and Path(error.filename).name == path.name:
        return f" (line {error.lineno})"
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path.resolve())]
    return f" (line {own[-1].lineno})" if own else ""


def _app_of(module: ModuleType, name: str, file: str) -> ClientApp[Any, Any]:
    found = getattr(module, name, None)
    if isinstance(found, ClientApp):
        return found
    apps = [other for other, value in vars(module).items() if isinstance(value, ClientApp)]
    if found is not None:
        raise LoadError(f"{name} in {file} is {_a(type(found).__name__)}, not a ClientApp.{_choices(file, apps)}")
    raise LoadError(
        f"{file} has no {name}.{_choices(file, apps) or f' It has no ClientApp; it has {_names(vars(module))}.'}"
    )


def _choices(file: str, apps: list[str]) -> str:
    return f" Did you mean {' or '.join(f'{file}:{app}' for app in apps)}?" if apps else ""


def _names(values: Mapping[str, object]) -> str:
    own = [name for name, value in values.items() if not name.startswith("_") and not isinstance(value, ModuleType)]
    return ", ".join(own) or "no names at all"


def _a(noun: str) -> str:
    return f"{'an' if noun[:1].lower() in 'aeiou' else 'a'} {noun}"


_DISTRIBUTIONS = {"sklearn": "scikit-learn", "cv2": "opencv-python", "PIL": "pillow", "yaml": "pyyaml"}
