# SPDX-License-Identifier: GPL-3.0-or-later
"""Exports tiny models of random weights to ONNX, and writes what onnxruntime computes of them.

    pip install torch transformers onnx onnxruntime onnxscript safetensors
    python Tests/Fixtures/onnx/make.py

For each model NAME.onnx, NAME.inputs.safetensors and NAME.expected.safetensors beside this script; see README.md.
"""

import os
import warnings

import numpy
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file
from transformers import BertConfig, BertModel, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, ViTConfig, ViTForImageClassification

warnings.filterwarnings("ignore")
FOLDER = os.path.dirname(os.path.abspath(__file__))
VOCABULARY, POSITIONS, HIDDEN, LAYERS, HEADS, BATCH, SEQUENCE = 67, 16, 16, 2, 4, 2, 8


def randomise(model, norms=True):
    """Weights of a size at which every part of the model shows in its outputs. Without `norms` those of norms stay 1 and 0, which exporters share."""
    torch.manual_seed(7)
    for name, parameter in model.named_parameters():
        if norms or "norm" not in name.lower():
            parameter.data.normal_(1 if "ln_" in name or "norm" in name.lower() and name.endswith("weight") else 0, 0.25)
    return model.eval()


class Named(torch.nn.Module):
    """Calls a model of transformers with inputs in order, and gives its outputs in order."""

    def __init__(self, model, inputs, outputs):
        super().__init__()
        self.model, self.inputs, self.outputs = model, inputs, outputs

    def forward(self, *values):
        result = self.model(**dict(zip(self.inputs, values)), return_dict=True)
        return tuple(result[name] for name in self.outputs)


class Decoder(torch.nn.Module):
    """What the models above do not have: fused projections cut by a reshape, grouped queries, RMS norm in steps, a gated MLP, a tied head."""

    class Block(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.qkv = torch.nn.Linear(HIDDEN, HIDDEN + 2 * HIDDEN // 2, bias=False)
            self.out = torch.nn.Linear(HIDDEN, HIDDEN, bias=False)
            self.gate, self.up = torch.nn.Linear(HIDDEN, 32, bias=False), torch.nn.Linear(HIDDEN, 32, bias=False)
            self.down = torch.nn.Linear(32, HIDDEN, bias=False)
            self.norm_1, self.norm_2 = (torch.nn.Parameter(torch.ones(HIDDEN)) for _ in range(2))

        @staticmethod
        def norm(x, weight):
            return weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))

        def forward(self, x, mask):
            b, s, _ = x.shape
            qkv = self.qkv(self.norm(x, self.norm_1)).reshape(b, s, 8, 4)
            q, k, v = qkv[:, :, :4].transpose(1, 2), qkv[:, :, 4:6].transpose(1, 2), qkv[:, :, 6:].transpose(1, 2)
            k, v = (t[:, :, None].expand(b, 2, 2, s, 4).reshape(b, 4, s, 4) for t in (k, v))
            scores = (q @ k.transpose(2, 3)) * 0.3
            x = x + self.out((scores.masked_fill(~mask, -torch.inf).softmax(-1) @ v).transpose(1, 2).reshape(b, s, HIDDEN))
            y = self.norm(x, self.norm_2)
            return x + self.down(torch.nn.functional.silu(self.gate(y)) * self.up(y))

    def __init__(self):
        super().__init__()
        self.tokens = torch.nn.Embedding(VOCABULARY, HIDDEN)
        self.positions = torch.nn.Embedding(POSITIONS, HIDDEN)
        self.blocks = torch.nn.ModuleList(Decoder.Block() for _ in range(LAYERS))

    def forward(self, input_ids):
        s = input_ids.shape[1]
        x = self.tokens(input_ids) + self.positions(torch.arange(s))
        mask = torch.ones(s, s, dtype=torch.bool).tril()
        for block in self.blocks:
            x = block(x, mask)
        return x @ self.tokens.weight.T


def models():
    """name, module, names of inputs and outputs, options of the export."""
    gpt2 = dict(vocab_size=VOCABULARY, n_positions=POSITIONS, n_embd=HIDDEN, n_layer=LAYERS, n_head=HEADS, use_cache=False)
    bert = dict(vocab_size=VOCABULARY, max_position_embeddings=POSITIONS, hidden_size=HIDDEN, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
                intermediate_size=32)
    vit = dict(hidden_size=HIDDEN, num_hidden_layers=LAYERS, num_attention_heads=HEADS, intermediate_size=32, image_size=8, patch_size=4, num_labels=5)
    texts, hidden = ["input_ids", "attention_mask", "token_type_ids"], ["last_hidden_state", "pooler_output"]
    for kind, config, make, inputs, outputs in [
        ("gpt2", GPT2Config(**gpt2), GPT2LMHeadModel, ["input_ids"], ["logits"]),
        ("bert", BertConfig(**bert), BertModel, texts, hidden),
        ("vit", ViTConfig(**vit), ViTForImageClassification, ["pixel_values"], ["logits"]),
    ]:
        # Each exporter with another way of attention and norms: steps or one operator.
        for exporter, attention, opset in [("script", "eager" if kind == "gpt2" else "sdpa", 14 if kind == "bert" else 17), ("dynamo", "sdpa", 20)]:
            config._attn_implementation = "eager" if (kind, exporter) == ("vit", "dynamo") else attention
            # The older exporter lacks an operator that GPT-2 needs without a mask.
            own = inputs + (["attention_mask"] if (kind, exporter) == ("gpt2", "script") else [])
            model = randomise(make(config), norms=(kind, exporter) != ("bert", "script"))
            yield f"{kind}_{exporter}", Named(model, own, outputs), own, outputs, exporter == "dynamo", opset
    llama = LlamaConfig(vocab_size=VOCABULARY, max_position_embeddings=POSITIONS, hidden_size=HIDDEN, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
                        num_key_value_heads=2, intermediate_size=32, use_cache=False, attn_implementation="sdpa")
    yield "llama_dynamo", Named(randomise(LlamaForCausalLM(llama)), ["input_ids"], ["logits"]), ["input_ids"], ["logits"], True, 20
    for exporter in ["script", "dynamo"]:
        yield f"decoder_{exporter}", randomise(Decoder()), ["input_ids"], ["logits"], exporter == "dynamo", 17 if exporter == "script" else 20


def values(name):
    generator = numpy.random.default_rng(sum(name.encode()))
    if name == "pixel_values":
        return generator.standard_normal((BATCH, 3, 8, 8)).astype(numpy.float32)
    if name == "attention_mask":
        return (numpy.arange(SEQUENCE) < numpy.array([[SEQUENCE], [5]])).astype(numpy.int64)
    return generator.integers(0, VOCABULARY if name == "input_ids" else 2, (BATCH, SEQUENCE))


def export(name, module, inputs, outputs, dynamo, opset):
    path = f"{FOLDER}/{name}.onnx"
    arguments = tuple(torch.from_numpy(values(i)) for i in inputs)
    axes = [{0: "batch"} if i == "pixel_values" else {0: "batch", 1: "sequence"} for i in inputs]
    options = dict(input_names=inputs, output_names=outputs, opset_version=opset, dynamo=dynamo)
    if dynamo:
        shapes = [{axis: torch.export.Dim.DYNAMIC for axis in a} for a in axes]
        torch.onnx.export(module, arguments, path, dynamic_shapes=(tuple(shapes),) if isinstance(module, Named) else tuple(shapes), external_data=False, **options)
    else:
        torch.onnx.export(module, arguments, path, dynamic_axes=dict(zip(inputs, axes)), **options)
    model = onnx.load(path)
    # Of what the newer exporter notes of each node (sources, stack traces) only the modules' names stay.
    for node in model.graph.node:
        kept = [p for p in node.metadata_props if p.key == "pkg.torch.onnx.name_scopes"]
        del node.metadata_props[:]
        node.metadata_props.extend(kept)
        node.doc_string = ""
    del model.graph.value_info[:], model.graph.metadata_props[:], model.metadata_props[:]
    for value in [*model.graph.initializer, *model.graph.input, *model.graph.output]:
        del value.metadata_props[:]
    if name == "gpt2_dynamo":
        # With weights in a file beside it, which is not written over.
        if os.path.exists(f"{FOLDER}/{name}.data"):
            os.remove(f"{FOLDER}/{name}.data")
        onnx.save(model, path, save_as_external_data=True, location=f"{name}.data", size_threshold=256)
    else:
        onnx.save(model, path)
    return path


def operators():
    """By hand: operators of newer versions, and data that is kept in other fields than raw_data."""
    generator = numpy.random.default_rng(3)
    weights = []

    def weight(name, *shape, raw=True):
        array = generator.normal(0, 0.3, shape).astype(numpy.float32)
        weights.append(numpy_helper.from_array(array, name) if raw else helper.make_tensor(name, TensorProto.FLOAT, shape, array.reshape(-1)))
        return name

    def constant(name, array):
        weights.append(numpy_helper.from_array(numpy.array(array, dtype=numpy.int64), name))
        return name

    nodes, node = [], lambda op, inputs, output, **attributes: (nodes.append(helper.make_node(op, inputs, [output], name=output + "_node", **attributes)), output)[1]
    x = node("Gather", [weight("embed.weight", VOCABULARY, HIDDEN, raw=False), "input_ids"], "embedded")
    for layer in range(LAYERS):
        path = f"layers.{layer}"
        y = node("RMSNormalization", [x, weight(f"{path}.norm_1.weight", HIDDEN)], f"{path}.n1", axis=-1, epsilon=1e-5)
        q = node("MatMul", [y, weight(f"{path}.q.weight", HIDDEN, HIDDEN)], f"{path}.q")
        k = node("MatMul", [y, weight(f"{path}.k.weight", HIDDEN, 8)], f"{path}.k")
        v = node("MatMul", [y, weight(f"{path}.v.weight", HIDDEN, 8)], f"{path}.v")
        a = node("Attention", [q, k, v], f"{path}.a", is_causal=1, q_num_heads=HEADS, kv_num_heads=2)
        x = node("Add", [x, node("MatMul", [a, weight(f"{path}.o.weight", HIDDEN, HIDDEN)], f"{path}.o")], f"{path}.r1")
        y = node("LayerNormalization", [x, weight(f"{path}.norm_2.weight", HIDDEN)], f"{path}.n2", axis=-1)
        y = node("Gelu", [node("MatMul", [y, weight(f"{path}.up.weight", HIDDEN, 32)], f"{path}.u")], f"{path}.g", approximate="tanh")
        x = node("Add", [node("MatMul", [y, weight(f"{path}.down.weight", 32, HIDDEN)], f"{path}.d"), x], f"{path}.r2")
    rows = node("Reshape", [x, constant("rows", [-1, HIDDEN])], "rows_of_x")
    flat = node("Gemm", [rows, weight("head.weight", VOCABULARY, HIDDEN), weight("head.bias", VOCABULARY)], "flat", transB=1)
    shape = node("Concat", [node("Shape", ["input_ids"], "shape"), constant("vocabulary", [VOCABULARY])], "logits_shape", axis=0)
    node("Reshape", [flat, shape], "logits")
    graph = helper.make_graph(
        nodes, "operators", [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "sequence"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", "sequence", VOCABULARY])], weights)
    path = f"{FOLDER}/operators.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=11), path)
    return path


def record(path):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    feed = {i.name: values(i.name) for i in session.get_inputs()}
    names = [o.name for o in session.get_outputs()]
    save_file(feed, path.replace(".onnx", ".inputs.safetensors"))
    save_file(dict(zip(names, session.run(names, feed))), path.replace(".onnx", ".expected.safetensors"))


for model in models():
    record(export(*model))
record(operators())
