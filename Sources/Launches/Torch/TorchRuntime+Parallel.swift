// SPDX-License-Identifier: GPL-3.0-or-later

extension TorchRuntime {
  /// What puts the model on the mesh as the tables say, and trains it.
  static let parallel = #"""
    # ---------------------------------------------------------------- the tables carried out
    def local(tensor):
        return tensor.to_local() if isinstance(tensor, DTensor) else tensor


    @functools.cache
    def joined(mesh, axes):
        """Some axes of the mesh as one."""
        names = axes.split()
        return mesh[names[0]] if len(names) == 1 else mesh[tuple(names)]._flatten()


    def parts(model):
        """Each layer, and what stands around layers: its row of PARTS, its number and its module."""
        for part in PARTS:
            for number in range(part.first, part.first + part.copies):
                yield part, number, model.get_submodule(part.module.replace("{i}", str(number)))


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
            self.is_last, self.pending, self.known = True, [], set()

        def add(self, parameter, group):
            def send(parameter):
                if self.is_last:
                    self.pending.append(dist.all_reduce(local(parameter.grad), group=group, async_op=True))
            if parameter not in self.known:
                self.known.add(parameter)
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


    def parallelize(model, mesh, device):
        """Carries out PARTS and PLAN. Layer by layer, so that no rank holds more than one layer's weights before they are shared out."""
        sums, shards, trains = Sums(), [], JOB["mode"] == "train"
        for part, number, module in parts(model):
            rows = PLAN[part.name]
            styles = {name: row.style for name, row in rows.items() if row.style is not None}
            if styles:
                parallelize_module(module, mesh["tp"], styles, src_data_rank=None)
            for name in operators(rows):
                owner = module.get_submodule(name)
                owner.to_empty(device=device, recurse=False)
                fill(part, number, owner, name)
            if part.module and trains:
                share_out(model, module, rows, mesh, shards)
        for reader, table in TIED.items():
            model.get_submodule(reader).weight = model.get_submodule(table).weight
        for part, number, module in parts(model):
            rows = PLAN[part.name]
            if not part.module and trains:
                share_out(model, module, rows, mesh, shards)
            for name, row in rows.items():
                if trains and row.over and not row.zero and not IS_PLAIN:
                    for parameter in weights(module, name, rows)[1]:
                        sums.add(parameter, joined(mesh, row.over).get_group())
        if shards:
            shared = {p for unit, _ in shards for p in unit.parameters()}
            fully_shard(model, mesh=mesh[next(iter(MESH))], ignored_params=set(model.parameters()) - shared)
        return sums, shards


    # Data parallelism alone, without ZeRO, is DistributedDataParallel's.
    IS_PLAIN = "tp" not in MESH and not any(row.zero for rows in PLAN.values() for row in rows.values())


    def replicated(model, group):
        def summed(group, bucket):
            return dist.all_reduce(bucket.buffer(), group=group, async_op=True).get_future().then(lambda future: future.value()[0])

        model = DistributedDataParallel(model, process_group=group, gradient_as_bucket_view=True, init_sync=False)
        model.register_comm_hook(group, summed)
        return model


    def optimizer(parameters):
        groups = {}
        for parameter in parameters:   # One pass over several tensors takes tensors of one mesh.
            groups.setdefault(getattr(parameter, "device_mesh", None), []).append(parameter)
        kind = {"adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}[JOB["optimizer"]]
        return kind([{"params": group} for group in groups.values()], lr=OPTIONS.lr)


    def main():
        for name, value in dict(RANK="0", LOCAL_RANK="0", WORLD_SIZE="1", MASTER_ADDR="localhost", MASTER_PORT="0").items():
            os.environ.setdefault(name, value)
        device = torch.device("cpu" if OPTIONS.device == "cpu" else f"cuda:{os.environ['LOCAL_RANK']}")
        if device.type == "cuda":
            torch.cuda.set_device(device)
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        mesh = init_device_mesh(device.type, tuple(MESH.values()), mesh_dim_names=tuple(MESH))
        with torch.device("meta"):
            model = Model()
        sums, shards = parallelize(model, mesh, device)
        parameters, trains = list(model.parameters()), JOB["mode"] == "train"
        update = optimizer(parameters) if trains else None

        # Each replica takes the samples that follow those of the replica before.
        replica, replicas = 0, 1
        for name, size in MESH.items():
            if name != "tp":
                replica, replicas = replica * size + mesh.get_local_rank(name), replicas * size
        size = JOB["batch"] // replicas // JOB["micro_batches"]
        batches = [inputs((replica * JOB["micro_batches"] + k) * size, size) for k in range(JOB["micro_batches"])]
        batches = [{name: tensor.to(device) for name, tensor in batch.items()} for batch in batches]
        if trains and IS_PLAIN and replicas > 1:
            model = replicated(model, joined(mesh, " ".join(MESH)).get_group())

        losses, seconds = [], []
        for step in range(OPTIONS.steps):
            start, loss = time.perf_counter(), torch.zeros((), device=device)
            for k, batch in enumerate(batches):
                sums.is_last = k == len(batches) - 1
                for unit, zero in shards:
                    unit.set_requires_gradient_sync(sums.is_last or zero > 1, recurse=False)
                waits = isinstance(model, DistributedDataParallel) and not sums.is_last
                with contextlib.ExitStack() as stack:
                    stack.enter_context(loss_parallel() if "tp" in MESH else contextlib.nullcontext())
                    stack.enter_context(model.no_sync() if waits else contextlib.nullcontext())
                    stack.enter_context(torch.set_grad_enabled(trains))
                    if device.type == "cuda" and JOB["dtype"] != "fp32":
                        stack.enter_context(torch.autocast("cuda", torch.bfloat16))
                    part = model(**batch)
                    if trains:
                        part.backward()
                loss += local(part.detach())
            if trains:
                sums.finish(parameters)
                update.step()
                update.zero_grad()
            if LOSS.over:
                dist.all_reduce(loss, group=joined(mesh, LOSS.over).get_group())
            losses.append(loss.item())
            seconds.append(time.perf_counter() - start)
        if dist.get_rank() == 0:
            print(json.dumps({"losses": losses, "step_s": seconds, "device": device.type, "torch": torch.__version__}), flush=True)
        dist.barrier()
        dist.destroy_process_group()
        # At the interpreter's end threads that gloo has left may abort the process (PyTorch 2.15).
        os._exit(0)


    if __name__ == "__main__":
        main()
    """#
}
