// SPDX-License-Identifier: GPL-3.0-or-later

extension TorchRuntime {
  /// Values of parameters and inputs: those of `tpplan run`, or a checkpoint's.
  static let values = #"""
    # ---------------------------------------------------------------- values
    # Those of `tpplan run`: splitmix64 (Steele, Lea & Flood 2014), keyed by the seed and a name, at the position in the checkpoint's tensor.
    GOLDEN, MASK = 0x9E3779B97F4A7C15, (1 << 64) - 1


    def mixed(z):
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


    def bits(name, index):
        hashed = 0xCBF29CE484222325
        for byte in name.encode():
            hashed = (hashed ^ byte) * 0x100000001B3 & MASK
        key = mixed(np.array([OPTIONS.seed * GOLDEN & MASK ^ hashed], np.uint64))
        return mixed((index.astype(np.uint64) + np.uint64(1)) * np.uint64(GOLDEN) + key)


    def uniform(name, index):
        """Numbers in [-1, 1)."""
        return (bits(name, index) >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-23) - np.float32(1)


    def choices(name, index, below):
        return (((bits(name, index) >> np.uint64(32)) * np.uint64(below)) >> np.uint64(32)).astype(np.int64)


    @functools.cache
    def stored():
        """The tensors of all safetensors files, flat, mapped, and whether their bits are bfloat16's."""
        types = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16}
        tensors = {}
        for path in sorted(pathlib.Path(OPTIONS.weights).glob("*.safetensors")):
            with open(path, "rb") as file:
                size = int.from_bytes(file.read(8), "little")
                header = json.loads(file.read(size))
            header.pop("__metadata__", None)
            for name, entry in header.items():
                if entry["dtype"] in types:
                    begin, end = entry["data_offsets"]
                    data = np.memmap(path, np.uint8, "r", 8 + size + begin, (end - begin,))
                    tensors[name] = data.view(types[entry["dtype"]]), entry["dtype"] == "BF16"
        return tensors


    def fail(problem):
        """Ends this rank, and with it all that torchrun has started."""
        print(f"{os.path.basename(__file__)}: {problem}", file=sys.stderr, flush=True)
        os._exit(1)   # for the same reason as at the end of train()


    def values(tensor, index, is_norm):
        if OPTIONS.weights:
            if tensor not in stored():
                fail(f"{OPTIONS.weights} has no safetensors file with a tensor {tensor} of F32, F16 or BF16")
            data, is_bfloat16 = stored()[tensor]
            if index.size and index.max() >= len(data):
                fail(f"{OPTIONS.weights}: {tensor} has {len(data)} elements, fewer than the model's")
            found = data[index]
            return (found.astype(np.uint32) << 16).view(np.float32) if is_bfloat16 else found.astype(np.float32)
        small = np.float32(0.02) * uniform(tensor, index)
        return np.float32(1) + small if is_norm else small


    def positions(parameter):
        """For each dimension the positions that this rank has on the axis tp."""
        ranges = [np.arange(extent) for extent in parameter.shape]
        if isinstance(parameter, DTensor) and parameter.placements[0].is_shard():
            mesh, cut = parameter.device_mesh, parameter.placements[0].dim
            size = -(-parameter.shape[cut] // mesh.size())
            ranges[cut] = ranges[cut][mesh.get_local_rank() * size:][:size]
        return ranges


    def offsets(factors, positions):
        total = np.zeros_like(positions)
        for extent, stride in reversed(factors):
            total += positions % extent * stride
            positions = positions // extent
        return total


    @torch.no_grad()
    def fill(part, number, module, name):
        """Gives an operator's parameters their values."""
        for key, parameter in module.named_parameters(recurse=False):
            view = VIEWS.get(part.name, {}).get(f"{name}.{key}")
            if view is None and key == "weight" and name in TIED:
                continue
            if view is None:
                strides = np.cumprod((1, *parameter.shape[:0:-1]))[::-1].tolist()
                view = View(f"{part.module}.{name}.{key}".lstrip("."), 0, [[pair] for pair in zip(parameter.shape, strides)])
            tensor, is_norm = view.tensor.replace("{i}", str(number)), isinstance(module, (nn.LayerNorm, nn.RMSNorm)) and key == "weight"
            rows, *columns = map(offsets, view.dimensions, positions(parameter))
            columns = columns[0] if columns else np.zeros(1, np.int64)
            target, size = local(parameter), max(1, (1 << 20) // max(1, len(columns)))
            for start in range(0, len(rows), size):
                some = rows[start:start + size, None] + columns[None]
                found = torch.from_numpy(values(tensor, view.first + some, is_norm))
                target[start:start + size] = found.reshape(target[start:start + size].shape)


    def inputs(first, count):
        """The inputs of some samples of the global batch, by name."""
        def made(name, below, shape):
            # Of [sample, position], tokens are numbered through all sequences, each with one that follows its last.
            samples = np.arange(first, first + count)
            if name in ("input_ids", "labels") and len(shape) == 1:
                index = samples[:, None] * (shape[0] + 1) + np.arange(shape[0]) + (name == "labels")
                return choices("tokens", index, below)
            if name == "labels":
                return choices(name, samples, below)
            if name == "pixel_values":
                size = int(np.prod(shape))
                return uniform(name, samples[:, None] * size + np.arange(size)).reshape(count, *shape)
            return np.full((count, *shape), name == "attention_mask", np.int64)
        return {name: torch.from_numpy(made(name, *what)) for name, what in INPUTS.items()}
    """#
}
