"""The functions that a hook plugin implements, found and verified by pluggy against their specifications."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pluggy

from fedk.api.errors import PluginError
from fedk.api.hooks import PROJECT, SPECIFICATIONS, Extensions
from fedk.api.suggestion import did_you_mean

HOOKS: Mapping[str, type] = {
    name: group
    for group in SPECIFICATIONS
    for name, function in vars(group).items()
    if hasattr(function, f"{PROJECT}_spec")
}
"""By name, the group that specifies it: Observers, Gates or Extensions."""


@dataclass(frozen=True, slots=True)
class Implementation:
    """One function of one plugin."""

    hook: str
    function: Callable[..., Any]
    wanted: tuple[str, ...]  # the arguments that it takes

    def arguments(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Of what a call brings, what the function takes."""
        return {name: given[name] for name in self.wanted}


def implementations(name: str, plugin: Any) -> list[Implementation]:
    """Those of a class, module or object. PluginError says what no specification allows."""
    manager = pluggy.PluginManager(PROJECT)
    for group in SPECIFICATIONS:
        manager.add_hookspecs(group)
    try:
        manager.register(plugin, name)
    except pluggy.PluginValidationError as error:
        raise PluginError(_unfit(str(error))) from error
    found = [
        _verified(caller, one)
        for caller in manager.get_hookcallers(plugin) or ()
        for one in caller.get_hookimpls()
        if caller.has_spec() or not one.optionalhook
    ]
    if not found:
        raise PluginError(f"implements no hook: mark its functions with @hookimpl, as {', '.join(list(HOOKS)[:3])} …")
    return found


def _verified(caller: pluggy.HookCaller, one: pluggy.HookImpl) -> Implementation:
    hook, function = caller.name, one.function
    if not caller.has_spec():
        raise PluginError(f"implements the hook {hook}, which no specification knows.{did_you_mean(hook, HOOKS, '{}')}")
    if one.wrapper or one.hookwrapper:
        raise PluginError(f"wraps the hook {hook}: a hook is notified, it cannot wrap others. Leave out wrapper=True")
    if one.tryfirst or one.trylast:
        raise PluginError(f"wants a place among others for {hook}: the order is that of plugins.hooks. Leave it out")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise PluginError(f"its {hook} is a generator: it would never run. Return instead of yield")
    if HOOKS[hook] is Extensions and inspect.iscoroutinefunction(function):
        raise PluginError(f"its {hook} is async: what a plugin adds is asked before anything runs. Leave out async")
    needed = [p.name for p in inspect.signature(function).parameters.values() if _is_needed(p)]
    if needed:
        raise PluginError(f"its {hook} has keyword-only arguments ({', '.join(needed)}): leave out the *")
    return Implementation(hook, function, tuple(one.argnames))


def _is_needed(parameter: inspect.Parameter) -> bool:
    return parameter.kind is inspect.Parameter.KEYWORD_ONLY and parameter.default is inspect.Parameter.empty


def _unfit(text: str) -> str:
    """Pluggy's message in one line, without the plugin's name, which the reader has."""
    lines = [line.strip() for line in text.splitlines()]
    return " ".join(line for line in lines if line).removeprefix("Plugin ")
