"""Sparse experts: each token goes through the few its router chooses, without dropping any (Shazeer et al. 2017)."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from flax import nnx
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Bool, Float, Int

from flan_jax.models.config import ModelConfig
from flan_jax.models.layers import MLP, activate, fan_in, product, weight


@functools.partial(jax.tree_util.register_dataclass, data_fields=['assigned', 'probability', 'tokens'], meta_fields=[])
@dataclasses.dataclass(frozen=True)
class Load:
    """How evenly experts are used: sums over tokens and layers, f32.

    Attributes:
      assigned: times each expert was chosen.
      probability: what the router gave each.
      tokens: tokens times layers.
    """

    assigned: Float[Array, '*L E']
    probability: Float[Array, '*L E']
    tokens: Float[Array, '*L']


def balance_loss(load: Load) -> Float[Array, '']:
    """E times the sum over experts of share chosen times mean probability; the number chosen a token if all are used
    evenly (Fedus et al. 2021, equations 4 to 6, over all layers at once). To be weighted by `experts.balance`.
    """
    share, mean = load.assigned / load.tokens, load.probability / load.tokens
    return jnp.sum(share * mean) * load.assigned.shape[-1]


class Experts(nnx.Module):
    """sum over the chosen e of share_e * down_e(act(gate_e(x)) * up_e(x)), plus the shared expert if there is one.

    Tokens are sorted by expert and multiplied in ragged groups, so that a token costs its own experts only.
    """

    def __init__(self, config: ModelConfig, *, rngs: nnx.Rngs):
        d, e, f = config.width, config.experts.count, config.experts.width
        self.router = weight(rngs, (d, e), axes=('embed', 'norm'), init=fan_in(d))
        # A stack of matrices, as over layers: never mixed by an optimizer.
        self.gate = weight(rngs, (e, d, f), axes=('experts', 'embed', 'expert_mlp'), init=fan_in(d))
        self.up = weight(rngs, (e, d, f), axes=('experts', 'embed', 'expert_mlp'), init=fan_in(d))
        self.down = weight(rngs, (e, f, d), axes=('experts', 'expert_mlp', 'embed'), init=fan_in(f))
        shared = config.experts.shared_width
        self.shared = None if shared is None else MLP(config, rngs=rngs, width=shared)
        self.shared_gate = None if shared is None else weight(rngs, (d, 1), axes=('embed', 'norm'), init=fan_in(d))
        self.chosen, self.renormalise = config.experts.chosen, config.experts.renormalise
        self.activation = config.activation

    def route(self, x: Float[Array, 'R D']) -> tuple[Float[Array, 'R C'], Int[Array, 'R C'], Float[Array, 'R E']]:
        """Shares of the chosen experts, which they are, and all probabilities; f32."""
        probability = jax.nn.softmax(product('RD,DE->RE', x, self.router[...], jnp.float32), axis=-1)
        shares, chosen = jax.lax.top_k(probability, self.chosen)
        if self.renormalise:
            shares = shares / jnp.sum(shares, axis=-1, keepdims=True)
        return shares, chosen, probability

    def __call__(
        self, x: Float[Array, 'B T D'], counted: Bool[Array, 'B T'] | None = None
    ) -> tuple[Float[Array, 'B T D'], Load]:
        """The mixed outputs, and the load by the `counted` tokens (all, if None)."""
        flat = x.reshape(-1, x.shape[-1])
        shares, chosen, probability = self.route(flat)
        out = self._mix(flat, shares, chosen=chosen).reshape(x.shape)
        if self.shared is not None:
            opened = jax.nn.sigmoid(product('BTD,DC->BTC', x, self.shared_gate[...]))
            out = out + self.shared(x) * opened
        used = jnp.ones(flat.shape[:1], jnp.float32) if counted is None else counted.reshape(-1).astype(jnp.float32)
        picked = jax.nn.one_hot(chosen, probability.shape[-1], dtype=jnp.float32)
        load = Load(
            jax.lax.stop_gradient(jnp.einsum('RCE,R->E', picked, used)),
            jnp.einsum('RE,R->E', probability, used),
            jnp.sum(used),
        )
        return out, load

    def _mix(self, x: Float[Array, 'R D'], shares: Float[Array, 'R C'], *, chosen: Int[Array, 'R C']) -> Array:
        order = jnp.argsort(chosen.reshape(-1))
        sizes = jnp.bincount(chosen.reshape(-1), length=self.router.shape[-1])
        rows = x[order // self.chosen]
        grouped = lambda rows, w: jax.lax.ragged_dot(rows, w[...].astype(rows.dtype), sizes)  # noqa: E731
        gate = activate(checkpoint_name(grouped(rows, self.gate), 'gate'), self.activation)
        out = grouped(gate * checkpoint_name(grouped(rows, self.up), 'up'), self.down)
        back = jnp.argsort(order)  # where each token's choices lie among the sorted rows
        out = out[back].reshape(*chosen.shape, x.shape[-1])
        return jnp.einsum('RCD,RC->RD', out, shares.astype(out.dtype))
