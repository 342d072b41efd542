// SPDX-License-Identifier: GPL-3.0-or-later

extension TorchRuntime {
  /// What makes and finds what a pipeline stage has of the model.
  static let stageLayers = #"""
    def layers(part, kind, stage):
        """A stage's layers of a part, by the names of their modules."""
        part = next(p for p in PARTS if p.name == part)
        return {part.module.replace("{i}", str(i)): kind(part.recompute) for i in stage.get(part.name, ())}


    def parts(model):
        """Each layer of a stage, and what it has around layers: its row of PARTS, its number, its module and its rows of PLAN."""
        for part in PARTS:
            # Of what stands around layers, a stage may have conversions alone.
            for number in model.stage.get(part.name, ()) if part.module else range(1):
                module = model.get_submodule(part.module.replace("{i}", str(number)))
                names = {name for name, _ in module.named_modules()}
                yield part, number, module, {name: row for name, row in PLAN[part.name].items() if name.removesuffix(".bias") in names or name in names}
    """#

  /// What trains a model in a pipeline of stages.
  static let stages = #"""
    class Stage(nn.Module):
        """A stage as torch's schedules call it: of what the stage before hands on, and a micro-batch's inputs, it makes what it hands on, or the loss."""

        def __init__(self, number, mesh, device):
            super().__init__()
            self.number, self.device, self.passes, self.sums = number, device, 0, Sums()
            with torch.device("meta"):
                self.model = Model(STAGES[number])
            self.shards = parallelize(self.model, mesh, device, self.sums)

        def forward(self, *tensors, **inputs):
            with precision(self.device):
                results = self.model(*tensors, **inputs)
            if self.number == len(STAGES) - 1:
                results = results.reshape(1)   # The schedule puts those of all micro-batches in a row.
            else:
                results = tuple(t.float() for t in (results if isinstance(results, tuple) else (results,)))
            if torch.is_grad_enabled():
                (results[0] if isinstance(results, tuple) else results).register_hook(self.begin_backward)
            return results

        def begin_backward(self, gradient):
            """Of ZeRO 1 gradients are summed in the last micro-batch, of ZeRO 2 and 3 in each."""
            self.passes += 1
            for unit, zero in self.shards:
                unit.set_requires_gradient_sync(self.passes % JOB["micro_batches"] == 0 or zero > 1, recurse=False)


    def carried(number, size, device):
        """Tensors as stage `number` hands them on in a micro-batch of `size` samples, without values."""
        if number < 0:
            return ()
        if number == len(STAGES) - 1:
            return (torch.empty(1, device=device),)
        last = [part.name for part in PARTS if part.name in STAGES[number]][-1]
        found = []
        for shape, placement in CARRIED[last]:
            shape = [size, *shape]
            if placement.is_shard():
                shape[placement.dim] //= MESH["tp"]
            found.append(torch.empty(shape, device=device, requires_grad=JOB["mode"] == "train"))
        return tuple(found)


    def schedule(stages, size, mesh, device):
        """This rank's stages under JOB's schedule."""
        found = []
        for stage in stages:
            given, made = carried(stage.number - 1, size, device), carried(stage.number, size, device)
            found.append(
                PipelineStage(stage, stage.number, len(STAGES), device, input_args=given, output_args=made, group=mesh["pp"].get_group()))
        kind = {"gpipe": ScheduleGPipe, "1f1b": Schedule1F1B, "interleaved": ScheduleInterleaved1F1B}[JOB["schedule"]]
        if kind is Schedule1F1B and JOB["micro_batches"] < len(STAGES):
            kind = ScheduleGPipe   # as torch's 1F1B has no fewer micro-batches than stages
        loss = (lambda loss, labels: loss.sum()) if JOB["mode"] == "train" else None
        return kind(found if JOB["schedule"] == "interleaved" else found[0], JOB["micro_batches"], loss_fn=loss, scale_grads=False)


    def ties(stages, mesh):
        """Weights of this rank's stages that are another stage's too, and the ranks that have them, one of each."""
        found = []
        for reader, table in TIED.items():
            ranks = [s % MESH["pp"] for s, stage in enumerate(STAGES) if any({reader, table} & PLAN[part].keys() for part in stage)]
            group, _ = dist.new_subgroups_by_enumeration(mesh.mesh[ranks].reshape(len(ranks), -1).T.tolist())
            modules = (dict(stage.model.named_modules()) for stage in stages)
            found += [(module[name].weight, group) for module in modules for name in (reader, table) if name in module]
        return found


    def main():
        device, mesh = set_up()
        stages = [Stage(s, mesh, device) for s in range(mesh.get_local_rank("pp"), len(STAGES), MESH["pp"])]
        tied, batch = ties(stages, mesh), samples(mesh, device)
        passes = schedule(stages, len(batch["labels"]) // JOB["micro_batches"], mesh, device)

        def step():
            losses = passes.step(**batch, target=batch["labels"])
            if JOB["mode"] == "train":
                for stage in stages:
                    stage.sums.finish(stage.parameters())
                for weight, group in tied:
                    dist.all_reduce(local(weight.grad), group=group)
            return torch.zeros((), device=device) if losses is None else local(losses.detach()).sum()

        train(step, [p for stage in stages for p in stage.parameters()], f"pp {LOSS.over}", mesh, device)


    if __name__ == "__main__":
        main()
    """#
}
