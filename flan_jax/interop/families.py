"""The families that can be read and written, each a row: its keys, what is fixed, its rules, its tensor names."""

from flan_jax import errors
from flan_jax.interop import weight_names
from flan_jax.interop.config_keys import (
    Family,
    Fields,
    Rule,
    Seen,
    Values,
    activation,
    heads,
    same_bias,
    softcap,
    t5_activation,
)
from flan_jax.interop.rope_keys import gemma3_rope, listed_windows, one_window, rope, skipped_rope, switched_windows
from flan_jax.models.config import ModelConfig

SIZES = {'vocab_size': 'vocab_size', 'num_hidden_layers': 'layers', 'tie_word_embeddings': 'tied_embeddings'}
DECODER = SIZES | {'intermediate_size': 'mlp_width', 'rms_norm_eps': 'norm_eps'}
UNTIED, TIED = {'tie_word_embeddings': False}, {'tie_word_embeddings': True}
SILU = activation('hidden_act', 'silu')
LAYER_NORM = {'norm.kind': 'layer', 'mlp.gated': False, 'mlp.bias': True}
GEMMA = {'norm.offset': 1.0, 'norm.place': 'both', 'embedding.scaled': True}
GEMMA_KEYS = DECODER | {'query_pre_attn_scalar': 'attention.scale_width'}
GEMMA_DEFAULTS = TIED | {'rms_norm_eps': 1e-6, 'query_pre_attn_scalar': 256}
GEMMA_RULES = (
    heads(kv=4, head_width=256, even=True),
    activation('hidden_activation', 'gelu_pytorch_tanh', unread='hidden_act'),
    same_bias('attention_bias', default=False),
)
# What some files say besides of things that the family has no choice of.
NO_BIASES = {'attention_bias': False, 'mlp_bias': False}
QUERY_BIASES = {'qkv_bias': True, 'mlp_bias': False, 'use_mrope': False}


def _llama(name: str, architecture: str, *rules: Rule, width: Rule = heads(), **changes) -> Family:
    values = {
        'table': weight_names.LLAMA, 'keys': DECODER, 'defaults': UNTIED | {'rms_norm_eps': 1e-6}, 'fixed': {},
    } | changes  # fmt: skip
    return Family(name, architecture, rules=(width, SILU, *rules), **values)


def _length_of_positions() -> Rule:
    """OPT: the table has two rows before position 0."""

    def read(seen: Seen) -> Fields:
        length = seen.need('max_position_embeddings')
        if seen.take('word_embed_proj_dim', seen.need('hidden_size')) != seen.need('hidden_size'):
            raise seen.refuse('word_embed_proj_dim', 'embeddings must be as wide as the model')
        return {'max_length': length, 'embedding.positions': length + 2, 'embedding.offset': 2}

    return read, lambda config: {'max_position_embeddings': (config.embedding.positions or 2) - 2}


def _four_times() -> Rule:
    """BLOOM: the MLP's width is four times the model's, and has no key."""

    def read(seen: Seen) -> Fields:
        seen.take('n_inner')
        width = seen.take('n_embed') or seen.need('hidden_size')
        seen.take('hidden_size')
        count = _either(seen, 'n_head', other='num_attention_heads')
        layers = _either(seen, 'n_layer', other='num_hidden_layers')
        sizes = {'width': width, 'heads': count, 'kv_heads': count, 'head_width': width // count, 'layers': layers}
        return sizes | {'mlp_width': 4 * width}

    def write(config: ModelConfig) -> Values:
        return {'hidden_size': config.width, 'n_head': config.heads, 'n_layer': config.layers}

    return read, write


def _either(seen: Seen, key: str, *, other: str) -> int:
    """A number with two names."""
    value = seen.take(key) or seen.need(other)
    if seen.take(other, value) != value:
        raise seen.refuse(key, f'{other}={seen[other]!r} says another')
    return value


def _t5_layers() -> Rule:
    def read(seen: Seen) -> Fields:
        layers = seen.need('num_layers')
        count = seen.need('num_heads')
        seen.take('num_hidden_layers'), seen.take('num_attention_heads'), seen.take('hidden_size')
        decoder = seen.take('num_decoder_layers', layers)
        # Whether the head is tied is for the file to say; T5 1.0 is known by scaling what its head reads, which the
        # key for tying has come to stand for.
        tied = seen.take('tie_word_embeddings', True)
        scaled = bool(seen.take('scale_decoder_outputs', tied)) and seen['model_type'] == 't5'
        fields = {'encoder_layers': layers, 'layers': decoder, 'heads': count, 'kv_heads': count}
        return fields | {'tied_embeddings': tied, 'embedding.scaled_head': scaled}

    def write(config: ModelConfig) -> Values:
        values = {'num_layers': config.encoder_layers, 'num_decoder_layers': config.layers, 'num_heads': config.heads}
        tied = config.tied_embeddings and config.embedding.scaled_head
        return values | {'tie_word_embeddings': tied}

    return read, write


def _experts(defaults: Values, *, shared: bool) -> Rule:
    def read(seen: Seen) -> Fields:
        step = seen.take('decoder_sparse_step', 1)
        if step != 1:
            raise seen.refuse('decoder_sparse_step', 'every layer must have experts')
        if seen.take('mlp_only_layers', []):
            raise seen.refuse('mlp_only_layers', 'every layer must have experts')
        if seen.take('use_sliding_window', False):
            raise seen.refuse('use_sliding_window', 'no window is known in this family')
        if set(seen.take('layer_types', [])) - {'full_attention'}:
            raise seen.refuse('layer_types', 'no window is known in this family')
        for key in ('sliding_window', 'max_window_layers'):
            seen.take(key)
        take = lambda key: seen.take(key, defaults.get(key))  # noqa: E731
        fields = {
            'experts.count': seen.take('num_local_experts') or take('num_experts'),
            'experts.chosen': take('num_experts_per_tok'),
            'experts.width': take('moe_intermediate_size'),
            'experts.renormalise': bool(take('norm_topk_prob')),
            'experts.balance': take('router_aux_loss_coef'),
            'experts.shared_width': take('shared_expert_intermediate_size') if shared else None,
        }
        return _enough(seen, fields)

    def write(config: ModelConfig) -> Values:
        ours = config.experts
        values = {
            'num_experts': ours.count, 'num_experts_per_tok': ours.chosen, 'moe_intermediate_size': ours.width,
            'norm_topk_prob': ours.renormalise, 'router_aux_loss_coef': ours.balance,
        }  # fmt: skip
        return values | ({'shared_expert_intermediate_size': ours.shared_width} if shared else {})

    return read, write


def _enough(seen: Seen, fields: Fields) -> Fields:
    if fields['experts.chosen'] > fields['experts.count']:
        told = f'a token goes through {fields["experts.chosen"]} of {fields["experts.count"]} experts'
        raise seen.refuse('num_experts_per_tok', told)
    return fields


def _mixtral_experts() -> Rule:
    def read(seen: Seen) -> Fields:
        fields = {'experts.count': seen.take('num_local_experts', 8), 'experts.renormalise': True}
        fields |= {'experts.chosen': seen.take('num_experts_per_tok', 2)}
        fields |= {'experts.balance': seen.take('router_aux_loss_coef', 0.001)}
        return _enough(seen, fields) | {'experts.width': seen.need('intermediate_size')}

    def write(config: ModelConfig) -> Values:
        ours = config.experts
        return {
            'num_local_experts': ours.count, 'num_experts_per_tok': ours.chosen, 'router_aux_loss_coef': ours.balance,
            'intermediate_size': ours.width,
        }  # fmt: skip

    return read, write


def _t5(name: str, architecture: str, *, table: weight_names.Table = weight_names.T5) -> Family:
    return Family(
        name, architecture, table,
        keys={
            'vocab_size': 'vocab_size', 'd_model': 'width', 'd_kv': 'head_width', 'd_ff': 'mlp_width',
            'relative_attention_num_buckets': 'relative_buckets', 'layer_norm_epsilon': 'norm_eps',
            'relative_attention_max_distance': 'relative_max_distance',
        },
        defaults={'relative_attention_max_distance': 128, 'layer_norm_epsilon': 1e-6},
        fixed={'positions': 'relative_bias', 'scaled_attention': False},
        rules=(_t5_layers(), t5_activation('gated-gelu' if name == 'mt5' else 'relu')),
        unused=(r'(encoder|decoder)\.embed_tokens\.weight',
                r'decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight'),
    )  # fmt: skip


QWEN_BIAS = {'attention.bias': True}
FAMILIES = (
    _llama('llama', 'LlamaForCausalLM', rope(), same_bias('attention_bias', default=False), width=heads(even=True),
           keys=DECODER | {'mlp_bias': 'mlp.bias'}, only={'rope_interleaved': False},
           defaults=UNTIED | {'mlp_bias': False, 'rms_norm_eps': 1e-6}),
    _llama('mistral', 'MistralForCausalLM', rope(), one_window(4096), width=heads(kv=8), only=NO_BIASES),
    _llama('qwen2', 'Qwen2ForCausalLM', rope(), switched_windows(4096), width=heads(kv=32), fixed=QWEN_BIAS,
           only=QUERY_BIASES),
    _llama('qwen3', 'Qwen3ForCausalLM', rope(), switched_windows(4096), same_bias('attention_bias', default=False),
           width=heads(kv=32, head_width=128), fixed={'norm.query_key': 'head'}),
    _llama('smollm3', 'SmolLM3ForCausalLM', rope(theta=2_000_000.0), skipped_rope(),
           switched_windows(None, skipped=True), same_bias('attention_bias', default=False), width=heads(kv=4),
           keys=DECODER | {'mlp_bias': 'mlp.bias'}, defaults=TIED | {'mlp_bias': False, 'rms_norm_eps': 1e-6}),
    _llama('olmo2', 'Olmo2ForCausalLM', rope(), same_bias('attention_bias', default=False),
           table=weight_names.OLMO2, fixed={'norm.place': 'post', 'norm.query_key': 'all'},
           defaults=UNTIED | {'rms_norm_eps': 1e-5}, only={'clip_qkv': None}),
    _llama('phi3', 'Phi3ForCausalLM', rope(share_key='partial_rotary_factor'), one_window(None),
           table=weight_names.PHI3,
           defaults=UNTIED | {'rms_norm_eps': 1e-5},
           only={'attention_bias': False, 'lm_head_bias': False, 'mlp_bias': False, 'full_attn_mod': 1,
                 'interpolate_factor': 1}),
    _llama('mixtral', 'MixtralForCausalLM', rope(theta=1_000_000.0), one_window(None), _mixtral_experts(),
           table=weight_names.MIXTRAL, defaults=UNTIED | {'rms_norm_eps': 1e-5}, width=heads(kv=8), only=NO_BIASES),
    Family('qwen2_moe', 'Qwen2MoeForCausalLM', weight_names.QWEN_MOE, DECODER, UNTIED | {'rms_norm_eps': 1e-6},
           QWEN_BIAS, only=QUERY_BIASES, rules=(
               heads(kv=16), SILU, rope(),
               _experts({'num_experts': 60, 'num_experts_per_tok': 4, 'moe_intermediate_size': 1408,
                         'shared_expert_intermediate_size': 5632, 'norm_topk_prob': False,
                         'router_aux_loss_coef': 0.001}, shared=True))),
    Family('qwen3_moe', 'Qwen3MoeForCausalLM', weight_names.QWEN_MOE, DECODER, UNTIED | {'rms_norm_eps': 1e-6},
           {'norm.query_key': 'head'}, rules=(
               heads(kv=4), SILU, rope(), same_bias('attention_bias', default=False),
               _experts({'num_experts': 128, 'num_experts_per_tok': 8, 'moe_intermediate_size': 768,
                         'norm_topk_prob': False, 'router_aux_loss_coef': 0.001}, shared=False))),
    Family('gemma2', 'Gemma2ForCausalLM', weight_names.GEMMA, GEMMA_KEYS, GEMMA_DEFAULTS, GEMMA,
           only={'use_bidirectional_attention': False}, rules=(
               *GEMMA_RULES, rope(), softcap('attn_logit_softcapping', 'attention.softcap', absent=50.0),
               softcap('final_logit_softcapping', 'logit_softcap', absent=30.0), listed_windows(4096, pattern=2))),
    Family('gemma3_text', 'Gemma3ForCausalLM', weight_names.GEMMA, GEMMA_KEYS, GEMMA_DEFAULTS,
           GEMMA | {'norm.query_key': 'head'},
           # transformers reads a bound of the scores, and does not use it.
           only={'use_bidirectional_attention': False, 'attn_logit_softcapping': None}, rules=(
               *GEMMA_RULES, gemma3_rope(), softcap('final_logit_softcapping', 'logit_softcap', absent=None),
               listed_windows(4096, pattern=6, pattern_key='sliding_window_pattern'))),
    _t5('t5', 'T5ForConditionalGeneration'),
    _t5('mt5', 'MT5ForConditionalGeneration'),
    Family('opt', 'OPTForCausalLM', weight_names.OPT, SIZES | {'ffn_dim': 'mlp_width'}, TIED,
           LAYER_NORM | {'positions': 'learned', 'norm_eps': 1e-5}, unused=(), rules=(
               heads(width_key=None, kv_key=None), activation('activation_function', 'relu'), _length_of_positions(),
               same_bias('enable_bias', default=True)),
           only={'do_layer_norm_before': True, '_remove_final_layer_norm': False,
                 'layer_norm_elementwise_affine': True}),
    Family('bloom', 'BloomForCausalLM', weight_names.BLOOM,
           {'vocab_size': 'vocab_size', 'tie_word_embeddings': 'tied_embeddings', 'layer_norm_epsilon': 'norm_eps'},
           TIED | {'layer_norm_epsilon': 1e-5},
           LAYER_NORM | {'positions': 'alibi', 'norm.embedding': True, 'activation': 'gelu_tanh',
                         'attention.bias': True, 'attention.output_bias': True},
           rules=(_four_times(),), unused=(),
           only={'apply_residual_connection_post_layernorm': False}),
    Family('gpt_neox', 'GPTNeoXForCausalLM', weight_names.NEOX,
           SIZES | {'intermediate_size': 'mlp_width', 'layer_norm_eps': 'norm_eps'},
           UNTIED | {'layer_norm_eps': 1e-5}, LAYER_NORM | {'norm.place': 'parallel'},
           rules=(heads(width_key=None, kv_key=None), activation('hidden_act', 'gelu'),
                  same_bias('attention_bias', default=True),
                  rope(theta_key='rotary_emb_base', share=0.25, share_key='rotary_pct')),
           only={'use_parallel_residual': True}, unused=(r'.*attention\.(bias|masked_bias|rotary_emb\.inv_freq)',)),
)  # fmt: skip
# T5 1.0 has no gate, and its inner matrix a name of its own.
PLAIN_T5 = _t5('t5', 'T5ForConditionalGeneration', table=weight_names.T5_PLAIN)
BY_NAME = {family.name: family for family in FAMILIES}


def family(name: str) -> Family:
    """By `model_type`.

    Raises:
      ConfigError: none of that name; lists those there are.
    """
    if name not in BY_NAME:
        raise errors.ConfigError(
            f'no family {name!r}{errors.near(name, BY_NAME)}; model_type can be {", ".join(sorted(BY_NAME))}'
        )
    return BY_NAME[name]


def family_of(config: ModelConfig) -> Family:
    """The first family that can say all a model does.

    Raises:
      ConfigError: there is none; tells what the nearest has no key for.
    """
    told = []
    for each in FAMILIES:
        try:
            each.write(config)
            return PLAIN_T5 if each.name == 't5' and not config.mlp.gated else each
        except errors.ConfigError as error:
            told.append(str(error))
    raise errors.ConfigError(f'no family can represent this model; {min(told, key=len)}')
