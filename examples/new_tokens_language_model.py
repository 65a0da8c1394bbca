"""Add two tokens to a language model, and train only their entries.

A small GPT-2 and a small Llama of KerasHub start from random weights and learn Python from the
source of the standard library. Then the new tokens learn to begin an import and a function.

Run it: `python examples/new_tokens_language_model.py` (it needs keras-hub and tokenizers).
"""

import ast
import pathlib
import random
import subprocess
import sys
import tempfile

import keras
import keras_hub
import numpy as np
import tokenizers

import frostline as fl

VOCABULARY, LENGTH = 600, 12
TOKENS = {"<|import|>": "import ", "<|def|>": "def "}
NEW = [VOCABULARY, VOCABULARY + 1]
FIT = {"batch_size": 128, "shuffle": False, "verbose": 0}  # KerasHub's `fit` does not shuffle
SIZES = {"num_layers": 2, "hidden_dim": 64, "intermediate_dim": 128}


def gpt2(size):
    """Tied: the embedding is also the output."""
    sizes = SIZES | {"num_heads": 4, "max_sequence_length": LENGTH, "dropout": 0.0}
    backbone = keras_hub.models.GPT2Backbone(vocabulary_size=size, **sizes)
    return keras_hub.models.GPT2CausalLM(backbone)


def llama(size):
    """Not tied: a token has a row of the embedding and a column of the output."""
    sizes = SIZES | {"num_query_heads": 4, "num_key_value_heads": 2}
    backbone = keras_hub.models.LlamaBackbone(vocabulary_size=size, **sizes)
    return keras_hub.models.LlamaCausalLM(backbone)


def compiled(model, optimizer):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, weighted_metrics=[], sampler="greedy")
    return model


class MaskedAdamW(keras.optimizers.AdamW):
    """The common recipe: let the table train, and zero the gradient of the old tokens."""

    def apply(self, grads, trainable_variables=None):
        new = (np.arange(NEW[-1] + 1) >= VOCABULARY).astype("float32")
        masks = [new[:, None] if g.shape[0] == len(new) else new for g in grads]
        grads = [keras.ops.multiply(g, mask) for g, mask in zip(grads, masks, strict=True)]
        super().apply(grads, trainable_variables)


def statements():
    """The first three lines of each top-level statement of the standard library."""
    for path in sorted(pathlib.Path(ast.__file__).parent.glob("*.py")):
        text = path.read_text(encoding="utf-8")
        lines = text.splitlines(keepends=True)
        for node in ast.parse(text).body:
            yield "".join(lines[node.lineno - 1 : node.lineno + 2])


def encoded(tokenizer, texts, firsts):
    """The ids of each text after its token from `firsts`, and a mask of the ids in use."""
    shape = (len(texts), LENGTH + 1)
    ids, used = np.zeros(shape, "int32"), np.zeros(shape, "int32")
    for row, (first, text) in enumerate(zip(firsts, tokenizer.encode_batch(texts), strict=True)):
        tokens = [first, *text.ids][: LENGTH + 1]
        ids[row, : len(tokens)], used[row, : len(tokens)] = tokens, 1
    return ids, used


def lesson(ids, used):
    """Predict each next token."""
    x = {"token_ids": ids[:, :-1], "padding_mask": used[:, :-1]}
    return {"x": x, "y": ids[:, 1:], "sample_weight": used[:, 1:], **FIT}


def generated(model, tokenizer, first):
    ids = np.full((1, LENGTH), first, "int32")
    prompt = {"token_ids": ids, "padding_mask": (np.arange(LENGTH) < 1).astype("int32")[None]}
    output = model.generate(prompt, stop_token_ids=None)["token_ids"]
    return tokenizer.decode(np.array(output)[0, 1:].tolist())


def logits(model, data):
    """The logits for a few texts."""
    return model.predict({name: ids[:8] for name, ids in data["x"].items()}, verbose=0)


def drift(model, base, copied):
    """The largest change of an entry that came from the old model."""
    now = fl.snapshot(model)
    return max(float(np.abs(now[path] - base[path])[old].max()) for path, old in copied.items())


def grow(make, tokenizer, texts, folder):
    keras.utils.set_random_seed(0)
    old = compiled(make(VOCABULARY), keras.optimizers.AdamW(0.005))
    newline = tokenizer.token_to_id("Ċ")
    old.fit(**lesson(*encoded(tokenizer, texts, [newline] * len(texts))), epochs=4)

    # A larger model. The new tokens start at the mean of the old ones.
    model = make(VOCABULARY + len(NEW))
    copied = fl.copy_weights(old, model, fill="mean")
    model.save(folder / "base.keras")
    base = fl.snapshot(model)

    # Only the new tokens train: in the embedding, and in the output if it has its own table.
    fl.train_only(model, "*token_embedding/*", fl.tokens(NEW))
    pairs = [
        (token, text)
        for text in texts
        for token, word in zip(NEW, TOKENS.values(), strict=True)
        if text.startswith(word)
    ]
    firsts, chosen = zip(*pairs, strict=True)
    ids, used = encoded(tokenizer, chosen, firsts)
    np.savez(folder / "data.npz", ids=ids, used=used)
    data = lesson(ids, used)
    compiled(model, keras.optimizers.AdamW(0.1))
    before = [generated(model, tokenizer, new) for new in NEW]
    losses = model.fit(**data, epochs=3).history["loss"]
    model.save(folder / "half.keras")
    losses += model.fit(**data, initial_epoch=3, epochs=6).history["loss"]
    fl.extract_delta(model).save(folder / "tokens.safetensors")

    subprocess.run([sys.executable, __file__, folder], check=True)
    with np.load(folder / "resumed.npz") as file:
        resumed = dict(file)

    # The same with a mask on the gradient. Every layer but the tables has `trainable=False`.
    masked = keras.saving.load_model(folder / "base.keras", compile=False)
    for variable in masked.weights:
        variable.trainable = "token_embedding" in variable.path
    compiled(masked, MaskedAdamW(0.1)).fit(**data, epochs=6)

    return {
        "trained": fl.summary(model).size - fl.summary(model).frozen,
        "entries": fl.summary(model).size,
        "losses": losses,
        "before": before,
        "after": [generated(model, tokenizer, new) for new in NEW],
        "logits": logits(model, data),
        "resumed": resumed["model"],
        "from_delta": resumed["base"],
        "delta_bytes": (folder / "tokens.safetensors").stat().st_size,
        "drift": drift(model, base, copied),
        "masked_drift": drift(masked, base, copied),
    }


def resume(folder):
    """In a new process, continue from the file of a model, and apply a delta to its base."""
    with np.load(folder / "data.npz") as file:
        data = lesson(**file)
    model = keras.saving.load_model(folder / "half.keras", compile=False)
    # The tasks of KerasHub have their own `compile`, which Keras does not call when it loads one.
    # These lines restore the optimizer's state.
    compiled(model, keras.optimizers.AdamW(0.1))
    model.optimizer.build(model.trainable_variables)
    model.load_weights(folder / "half.keras")
    model.fit(**data, initial_epoch=3, epochs=6)

    base = keras.saving.load_model(folder / "base.keras", compile=False)
    fl.apply_delta(base, folder / "tokens.safetensors", freeze=True)
    np.savez(folder / "resumed.npz", model=logits(model, data), base=logits(base, data))


def report(name, result):
    losses = result["losses"]
    print(f"{name}: {result['trained']} of {result['entries']:,} entries train")
    print(f"  loss: {losses[0]:.3f} in the first epoch, {losses[-1]:.3f} in the last")
    for token, before, after in zip(TOKENS, result["before"], result["after"], strict=True):
        print(f"  {token} generates {after!r}; before training, {before!r}")
    for title, key in (("resumed in a new process", "resumed"), ("base and delta", "from_delta")):
        print(f"  {title}: the same logits, {np.array_equal(result[key], result['logits'])}")
    print(f"  the delta file has {result['delta_bytes']:,} bytes")
    print(
        f"  old weights moved by {result['drift']}, behind a mask by {result['masked_drift']:.3f}"
    )


def main():
    texts = list(statements())
    random.Random(0).shuffle(texts)
    tokenizer = tokenizers.ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(texts, vocab_size=VOCABULARY, show_progress=False)
    tokenizer.add_special_tokens(list(TOKENS))
    results = {}
    for make in (gpt2, llama):
        with tempfile.TemporaryDirectory() as folder:
            results[make.__name__] = grow(make, tokenizer, texts, pathlib.Path(folder))
        report(make.__name__, results[make.__name__])
    return results


if __name__ == "__main__":
    resume(pathlib.Path(sys.argv[1])) if sys.argv[1:] else main()
