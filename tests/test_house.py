"""The house rules: how long, how wide, who imports whom, what is never written."""

import ast
import doctest
import importlib
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PRODUCT = [path for top in ('flan_jax', 'tasks', 'tools') for path in sorted((ROOT / top).rglob('*.py'))]
EVERYWHERE = PRODUCT + [path for top in ('configs', 'tests') for path in sorted((ROOT / top).rglob('*.py'))]

FILE_LINES, TEST_FILE_LINES = 400, 500
FUNCTION_LINES, STORY_LINES = 60, 120
PARAMETERS, POSITIONAL = 6, 2
FIELDS = 25
GIVEN_ORDER = {  # of arguments, by position; functions in functions and numba's kernels: see `own_functions`
    'flan_jax/models/layers.py:product',  # a custom_vjp: JAX passes it and its rules their arguments by position
    'flan_jax/models/layers.py:_product_forward',
    'flan_jax/models/layers.py:_product_backward',
    'flan_jax/models/layers.py:ones',  # an initialiser, (key, shape, dtype) as everywhere in JAX
    # Three tensors whose order is the same in every library.
    'flan_jax/models/attention.py:attend',
    'flan_jax/models/attention.py:dense',
    'flan_jax/models/splash.py:splash',
    'flan_jax/training/loss.py:cross_entropy',
}
STORIES = {'flan_jax/run.py:train'}  # besides every `main`: what a run does, from top to bottom
HEAVY = {'flan_jax.data.seqio_tasks'}  # imports TensorFlow


def name_of(path: pathlib.Path) -> str:
    return str(path.relative_to(ROOT))


def parse(path: pathlib.Path) -> ast.Module:
    return ast.parse(path.read_text())


def functions(paths) -> list[tuple[str, ast.FunctionDef]]:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return [
        (f'{name_of(p)}:{node.name}', node) for p in paths for node in ast.walk(parse(p)) if isinstance(node, kinds)
    ]


def own_functions(paths) -> list[tuple[str, ast.FunctionDef]]:
    """Functions and methods whose signature is ours to choose.

    Functions inside functions are handed to JAX, Optax or TensorFlow, which call them their way; numba compiles no
    keyword-only parameters.
    """
    out = []
    for path in paths:
        for node in parse(path).body:
            for item in node.body if isinstance(node, ast.ClassDef) else [node]:
                if isinstance(item, ast.FunctionDef) and 'numba' not in ' '.join(map(ast.unparse, item.decorator_list)):
                    out.append((f'{name_of(path)}:{item.name}', item))
    return out


def positional(function: ast.FunctionDef) -> list[str]:
    names = [a.arg for a in function.args.posonlyargs + function.args.args]
    return names[1:] if names[:1] in (['self'], ['cls']) else names


def classes() -> list[tuple[str, ast.ClassDef]]:
    return [(name_of(p), node) for p in PRODUCT for node in ast.walk(parse(p)) if isinstance(node, ast.ClassDef)]


def imports(path: pathlib.Path) -> set[str]:
    """Dotted names of what a file imports, wherever it does."""
    out = set()
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Import):
            out |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            out |= {f'{node.module}.{alias.name}' for alias in node.names}
    return out


def within(name: str, packages) -> bool:
    return any(name == package or name.startswith(f'{package}.') for package in packages)


def test_files_are_short():
    def limit(path):
        first = '\n'.join(path.read_text().splitlines()[:12])
        if re.search(r'kernel.*longer|longer.*kernel', first, re.DOTALL):  # a kernel's file, which says why
            return 10**6
        return TEST_FILE_LINES if path.is_relative_to(ROOT / 'tests') else FILE_LINES

    long = {name_of(p): lines for p in EVERYWHERE if (lines := len(p.read_text().splitlines())) > limit(p)}
    assert not long


def test_functions_are_short():
    long = {}
    for name, node in functions(EVERYWHERE):
        story = name in STORIES or node.name == 'main'
        if (lines := node.end_lineno - node.lineno + 1) > (STORY_LINES if story else FUNCTION_LINES):
            long[name] = lines
    assert not long


def test_functions_take_few_parameters():
    wide = {
        name: count
        for name, node in functions(PRODUCT)
        if (count := len(positional(node)) + len(node.args.kwonlyargs)) > PARAMETERS
    }
    assert not wide


def test_parameters_after_the_second_are_keyword_only():
    wide = {name: names for name, node in own_functions(PRODUCT) if len(names := positional(node)) > POSITIONAL}
    assert wide.keys() >= GIVEN_ORDER, 'an exemption nobody needs'
    assert not {name: names for name, names in wide.items() if name not in GIVEN_ORDER}


def test_dataclasses_have_few_fields():
    wide = {}
    for path, node in classes():
        fields = [item for item in node.body if isinstance(item, ast.AnnAssign)]
        if any('dataclass' in ast.unparse(d) for d in node.decorator_list) and len(fields) > FIELDS:
            wide[f'{path}:{node.name}'] = len(fields)
    assert not wide


def test_no_class_inherits_from_a_concrete_class_of_this_project():
    known = {node.name for _, node in classes()}
    abstract = {node.name for _, node in classes() if any('ABC' in ast.unparse(base) for base in node.bases)}
    abstract.add('FlanJaxError')  # the kind of all errors; none is raised as such
    foreign = ('nnx.', 'seqio.', 'optax.', 'tf.')
    deep = [
        f'{path}:{node.name}({base})'
        for path, node in classes()
        for base in map(ast.unparse, node.bases)
        if base.split('.')[-1] in known - abstract and not base.startswith(foreign)
    ]
    assert not deep
    assert not [name_of(p) for p in PRODUCT if re.search(r'raise (errors\.)?FlanJaxError', p.read_text())]


def test_a_file_is_named_after_what_it_holds():
    vague = {'utils', 'util', 'helpers', 'helper', 'common', 'misc'}
    assert not [name_of(p) for p in EVERYWHERE if vague & {p.stem, *p.relative_to(ROOT).parts}]


def test_nothing_reads_a_config_with_a_default_of_its_own():
    from flan_jax.config import Config

    configs = {'config', 'cfg', 'execution', *Config.__dataclass_fields__}
    found = []
    for path in PRODUCT:
        for node in ast.walk(parse(path)):
            if not isinstance(node, ast.Call):
                continue
            call = node.func
            if isinstance(call, ast.Name) and call.id in ('getattr', 'hasattr') and node.args:
                read = node.args[0]
            elif isinstance(call, ast.Attribute) and call.attr == 'get':
                read = call.value
            else:
                continue
            if ast.unparse(read).split('.')[-1] in configs:
                found.append(f'{name_of(path)}:{node.lineno} {ast.unparse(node)}')
    assert not found


def at_import(module: ast.Module):
    """Nodes that run when a module is imported."""
    waiting = list(module.body)
    while waiting:
        node = waiting.pop()
        main_guard = isinstance(node, ast.If) and '__main__' in ast.unparse(node.test)
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) and not main_guard:
            yield node
            waiting += ast.iter_child_nodes(node)


def test_importing_changes_neither_jax_nor_the_environment():
    pattern = re.compile(
        r'^(jax\.)?config\.update\(|^os\.environ(\[.*\]\s*[+|]?=|\.(update|setdefault|pop)\()|^os\.(putenv|unsetenv)\('
    )
    found = [
        f'{name_of(path)}:{node.lineno} {ast.unparse(node)}'
        for path in PRODUCT
        for node in at_import(parse(path))
        if isinstance(node, ast.stmt | ast.Call) and pattern.search(ast.unparse(node))
    ]
    assert not found


def test_only_the_seqio_module_and_the_tasks_may_import_tensorflow():
    heavy = ('seqio', 'tensorflow', 'tensorflow_datasets', 'tensorflow_text', 't5')
    allowed = ('flan_jax/data/seqio_tasks.py', 'tasks/', 'tools/bench/')  # a benchmark times its peers, too
    assert not [
        name_of(p) for p in PRODUCT if any(within(i, heavy) for i in imports(p)) and not name_of(p).startswith(allowed)
    ]


DIRECTIONS = {
    'flan_jax/data/': ('flan_jax.models', 'flan_jax.training', 'flan_jax.decoding', 'flan_jax.evaluation', 'tasks'),
    'flan_jax/models/': ('flan_jax.data', 'flan_jax.training', 'flan_jax.decoding', 'flan_jax.evaluation', 'tasks'),
    'flan_jax/training/': ('flan_jax.data', 'flan_jax.decoding', 'flan_jax.evaluation', 'tasks', 'seqio'),
    'flan_jax/decoding/': ('flan_jax.evaluation', 'tasks', 'seqio'),
    'flan_jax/evaluation/': ('flan_jax.run', 'tasks', 'seqio'),
    'flan_jax/batch.py': ('flan_jax.data', 'flan_jax.models', 'flan_jax.training'),
    'tasks/': ('flan_jax.models', 'flan_jax.training', 'flan_jax.decoding', 'jax', 'flax', 'tensorflow', 'seqio'),
}


@pytest.mark.parametrize('folder', DIRECTIONS)
def test_imports_go_one_way(folder):
    found = [
        f'{name_of(p)} imports {i}'
        for p in PRODUCT
        if name_of(p).startswith(folder)
        for i in sorted(imports(p))
        if within(i, DIRECTIONS[folder])
    ]
    assert not found


def test_nobody_imports_a_driver():
    tops = [p for p in (ROOT / 'flan_jax').glob('*.py') if "if __name__ == '__main__'" in p.read_text()]
    drivers = [f'flan_jax.{p.stem}' for p in tops]
    assert 'flan_jax.train' in drivers
    # A run prepares what is missing, a preview looks for what was prepared.
    allowed = {(f'flan_jax/{name}.py', 'flan_jax.prepare') for name in ('run', 'run_data', 'preview')}
    found = {
        (name_of(p), driver)
        for p in PRODUCT
        if p.is_relative_to(ROOT / 'flan_jax')
        for driver in drivers
        if any(within(i, [driver]) for i in imports(p))
    }
    assert found <= allowed


def test_training_and_models_load_no_data_code():
    program = (
        'import sys, flan_jax.training.step, flan_jax.training.state, flan_jax.models.presets\n'
        "print(*[m for m in sys.modules if m.startswith(('flan_jax.data', 'tasks', 'seqio', 'tensorflow.'))])"
    )
    done = subprocess.run([sys.executable, '-c', program], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (done.stdout.strip(), done.returncode) == ('', 0), done.stderr


def tracked() -> list[pathlib.Path]:
    listed = subprocess.run(['git', 'ls-files', '-co', '--exclude-standard'], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip('not a git checkout')
    return [ROOT / line for line in listed.stdout.splitlines() if (ROOT / line).is_file()]


def test_no_tracked_file_names_a_package_registry_or_a_place_outside():
    # Joined here so that this file does not name them either.
    hosts = [
        'pypi' + '.org',
        'python' + 'hosted',
        'registry.' + 'npmjs',
        'deb.' + 'debian',
        '/wo' + 'rk/',
        '../sha' + 'red',
    ]
    found = []
    for path in tracked():
        text = path.read_bytes().decode(errors='ignore')
        found += [f'{name_of(path)}: {host}' for host in hosts if host in text]
    assert not found


def test_what_is_left_to_do_says_why():
    mark = re.compile(r'\b(TO' + r'DO|FIX' + r'ME|XX' + r'X)\b(.*)')
    bare = [
        f'{name_of(p)}: {match.group(0)}'
        for p in EVERYWHERE
        for match in mark.finditer(p.read_text())
        if len(match.group(2).split()) < 4
    ]
    assert not bare


def test_there_is_a_readme_that_says_how_to_begin():
    assert 'python -m flan_jax.train --config=configs/' in (ROOT / 'README.md').read_text()


def test_worked_examples_in_docstrings_hold():
    attempted = 0
    for path in PRODUCT:
        module = name_of(path).removesuffix('.py').replace('/', '.').removesuffix('.__init__')
        if '>>> ' not in path.read_text() or module in HEAVY:
            continue
        result = doctest.testmod(importlib.import_module(module))
        assert not result.failed, module
        attempted += result.attempted
    assert attempted >= 20


def test_no_two_test_files_have_one_name():
    names = [p.name for p in (ROOT / 'tests').rglob('test_*.py')]
    assert len(set(names)) == len(names), sorted(name for name in set(names) if names.count(name) > 1)
