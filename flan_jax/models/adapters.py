"""Which weights are trained instead of a model's own, and how both make the model again.

    frozen (the base)            trained                                  assembled
    attention.query  [L D N H]   attention.query.lora_a  [L D r]     ->   attention.query: LowRank(w, a, b)
                                 attention.query.lora_b  [L r N H]
    attention.key    [L D K H]                                            attention.key

Gradients, moments and checkpoints are made of the trained tree alone; the frozen one is an argument of the step that is
never given away. What is assembled costs nothing: a weight acts where it is multiplied (`adapters_weights`).
"""

import fnmatch
import hashlib
import math
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from flan_jax import errors
from flan_jax.models.adapter_config import AdapterConfig
from flan_jax.models.adapters_quantised import quantise
from flan_jax.models.adapters_weights import Decomposed, LowRank, Prompted, Scaled, dense, norm
from flan_jax.models.layers import Adapted
from flan_jax.models.weight_tree import flat, nested

Axes = tuple[str, ...]
Tree = Mapping[str, Any]

TABLE = 'embedding.table'
MATRICES = ('query', 'key', 'value', 'output', 'gate', 'up', 'down')
DEFAULTS = {'lora': MATRICES, 'dora': MATRICES, 'ia3': ('key', 'value', 'down'), 'prompt': (TABLE,)}
PARTS = {'lora_a', 'lora_b', 'magnitude', 'factor', 'prompt', 'weight'}  # what stands in a weight's place in `trained`


def is_matrix(path: str, axes: Axes) -> bool:
    """Whether a weight multiplies activations in a block, or is the head."""
    return path == 'head.kernel' or not {'norm', 'buckets', 'vocab'} & set(axes)


def outputs(axes: Axes) -> int:
    """How many of a matrix's last axes are its results: the heads' two, or one.

    >>> outputs(('layers', 'embed', 'heads', 'head')), outputs(('layers', 'heads', 'head', 'embed'))
    (2, 1)
    """
    return 2 if axes[-1] == 'head' else 1


def stacked(axes: Axes) -> int:
    """Leading axes that only stack weights."""
    return next((i for i, axis in enumerate(axes) if axis not in ('layers', 'experts')), len(axes))


def sites(config: AdapterConfig, axes: Tree) -> dict[str, Axes]:
    """The weights an adapter acts on, and their axes.

    Raises:
      ConfigError: a pattern fits no weight of the right kind; lists near ones.
    """
    known = {path: a for path, a in flat(axes).items() if _can(config, path, axes=a)}
    patterns = config.targets or DEFAULTS.get(config.kind, ('*',))
    found: set[str] = set()
    for pattern in patterns:
        fits = {path for path in known if fnmatch.fnmatchcase(f'.{path}', f'*.{pattern}')}
        if not fits and (config.targets or config.kind == 'bias'):
            which = {'bias': 'biases', 'weights': 'weights'}.get(config.kind, 'matrices')
            last = {path.rpartition('.')[2] for path in known}
            raise errors.ConfigError(
                f'adapter.targets: no weight {pattern!r} among the {which} of this model'
                f'{errors.near(pattern, {*known, *last})}; there are {sorted(last) or "none"}'
            )
        found |= fits
    return {path: a for path, a in known.items() if path in found}


def _can(config: AdapterConfig, path: str, *, axes: Axes) -> bool:
    match config.kind:
        case 'weights':
            return True
        case 'bias':
            return path.endswith('bias') or (config.norms and path.endswith('.scale'))
        case 'prompt':
            return path == TABLE
        case _:
            return is_matrix(path, axes)


def parts(config: AdapterConfig, shapes: Tree, *, axes: Tree) -> tuple[dict[str, Any], dict[str, Any]]:
    """Shapes and logical axes of what is trained.

    Raises:
      ConfigError: a target or a layer that the model does not have.
    """
    known, found = flat(shapes), {}
    for path, names in sites(config, axes).items():
        shape = known[path].shape
        if config.layers and names[0] == 'layers':
            if config.layers[-1] >= shape[0]:
                raise errors.ConfigError(f'adapter.layers={config.layers}: {path} has {shape[0]} layers, from 0')
            shape = (len(config.layers), *shape[1:])
        found |= {f'{path}.{part}': both for part, both in _parts(config, names, shape=shape).items()}
    made = {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, (shape, _) in found.items()}
    return nested(made), nested({name: names for name, (_, names) in found.items()})


def _parts(config: AdapterConfig, axes: Axes, *, shape: tuple[int, ...]) -> dict[str, tuple[tuple[int, ...], Axes]]:
    """Part -> shape and axes, of one weight."""
    r, lead, cut = config.rank, stacked(axes), len(axes) - outputs(axes)
    low_rank = {
        'lora_a': ((*shape[:cut], r), (*axes[:cut], 'rank')),
        'lora_b': ((*shape[:lead], r, *shape[cut:]), (*axes[:lead], 'rank', *axes[cut:])),
    }
    vector = lambda sizes: ((*shape[:lead], *sizes), (*axes[:lead], *('norm',) * len(sizes)))  # noqa: E731  not decayed
    match config.kind:
        case 'lora':
            return low_rank
        case 'dora':
            return low_rank | {'magnitude': vector(shape[cut:])}
        case 'ia3':
            return {'factor': vector(shape[lead:cut] if on_inputs(axes) else shape[cut:])}
        case 'prompt':
            return {'prompt': ((config.prompt_tokens, shape[-1]), ('buckets', axes[-1]))}
        case _:
            return {'weight': (shape, axes)}


def on_inputs(axes: Axes) -> bool:
    """IA3 multiplies what goes into an MLP's last matrix, and what comes out of the others."""
    return bool({'mlp', 'expert_mlp'} & set(axes[:-1]))


def begin(config: AdapterConfig, base: Tree, *, shapes: Tree, axes: Tree, seed: int) -> dict[str, Any]:
    """First values of what is trained; the assembled model is the base.

    a is uniform within 1 / sqrt(inputs) and b zero, as in PEFT; a magnitude is the norm of the base's columns, a factor
    one; a prompt is drawn from the rows of the embedding (Lester et al. 2021, section 3.2).
    """
    known, names, out = flat(base), flat(axes), {}
    for path, like in flat(shapes).items():
        at, _, part = path.rpartition('.')
        key, w = jax.random.fold_in(jax.random.key(seed), zlib.crc32(path.encode())), known[at]
        match part:
            case 'lora_a':
                bound = math.prod(like.shape[stacked(names[at]) : -1]) ** -0.5
                out[path] = jax.random.uniform(key, like.shape, minval=-bound, maxval=bound)
            case 'lora_b':
                out[path] = jnp.zeros(like.shape)
            case 'magnitude':
                out[path] = norm(dense(w), stacked=stacked(names[at]), outputs=outputs(names[at]))
            case 'factor':
                out[path] = jnp.ones(like.shape)
            case 'prompt':
                out[path] = w[jax.random.randint(key, like.shape[:1], 0, w.shape[0])].astype(jnp.float32)
            case _:
                whole = like.shape == w.shape
                out[path] = (jnp.copy(w) if whole else w[np.array(config.layers)]).astype(jnp.float32)
    return nested(out)


def keep(config: AdapterConfig, base: Tree, *, shapes: Tree, axes: Tree) -> dict[str, Any]:
    """The base without what is trained in its place, in the type it is kept in."""
    names, replaced = flat(axes), {path: s.shape for path, s in flat(shapes).items() if path.endswith('.weight')}
    out = {}
    for path, w in flat(base).items():
        if replaced.get(f'{path}.weight') == w.shape:
            continue
        if isinstance(w, Adapted) or config.base == 'float32':
            out[path] = w
        elif config.base == 'bfloat16':
            out[path] = w.astype(jnp.bfloat16)
        else:
            out[path] = _quantised(w, config.base, path=path) if is_matrix(path, names[path]) else w
    return nested(out)


def _quantised(w: jax.Array, kind: str, *, path: str) -> Any:
    return jax.jit(lambda w: quantise(w, kind, path=path))(w)


def assemble(frozen: Tree, trained: Tree, *, config: AdapterConfig, axes: Tree) -> dict[str, Any]:
    """Weights as a model takes them; differentiable in `trained`.

    Args:
      frozen: what `keep` gave.
      trained: as `begin` made it.
      axes: of the model's own weights.
    """
    out = {name: frozen[name] for name in frozen if name not in trained}
    for name, own in trained.items():
        if not set(own) <= PARTS:
            out[name] = assemble(frozen.get(name, {}), own, config=config, axes=axes[name])
            continue
        out[name] = _weight(config, frozen.get(name), own=own, axes=axes[name])
        bias = f'{name}_bias'
        if 'factor' in own and out[name].outputs is not None and bias in frozen:
            # IA3's factor is on results with their bias.
            out[bias] = frozen[bias] * out[name].factor.astype(frozen[bias].dtype)
    return out


def _weight(config: AdapterConfig, w: Any, *, own: Mapping[str, jax.Array], axes: Axes) -> Any:
    """One weight, with its adapter around it."""
    some = config.layers if axes[0] == 'layers' else ()

    def spread(value: jax.Array, fill: float) -> jax.Array:
        """From the chosen layers to all."""
        if not some:
            return value
        return jnp.full((w.shape[0], *value.shape[1:]), fill, value.dtype).at[np.array(some)].set(value)

    if 'weight' in own:
        return own['weight'] if w is None else w.at[np.array(some)].set(own['weight'].astype(w.dtype))
    if 'prompt' in own:
        return Prompted(w, own['prompt'])
    if 'factor' in own:
        factor, given = spread(own['factor'], 1.0), outputs(axes)
        return Scaled(w, factor, None if on_inputs(axes) else given)
    low = LowRank(w, spread(own['lora_a'], 0.0), spread(own['lora_b'], 0.0), config.scale)
    return Decomposed(low, own['magnitude']) if 'magnitude' in own else low


def merge(params: Tree) -> dict[str, Any]:
    """Assembled weights as plain arrays, for export or to be tuned again.

    Raises:
      ConfigError: they have a prompt, which is no part of any weight.
    """
    leaves = jax.tree.leaves(params, is_leaf=_is_adapted)
    if any(isinstance(leaf, Prompted) for leaf in leaves):
        raise errors.ConfigError('a tuned prompt cannot be merged into weights; export it with --format=peft instead')
    return jax.tree.map(dense, dict(params), is_leaf=_is_adapted)


def unmerge(params: Tree, trained: Tree, *, config: AdapterConfig, axes: Tree) -> dict[str, Any]:
    """The base again, from merged weights and the adapter; equal up to rounding.

    Raises:
      ConfigError: merging forgets what would be needed.
    """
    if config.kind not in ('lora', 'ia3'):
        raise errors.ConfigError(f'merging {config.kind} forgets the base; keep the weights it was merged into')
    out = assemble(params, trained, config=config, axes=axes)

    def undo(w: Any) -> Any:
        if isinstance(w, LowRank):
            return w.w - w.delta().astype(w.w.dtype)
        return w.w / w.wide().astype(w.w.dtype) if isinstance(w, Scaled) else w

    found, before = flat(jax.tree.map(undo, out, is_leaf=_is_adapted)), flat(params)
    for path, w in flat(out).items():
        if isinstance(w, Scaled) and w.outputs is not None and f'{path}_bias' in before:
            found[f'{path}_bias'] = before[f'{path}_bias'] / w.factor.astype(before[f'{path}_bias'].dtype)
    return nested(found)


def _is_adapted(leaf: Any) -> bool:
    return isinstance(leaf, Adapted)


def fingerprint(frozen: Tree, *, salt: str = '') -> str:
    """Of numbers that are not trained: the same on any mesh, another one if any of them or the salt is another."""
    return digest(sums(frozen), salt=salt)


def digest(told: Iterable[str], *, salt: str = '') -> str:
    """The fingerprint of trees whose `sums` are given, in any order."""
    return hashlib.sha256('\n'.join([salt, *sorted(told)]).encode()).hexdigest()[:16]


def sums(tree: Tree) -> list[str]:
    """Each weight's path and a sum over its bits.

    Sums of 32-bit integers, each number's bits times an odd number that depends on where it stands, do not care for the
    order in which devices add them up.
    """

    def one(x: jax.Array) -> jax.Array:
        bits = {4: jnp.uint32, 2: jnp.uint16}.get(x.dtype.itemsize) if jnp.issubdtype(x.dtype, jnp.floating) else None
        x = (x if bits is None else jax.lax.bitcast_convert_type(x, bits)).astype(jnp.uint32)
        at = jnp.zeros(x.shape, jnp.uint32)
        for axis, width in enumerate(x.shape):
            at = at * jnp.uint32(width) + jax.lax.broadcasted_iota(jnp.uint32, x.shape, axis)
        return jnp.sum((x + jnp.uint32(1)) * (at * jnp.uint32(0x9E3779B2) + jnp.uint32(1)), dtype=jnp.uint32)

    found = jax.jit(lambda tree: jax.tree.map(one, tree))(tree)
    return [f'{jax.tree_util.keystr(path)} {int(value)}' for path, value in jax.tree_util.tree_leaves_with_path(found)]
