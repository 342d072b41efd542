// SPDX-License-Identifier: GPL-3.0-or-later

extension TorchRuntime {
  /// What puts a model, or a stage of it, on the mesh as the tables say, and trains it.
  static let parallel = #"""
    # ---------------------------------------------------------------- the tables carried out
    def local(tensor):
        return tensor.to_local() if isinstance(tensor, DTensor) else tensor


    @functools.cache
    def joined(mesh, axes):
        """Some axes of the mesh as one."""
        names = axes.split()
        return mesh[names[0]] if len(names) == 1 else mesh[tuple(names)]._flatten()


    def operators(rows):
        """The rows of operators whose modules are theirs alone: a bias stands in the module of its product."""
        return [name for name in rows if not (name.endswith(".bias") and name[:-5] in rows)]


    def weights(module, name, rows):
        """An operator's parameters, with the module that holds them."""
        if name not in operators(rows):
            owner = module.get_submodule(name[:-5])
            return owner, [owner.bias]
        owner = module.get_submodule(name)
        return owner, [p for key, p in owner.named_parameters(recurse=False) if not (key == "bias" and f"{name}.bias" in rows)]


    class Sums:
        """Sums gradients over ranks that hold a weight whole and see other data, each as soon as it is complete."""

        def __init__(self):
            self.pending, self.passes = [], {}

        def add(self, parameter, group):
            def send(parameter):
                self.passes[parameter] += 1
                if self.passes[parameter] % JOB["micro_batches"] == 0:
                    self.pending.append(dist.all_reduce(local(parameter.grad), group=group, async_op=True))
            if parameter not in self.passes:
                self.passes[parameter] = 0
                parameter.register_post_accumulate_grad_hook(send)

        def finish(self, parameters):
            while self.pending:
                self.pending.pop().wait()
            for parameter in parameters:
                # Where a module has a part of each sequence, a sum over tp is still due.
                if isinstance(parameter.grad, DTensor) and parameter.grad.placements != parameter.placements:
                    parameter.grad = parameter.grad.redistribute(placements=parameter.placements)


    def share_out(model, module, rows, mesh, shards):
        """ZeRO by FSDP. Of stages 1 and 2 weights stay whole from the forward to the backward pass; of stage 1 gradients do, until the last micro-batch."""
        groups = {}
        for name, row in rows.items():
            if row.zero and row.over:
                owner, own = weights(module, name, rows)
                owners, members = groups.setdefault((row.zero, row.over), ([], set()))
                owners += [owner] if owner not in owners else []
                members.update(own)
        for (zero, over), (owners, members) in groups.items():
            units = owners if len(groups) > 1 or module is model else [module]
            others = {p for unit in units for p in unit.parameters()} - members
            fully_shard(units, mesh=joined(mesh, over), reshard_after_forward=zero == 3, ignored_params=others)
            units[0].set_gradient_divide_factor(1.0)
            units[0].set_force_sum_reduction_for_comms(True)
            shards.append((units[0], zero))


    def parallelize(model, mesh, device, sums):
        """Carries out PARTS and PLAN. Layer by layer, so that no rank holds more than one layer's weights before they are shared out."""
        shards, trains = [], JOB["mode"] == "train"
        for part, number, module, rows in parts(model):
            styles = {name: row.style for name, row in rows.items() if row.style is not None}
            if styles:
                parallelize_module(module, mesh["tp"], styles, src_data_rank=None)
            for name in operators(rows):
                owner = module.get_submodule(name)
                owner.to_empty(device=device, recurse=False)
                fill(part, number, owner, name)
            if part.module and trains:
                share_out(model, module, rows, mesh, shards)
        modules = dict(model.named_modules())
        for reader, table in TIED.items():
            if reader in modules and table in modules:   # else two stages have one each
                modules[reader].weight = modules[table].weight
        for part, number, module, rows in parts(model):
            if not part.module and trains:
                share_out(model, module, rows, mesh, shards)
            for name, row in rows.items():
                if trains and sums and row.over and not row.zero:
                    for parameter in weights(module, name, rows)[1]:
                        sums.add(parameter, joined(mesh, row.over).get_group())
        if shards:
            # The root of the groups, which has no parameter itself: not those either that a group's modules have beside it.
            fully_shard(model, mesh=mesh[next(name for name in MESH if name != "pp")], ignored_params=set(model.parameters()))
        return shards


    def precision(device):
        """A plan for bf16 trains weights in fp32 under autocast on GPUs, and in fp32 on CPUs."""
        is_mixed = device.type == "cuda" and JOB["dtype"] != "fp32"
        return torch.autocast("cuda", torch.bfloat16) if is_mixed else contextlib.nullcontext()


    def optimizer(parameters):
        groups = {}
        for parameter in parameters:   # One pass over several tensors takes tensors of one mesh.
            groups.setdefault(getattr(parameter, "device_mesh", None), []).append(parameter)
        kind = {"adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}[JOB["optimizer"]]
        return kind([{"params": group} for group in groups.values()], lr=OPTIONS.lr)


    def set_up():
        """This rank's device, and the mesh."""
        for name, value in dict(RANK="0", LOCAL_RANK="0", WORLD_SIZE="1", MASTER_ADDR="localhost", MASTER_PORT="0").items():
            os.environ.setdefault(name, value)
        device = torch.device("cpu" if OPTIONS.device == "cpu" else f"cuda:{os.environ['LOCAL_RANK']}")
        if device.type == "cuda":
            torch.cuda.set_device(device)
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        mesh = init_device_mesh(device.type, tuple(MESH.values()), mesh_dim_names=tuple(MESH))
        for axes in sorted({row.over for rows in PLAN.values() for row in rows.values() if row.over}):
            joined(mesh, axes)   # All ranks make groups in one order.
        return device, mesh


    def samples(mesh, device):
        """What this replica takes of a global batch: the samples that follow those of the replica before."""
        replica, replicas = 0, 1
        for name, size in MESH.items():
            if name not in ("pp", "tp"):
                replica, replicas = replica * size + mesh.get_local_rank(name), replicas * size
        size = JOB["batch"] // replicas
        return {name: tensor.to(device) for name, tensor in inputs(replica * size, size).items()}


    def train(step, parameters, axes, mesh, device):
        """Steps, and what they print. `step` gives back this rank's part of the loss, and the axes have all parts."""
        update = optimizer(parameters) if JOB["mode"] == "train" else None
        losses, seconds = [], []
        for _ in range(OPTIONS.steps):
            start = time.perf_counter()
            with loss_parallel() if "tp" in MESH else contextlib.nullcontext(), torch.set_grad_enabled(update is not None):
                loss = step()
            if update:
                update.step()
                update.zero_grad()
            if axes:
                dist.all_reduce(loss, group=joined(mesh, axes).get_group())
            losses.append(loss.item())
            seconds.append(time.perf_counter() - start)
        if dist.get_rank() == 0:
            print(json.dumps({"losses": losses, "step_s": seconds, "device": device.type, "torch": torch.__version__}), flush=True)
        dist.barrier()
        dist.destroy_process_group()
        # At the interpreter's end threads that gloo has left may abort the process (PyTorch 2.15).
        os._exit(0)
    """#
}
