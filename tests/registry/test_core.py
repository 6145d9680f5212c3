import importlib.metadata
import inspect
import pickle
import subprocess
import sys

import gin
import pytest

from registry import Registry, RegistryError, load_entry_points, load_plugin, reweighting_policies
from registry.core import near_matches
from registry.reweighting.recap import Recap

BUILT_IN_REWEIGHTING = [  # a name is part of every experiment that uses it
    "dwa",
    "famo",
    "gradnorm",
    "kl_only",
    "recap",
    "recap_released",
    "replayed",
    "rlw",
    "scale_invariant",
    "schedule",
    "static",
    "uniform",
    "uw",
]


class Adder:
    """Adds a number.

    And a second paragraph.
    """

    def __init__(self, amount: int = 1) -> None:
        self.amount = amount


@pytest.fixture(autouse=True)
def clean_gin():
    gin.clear_config()
    yield
    gin.clear_config()


@pytest.fixture
def family(request):
    """A family of its own for each test: gin keeps its names for the life of the process."""
    return Registry("tool", f"tools_of_{request.node.originalname}")


def test_built_in_names_of_reweighting():
    assert reweighting_policies.names() == BUILT_IN_REWEIGHTING


def test_an_entry_tells_what_it_is_and_where(family):
    assert family.register("adder")(Adder) is Adder
    entry = family.get("adder")
    assert entry.original is Adder
    assert entry.summary == "Adds a number."
    assert [str(parameter) for parameter in entry.parameters.values()] == ["amount: int = 1"]
    file, line = entry.location.rsplit(":", 1)
    assert file == __file__
    with open(__file__, encoding="utf-8") as source:
        assert source.readlines()[int(line) - 1].startswith("class Adder")
    assert family.names() == ["adder"]


def test_parameters_are_those_that_a_user_can_bind(family):
    @family.register("policy")
    class Policy:
        def __init__(self, objectives: list[str], window: int, rate: float = 0.5) -> None: ...

    @family.register("half")
    def half(value: float) -> float:
        return value / 2

    parameters = family.get("policy").parameters
    assert list(parameters) == ["window", "rate"]  # neither self nor what the engine gives
    assert parameters["window"].default is inspect.Parameter.empty
    assert parameters["rate"].default == 0.5
    assert list(family.get("half").parameters) == ["value"]


def test_functions_register_too(family):
    @family.register("half")
    def half(value: float) -> float:
        return value / 2

    assert family.build("half", 3.0) == 1.5
    assert family.get("half").summary == "(no docstring)"


def test_a_duplicate_names_both_places(family):
    family.register("adder")(Adder)
    with pytest.raises(RegistryError, match=r"tool 'adder' is registered twice: at .*test_core\.py:\d+ and at .*:\d+"):

        @family.register("adder")
        class Second: ...

    assert family.get("adder").original is Adder


@pytest.mark.parametrize("name", ["two words", "a-b", "a.b", ""])
def test_a_name_that_gin_cannot_write_is_refused(family, name):
    with pytest.raises(RegistryError, match="letters, digits and underscores"):
        family.register(name)


def test_an_unknown_name_lists_near_matches_and_ways_out():
    with pytest.raises(RegistryError) as caught:
        reweighting_policies.build("recpa", ["a"])
    assert str(caught.value).splitlines() == [
        "no reweighting policy 'recpa'",
        "  did you mean: recap, replayed?",
        "  all: recap list reweighting",
        "  yours? load its file with --plugin path/to/file.py",
    ]


def test_near_matches_forgive_dashes_and_case():
    assert near_matches("KL-only", ["kl_only", "recap"]) == ["kl_only"]
    assert near_matches("iou", ["accuracy", "IoU"]) == ["IoU"]
    assert near_matches("zzz", ["accuracy"]) == []


# ---- built-ins are imported at the first look-up


def test_builtins_load_at_the_first_look_up_even_after_gin_is_locked(tmp_path, monkeypatch):
    tmp_path.joinpath("late_tools.py").write_text(
        "from registry import Registry\nfamily = Registry('tool', 'late_tools', ['late_tools_builtin'])\n"
    )
    tmp_path.joinpath("late_tools_builtin.py").write_text(
        "from late_tools import family\n@family.register('tool')\ndef tool(size=1):\n    return size\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    from late_tools import family  # type: ignore[import-not-found]

    assert "late_tools_builtin" not in sys.modules
    gin.parse_config_files_and_bindings([], [])  # as a run does: it locks the configuration
    assert gin.config_is_locked()
    assert family.build("tool", size=3) == 3
    assert gin.config_is_locked()


def test_a_built_in_that_cannot_be_imported_fails_at_every_look_up():
    family = Registry("tool", "tools_missing", ["no_such_module_of_recap"])
    for _ in range(2):
        with pytest.raises(ModuleNotFoundError, match="no_such_module_of_recap"):
            family.names()


# ---- gin


def test_gin_binds_parameters_by_family_and_name():
    reweighting_policies.load_builtins()
    gin.parse_config("reweighting.recap.window = 3\nreweighting.static.weights = {'a': 3}")
    assert reweighting_policies.build("recap", ["a"]).window == 3
    assert reweighting_policies.build("recap", ["a"], window=4).window == 4
    assert reweighting_policies.build("static", ["a", "b"]).weights == {"a": 1.5, "b": 0.5}
    assert Recap(["a"]).window == 10  # the class itself is left as written


def test_gin_references_a_part_by_family_and_name(family):
    family.register("adder")(Adder)
    prefix = family.gin_module

    @gin.configurable(module="test_core")
    def user_of_adder(adder=None):
        return adder

    gin.parse_config(f"user_of_adder.adder = @{prefix}.adder()\n{prefix}.adder.amount = 5")
    built = user_of_adder()
    assert type(built) is Adder
    assert built.amount == 5


def test_an_unknown_parameter_in_gin_is_an_error():
    reweighting_policies.load_builtins()
    with pytest.raises(ValueError, match="windw"):
        gin.parse_config("reweighting.recap.windw = 3")


def test_what_gin_built_can_be_pickled():
    reweighting_policies.load_builtins()
    gin.parse_config("reweighting.recap.window = 1")
    policy = reweighting_policies.build("recap", ["a", "b"])
    for signals in ({"a": 2.0, "b": 1.0}, {"a": 1.0, "b": 1.0}):
        policy.update(signals)
    copy = pickle.loads(pickle.dumps(policy))
    assert type(copy) is Recap
    assert copy.weights == policy.weights


# ---- temporarily


def test_temporarily_forgets_what_was_registered_inside(family):
    family.register("adder")(Adder)
    with family.temporarily():
        family.register("passing")(lambda: None)
        assert family.names() == ["adder", "passing"]
    assert family.names() == ["adder"]


# ---- plugins

PLUGIN = """
from registry import reweighting_policies
from registry.reweighting.base import ReweightingPolicy

@reweighting_policies.register("{name}")
class Plugged(ReweightingPolicy):
    '''Weighs everything the same.'''

    def update(self, signals):
        self.check_known(signals)

    @property
    def weights(self):
        return dict.fromkeys(self.objectives, 1.0)
"""


@pytest.fixture
def no_leftovers():
    before = set(sys.modules)
    with reweighting_policies.temporarily():
        yield
    for name in set(sys.modules) - before:
        if name.startswith("recap_plugin_"):
            del sys.modules[name]


@pytest.mark.usefixtures("no_leftovers")
def test_load_plugin_registers_what_the_file_defines(tmp_path):
    file = tmp_path / "my_plugin.py"
    file.write_text(PLUGIN.format(name="from_a_file"))
    load_plugin(file)
    load_plugin(str(file))  # a second time is no duplicate
    assert reweighting_policies.get("from_a_file").location == f"{file}:5"
    policy = reweighting_policies.build("from_a_file", ["a"])
    assert pickle.loads(pickle.dumps(policy)).weights == {"a": 1.0}


def test_load_plugin_says_what_is_wrong_with_the_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"plugin file .*missing\.py' does not exist"):
        load_plugin(tmp_path / "missing.py")
    text = tmp_path / "plugin.txt"
    text.write_text("")
    with pytest.raises(ValueError, match=r"must end in \.py"):
        load_plugin(text)
    broken = tmp_path / "broken_plugin.py"
    broken.write_text("1 / 0")
    with pytest.raises(
        RegistryError, match=r"cannot be loaded: ZeroDivisionError: division by zero \(.*broken_plugin\.py:1\)"
    ):
        load_plugin(broken)
    assert "recap_plugin_broken_plugin" not in sys.modules


@pytest.mark.usefixtures("no_leftovers")
def test_a_plugin_with_a_name_that_is_taken_is_the_one_to_be_told(tmp_path):
    """In a fresh process, where the built-ins have not been imported yet."""
    file = tmp_path / "taken_plugin.py"
    file.write_text(PLUGIN.format(name="uniform"))
    code = f"from registry import load_plugin\nload_plugin({str(file)!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    last = done.stderr.strip().splitlines()[-1]
    assert "reweighting policy 'uniform' is registered twice: at " in last
    assert last.endswith(f"and at {file}:5")


def declare(monkeypatch, **entry_points):
    """Pretends that installed packages declare these plugins: name -> module."""
    declared = importlib.metadata.EntryPoints(
        importlib.metadata.EntryPoint(name, value, "recap.plugins") for name, value in entry_points.items()
    )
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda **by: declared.select(**by))


@pytest.mark.usefixtures("no_leftovers")
def test_entry_points_of_installed_packages_are_found(tmp_path, monkeypatch):
    tmp_path.joinpath("installed_plugin.py").write_text(PLUGIN.format(name="installed"))
    monkeypatch.syspath_prepend(tmp_path)
    declare(monkeypatch, mine="installed_plugin")
    assert load_entry_points() == ["mine"]
    assert "installed" in reweighting_policies.names()


@pytest.mark.usefixtures("no_leftovers")
def test_a_broken_entry_point_takes_nothing_down_and_is_named_where_a_name_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr("registry.core.FAILED_PLUGINS", {})
    tmp_path.joinpath("neighbour_plugin.py").write_text(PLUGIN.format(name="beside_a_broken_one"))
    monkeypatch.syspath_prepend(tmp_path)
    declare(monkeypatch, broken="no_such_module_of_recap", mine="neighbour_plugin")
    assert load_entry_points() == ["mine"]
    assert "beside_a_broken_one" in reweighting_policies.names()
    with pytest.raises(
        RegistryError, match=r"plugin 'broken' \(no_such_module_of_recap\) cannot be loaded: ModuleNotFound"
    ):
        reweighting_policies.get("part_of_the_broken_one")


@pytest.mark.usefixtures("no_leftovers")
@pytest.mark.parametrize("given", ["project", "project/src/in_a_package", "project/src/in_a_package/__init__.py"])
def test_a_plugin_may_be_a_package(tmp_path, given):
    package = tmp_path / "project" / "src" / "in_a_package"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("from . import policy\n")
    (package / "policy.py").write_text(PLUGIN.format(name=f"packaged_{len(given)}"))
    with reweighting_policies.temporarily():
        load_plugin(tmp_path / given)
        load_plugin(tmp_path / given)
        entry = reweighting_policies.get(f"packaged_{len(given)}")
        assert entry.origin == f"plugin {entry.location}"
        assert pickle.loads(pickle.dumps(entry.original)) is entry.original


def test_a_folder_without_a_package_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="must be a package, or hold one; it holds none"):
        load_plugin(tmp_path)


def test_where_a_part_comes_from():
    assert reweighting_policies.get("recap").origin == "built in"
