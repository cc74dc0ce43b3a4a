"""YAML as dbt reads its own files: text may hold Jinja that asks for environment variables."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from conduit_core.errors import ConfigError


class NotRendered(Exception):  # noqa: N818 - an answer, caught where it is asked
    """A text needs more than environment variables; ``str()`` says what, never a value."""


def read_yaml(path: Path, what: str) -> dict[str, object]:
    """Return a YAML file's mapping.

    Args:
        path: the file.
        what: what it should be, for the message: ``a dbt project``.

    Raises:
        ConfigError: the file can't be read, isn't YAML, or isn't a mapping. The message names a
            line but quotes nothing: these files hold secrets.
    """
    import yaml

    try:
        found = yaml.safe_load(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path}: can't be read ({error.strerror})") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        near = f" near line {mark.line + 1}" if mark else ""
        raise ConfigError(f"{path}: isn't YAML{near}; correct the file") from None
    if not isinstance(found, dict) or not found:
        raise ConfigError(f"{path}: isn't {what}: it has no keys")
    return {str(key): value for key, value in found.items()}


def render(value: object, environment: Mapping[str, str]) -> object:
    """Return a value with each ``{{ env_var(...) }}`` filled in, in lists and mappings too.

    Raises:
        NotRendered: something in it needs dbt itself (``var``, a macro) or a variable not set.
    """
    if isinstance(value, Mapping):
        return {str(key): render(item, environment) for key, item in value.items()}
    if isinstance(value, list):
        return [render(item, environment) for item in value]
    if isinstance(value, str) and "{" in value:
        return _rendered(value, environment)
    return value


def _rendered(text: str, environment: Mapping[str, str]) -> str:
    from jinja2 import StrictUndefined, TemplateError
    from jinja2.sandbox import SandboxedEnvironment

    def env_var(name: str, default: object = None) -> str:
        if name in environment:
            return environment[name]
        if default is None:
            raise NotRendered(f"the environment variable {name} isn't set")
        return str(default)

    def same(given: object) -> object:
        return given

    jinja = SandboxedEnvironment(undefined=StrictUndefined)
    jinja.globals = {"env_var": env_var}
    jinja.filters |= dict.fromkeys(("as_text", "as_native", "as_number", "as_bool"), same)
    try:
        return jinja.from_string(text).render()
    except TemplateError as error:
        # An undefined name is safe to say; other messages may quote what was computed.
        name = str(error) if "is undefined" in str(error) else type(error).__name__
        raise NotRendered(f"it needs more than env_var ({name})") from None
    except (TypeError, ValueError) as error:
        raise NotRendered(f"it needs more than env_var ({type(error).__name__})") from None
