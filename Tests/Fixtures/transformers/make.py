# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes what Hugging Face's transformers computes for tiny models: python make.py [NAME…]

Needs torch, transformers and safetensors. Each folder gets config.json, model.safetensors, inputs.safetensors, and what is expected: the outputs
and gradients of the first step, and the losses of five AdamW steps (learning rate 1e-4, weight decay 0.01 on everything), in fp32.
"""
import copy
import json
import os
import sys

import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM, CLIPModel

BATCH, SEQUENCE, VOCABULARY = 4, 10, 37
COMMON = {"hidden_size": 16, "num_attention_heads": 4, "num_hidden_layers": 2, "vocab_size": VOCABULARY}
GATED = {"num_key_value_heads": 2, "intermediate_size": 24, "max_position_embeddings": 32, "rms_norm_eps": 1e-5, "hidden_act": "silu"}

MODELS = {
    "qwen2": {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], **COMMON, **GATED, "rope_theta": 1000000.0,
              "tie_word_embeddings": False, "use_sliding_window": False, "sliding_window": 8},
    "qwen3": {"model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"], **COMMON, **GATED, "head_dim": 6, "rope_theta": 1000000.0,
              "attention_bias": False, "tie_word_embeddings": True},
    "gemma": {"model_type": "gemma", "architectures": ["GemmaForCausalLM"], **COMMON, **GATED, "num_key_value_heads": 1, "head_dim": 6,
              "hidden_act": "gelu_pytorch_tanh", "rope_theta": 10000.0, "pad_token_id": None},
    "phi3": {"model_type": "phi3", "architectures": ["Phi3ForCausalLM"], **COMMON, **GATED, "rope_theta": 10000.0, "rope_scaling": None,
             "partial_rotary_factor": 0.5, "sliding_window": None, "pad_token_id": None, "eos_token_id": 2},
    "gpt_neox": {"model_type": "gpt_neox", "architectures": ["GPTNeoXForCausalLM"], **COMMON, "intermediate_size": 24, "rotary_pct": 0.5,
                 "rotary_emb_base": 5000, "max_position_embeddings": 32, "hidden_act": "gelu"},
    "gpt_neox_sequential": {"model_type": "gpt_neox", "architectures": ["GPTNeoXForCausalLM"], **COMMON, "intermediate_size": 24,
                            "rotary_pct": 1.0, "max_position_embeddings": 32, "use_parallel_residual": False, "attention_bias": False},
    "opt": {"model_type": "opt", "architectures": ["OPTForCausalLM"], **COMMON, "ffn_dim": 24, "max_position_embeddings": 16, "dropout": 0.0,
            "word_embed_proj_dim": 16, "pad_token_id": None},
    "opt_norms_after": {"model_type": "opt", "architectures": ["OPTForCausalLM"], **COMMON, "ffn_dim": 24, "max_position_embeddings": 16,
                        "dropout": 0.0, "do_layer_norm_before": False, "pad_token_id": None, "activation_function": "gelu"},
    "mixtral": {"model_type": "mixtral", "architectures": ["MixtralForCausalLM"], **COMMON, **GATED, "intermediate_size": 12,
                "num_local_experts": 5, "num_experts_per_tok": 2, "sliding_window": None, "rope_theta": 1000000.0},
    "qwen2_moe": {"model_type": "qwen2_moe", "architectures": ["Qwen2MoeForCausalLM"], **COMMON, **GATED, "num_experts": 5,
                  "num_experts_per_tok": 3, "moe_intermediate_size": 10, "shared_expert_intermediate_size": 14, "rope_theta": 1000000.0},
    "qwen3_moe": {"model_type": "qwen3_moe", "architectures": ["Qwen3MoeForCausalLM"], **COMMON, **GATED, "head_dim": 6, "num_experts": 5,
                  "num_experts_per_tok": 2, "moe_intermediate_size": 10, "norm_topk_prob": True, "rope_theta": 1000000.0},
    "clip": {"model_type": "clip", "architectures": ["CLIPModel"], "projection_dim": 10,
             "text_config": {"hidden_size": 12, "intermediate_size": 20, "num_hidden_layers": 2, "num_attention_heads": 2,
                             "vocab_size": VOCABULARY, "max_position_embeddings": 16, "eos_token_id": 5, "bos_token_id": 0, "pad_token_id": 1},
             "vision_config": {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4,
                               "image_size": 12, "patch_size": 4, "num_channels": 2}},
}


def fill(model, scale=0.3):
    """Weights so large that every part of the model shows in its results."""
    generator = torch.Generator().manual_seed(1)
    for name, parameter in sorted(model.named_parameters()):
        noise = torch.randn(parameter.shape, generator=generator)
        is_norm = "norm" in name and name.endswith("weight") and "gemma" not in model.config.model_type
        with torch.no_grad():
            parameter.copy_(1 + 0.2 * noise if is_norm else (scale if parameter.dim() > 1 else 0.1) * noise)


def save_experts_gradients(model, path):
    """Gradients under the names of published checkpoints, which have a tensor for each expert where the library stacks them."""
    twin = copy.deepcopy(model)
    for own, gradient in zip(twin.parameters(), [parameter.grad for parameter in model.parameters()]):
        own.data = gradient.clone()
    twin.save_pretrained("build", safe_serialization=True)
    os.replace("build/model.safetensors", path)


def save(tensors, path):
    save_file({name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}, path)


def language_model(name, config):
    plain = {"attn_implementation": "eager"} | ({"experts_implementation": "eager"} if "num_experts_per_tok" in config else {})
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(name), **plain).float()
    fill(model)
    tokens = torch.randint(0, VOCABULARY, (BATCH, SEQUENCE + 1), generator=torch.Generator().manual_seed(2))
    inputs = {"input_ids": tokens[:, :-1], "labels": tokens[:, 1:]}

    def step():
        logits = model(input_ids=inputs["input_ids"]).logits
        return {"logits": logits}, torch.nn.functional.cross_entropy(logits.flatten(0, 1), inputs["labels"].flatten())

    return model, inputs, step


def two_towers(name, config):
    model = CLIPModel._from_config(AutoConfig.from_pretrained(name), attn_implementation="eager").float()
    # Smaller ones, so that the gradients of the keys' biases, which are 0 but for rounding, are so beside the others, too.
    fill(model, 0.07)
    generator = torch.Generator().manual_seed(2)
    tokens = torch.randint(6, VOCABULARY, (BATCH, SEQUENCE), generator=generator)
    # The end of each text, at another place; one text has two.
    for row, place in enumerate([3, 9, 6, 4]):
        tokens[row, place] = config["text_config"]["eos_token_id"]
    tokens[0, 7] = config["text_config"]["eos_token_id"]
    vision = config["vision_config"]
    pixels = torch.randn((BATCH, vision["num_channels"], vision["image_size"], vision["image_size"]), generator=generator)
    inputs = {"input_ids": tokens, "pixel_values": pixels}

    def step():
        result = model(**inputs, return_loss=True)
        return {key: result[key] for key in ("logits_per_text", "text_embeds", "image_embeds")}, result.loss

    return model, inputs, step


def make(name):
    config = MODELS[name]
    os.makedirs(name, exist_ok=True)
    with open(f"{name}/config.json", "w") as file:
        json.dump(config, file, indent=1)
        file.write("\n")
    model, inputs, step = (two_towers if config["model_type"] == "clip" else language_model)(name, config)
    model.eval()
    # As `save_pretrained` writes it: the names of published checkpoints, tied weights once.
    model.save_pretrained("build", safe_serialization=True)
    os.replace("build/model.safetensors", f"{name}/model.safetensors")
    save({key: value.to(torch.int32) if not value.is_floating_point() else value for key, value in inputs.items()}, f"{name}/inputs.safetensors")
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.01)
    losses = []
    for index in range(5):
        outputs, loss = step()
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        if index == 0:
            save(outputs, f"{name}/expected.safetensors")
            gradients = {key: value.grad for key, value in model.named_parameters() if value.grad is not None}
            # Published checkpoints of GPT-NeoX call the head so.
            if config["model_type"] == "gpt_neox":
                gradients = {key.replace("lm_head", "embed_out"): value for key, value in gradients.items()}
            save(gradients, f"{name}/expected_grads.safetensors")
            if any("experts" in key for key in gradients):
                save_experts_gradients(model, f"{name}/expected_grads.safetensors")
        optimizer.step()
    with open(f"{name}/expected.json", "w") as file:
        json.dump({"train_losses": losses, "torch": torch.__version__}, file)
        file.write("\n")


if __name__ == "__main__":
    os.chdir(os.path.dirname(os.path.abspath(__file__)))
    for name in sys.argv[1:] or MODELS:
        make(name)
