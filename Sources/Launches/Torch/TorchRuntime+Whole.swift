// SPDX-License-Identifier: GPL-3.0-or-later

extension TorchRuntime {
  /// What trains a model that each replica's ranks have whole.
  static let whole = #"""
    # Data parallelism alone, without ZeRO, is DistributedDataParallel's.
    IS_PLAIN = "tp" not in MESH and not any(row.zero for rows in PLAN.values() for row in rows.values())


    def replicated(model, group):
        def summed(group, bucket):
            return dist.all_reduce(bucket.buffer(), group=group, async_op=True).get_future().then(lambda future: future.value()[0])

        model = DistributedDataParallel(model, process_group=group, gradient_as_bucket_view=True, init_sync=False)
        model.register_comm_hook(group, summed)
        return model


    def main():
        device, mesh = set_up()
        with torch.device("meta"):
            model = Model()
        sums = None if IS_PLAIN else Sums()
        shards = parallelize(model, mesh, device, sums)
        parameters, trains = list(model.parameters()), JOB["mode"] == "train"
        batch, count = samples(mesh, device), JOB["micro_batches"]
        batches = [{name: tensor.chunk(count)[k] for name, tensor in batch.items()} for k in range(count)]
        if trains and IS_PLAIN and dist.get_world_size() > 1:
            model = replicated(model, joined(mesh, " ".join(MESH)).get_group())

        def step():
            loss = torch.zeros((), device=device)
            for k, batch in enumerate(batches):
                is_last = k == count - 1
                for unit, zero in shards:
                    unit.set_requires_gradient_sync(is_last or zero > 1, recurse=False)
                waits = isinstance(model, DistributedDataParallel) and not is_last
                with model.no_sync() if waits else contextlib.nullcontext():
                    with precision(device):
                        part = model(**batch)
                    if trains:
                        part.backward()
                loss += local(part.detach())
            if trains and sums:
                sums.finish(parameters)
            return loss

        train(step, parameters, LOSS.over, mesh, device)


    if __name__ == "__main__":
        main()
    """#
}
