// SPDX-License-Identifier: GPL-3.0-or-later
import Documents

/// The native format `tpplan/model/1`: a whole graph as JSON.
///
///     {"format": "tpplan/model/1", "name": "mlp", "workload": {"batch": 64, "sequence": 128}, "maximum_sequence": 128,
///      "axes": [{"name": "batch", "extent": 64, "role": "batch"}, …],
///      "inputs": [{"name": "input_ids", "axes": ["batch", "seq"]}, …],
///      "segments": [
///        {"name": "block", "repeats": 12, "entries": [{"name": "h.{i}.input", "axes": ["batch", "seq", "hidden"]}],
///         "operators": [{"name": "h.{i}.fc", "op": "linear", "in": ["h.{i}.input"],
///                        "weights": [{"name": "h.{i}.fc.weight", "axes": ["ffn", "hidden"]}]}, …],
///         "exits": ["h.{i}.residual"]}, …],
///      "outputs": [{"name": "logits", "tensor": "lm_head"}], "loss": "loss"}
///
/// - `workload`, `maximum_sequence`, `per_microbatch` (false), `repeats` (1), `entries`, `exits`, `outputs`, `loss` and `source` (text, for people) may be left out; so may the
///   `extent` of an axis whose role is `batch`, `candidates` or `sequence` where `workload` states it. An axis of role
///   `slots` has the extent that `{"positions": AXIS, "experts": AXIS, "top_k": 2}` gives (`Axis.Slots`).
/// - An operator reads `in`, then `weights`; either may be left out where it is empty. `in` names inputs, the segment's entries and results of operators before it in the segment.
/// - A weight is written out where it is first read, and named by a string after that. `stored` says where a checkpoint keeps it (`name`, `shape`,
///   `offset`, `strides`), each part left out where it is that of a contiguous tensor of the weight's own name; `norm_weight` is true for the
///   scale of a norm, `frozen` for a weight that training leaves as it is. A stored name with `{j}` is one tensor for each element of the weight's first axis.
/// - A result has the operator's name, unless `result` gives another, and the axes that its operands determine; `axes` states them for
///   `position_embedding`, `patches`, `prepend_token`, `convolution`, `max_pool`, `route`, `dispatch`, `combine`, `similarity`,
///   `broadcast` and `concatenate`.
/// - Attributes: `causal` (attention), `base`, `llama3` and `rotated` (rotary), `epsilon` (norms), `adds_one` (rms_norm), `function` (activation and
///   learned_scale),
///   `probability` (dropout), `factor` (scale), `offset` (position_embedding, 0), `size` (patches), `position` (select_token), `top_k` and
///   `renormalise` (route, false), `stride` (1) and `padding` (0; convolution, max_pool),
///   `id` (select_marked_token, the largest).
///
/// Order matters in every array, and tensors are numbered by first appearance, so decoding what was encoded gives an equal graph for every
/// graph that is numbered so: all that come from files.
package enum NativeModel {
  /// The value of the key `format`.
  package static let format = "tpplan/model/1"

  package static func encode(_ graph: Graph) -> JSON {
    let inputs = graph.tensors.filter(\.isInput).map { graph.jsonWithAxes($0) }
    var written = Set<TensorID>()
    let segments = graph.segments.map { segment -> JSON in
      var object = JSON.Object([("name", .string(segment.name))])
      if segment.repeats > 1 { object["repeats"] = .int(segment.repeats) }
      if !segment.entries.isEmpty { object["entries"] = .array(segment.entries.map { graph.jsonWithAxes(graph.tensors[$0]) }) }
      object["operators"] = .array(segment.operators.map { graph.json(operator: $0, &written) })
      if !segment.exits.isEmpty { object["exits"] = .array(segment.exits.map { .string(graph.tensors[$0].name) }) }
      return .object(object)
    }
    var root = JSON.Object([("format", .string(format)), ("name", .string(graph.name))])
    root["workload"] = graph.workload.json
    root["maximum_sequence"] = graph.maximumSequence.map { .int($0) }
    if graph.isPerMicroBatch { root["per_microbatch"] = true }
    root["axes"] = .array(
      graph.axes.map { ["name": .string($0.name), "extent": graph.json(extentOf: $0), "role": .string($0.role.rawValue)] })
    root["inputs"] = .array(inputs)
    root["segments"] = .array(segments)
    if !graph.outputs.isEmpty {
      root["outputs"] = .array(graph.outputs.map { ["name": .string($0.name), "tensor": .string(graph.tensors[$0.tensor].name)] })
    }
    root["loss"] = graph.loss.map { .string(graph.tensors[$0].name) }
    return .object(root)
  }
}

extension Graph {
  fileprivate func json(extentOf axis: Axis) -> JSON {
    guard let slots = axis.slots else { return .int(axis.extent) }
    return [
      "positions": .string(axes[slots.positions].name), "experts": .string(axes[slots.experts].name), "top_k": .int(slots.perToken),
    ]
  }

  fileprivate func names(_ dimensions: [AxisID]) -> JSON { .array(dimensions.map { .string(axes[$0].name) }) }

  fileprivate func jsonWithAxes(_ tensor: Tensor) -> JSON { ["name": .string(tensor.name), "axes": names(tensor.dimensions)] }

  fileprivate func json(operator id: OperatorID, _ written: inout Set<TensorID>) -> JSON {
    let op = operators[id]
    let result = tensors[op.result]
    var object = JSON.Object([("name", .string(op.name)), ("op", .string(op.kind.formatName))])
    for (key, value) in op.kind.attributes { object[key] = value }
    let values = op.operands.filter { !tensors[$0].isParameter }
    if !values.isEmpty { object["in"] = .array(values.map { .string(tensors[$0].name) }) }
    let weights = op.operands.compactMap { operand -> JSON? in
      guard let source = tensors[operand].parameter else { return nil }
      return written.insert(operand).inserted ? json(weight: operand, source) : .string(tensors[operand].name)
    }
    if !weights.isEmpty { object["weights"] = .array(weights) }
    if op.kind.inferredResult(op.operands.map { tensors[$0].dimensions }) != result.dimensions { object["axes"] = names(result.dimensions) }
    if result.name != op.name { object["result"] = .string(result.name) }
    return .object(object)
  }

  private func json(weight id: TensorID, _ source: ParameterSource) -> JSON {
    let tensor = tensors[id]
    var object = JSON.Object([("name", .string(tensor.name)), ("axes", names(tensor.dimensions))])
    var stored = JSON.Object()
    if source.checkpointName != tensor.name { stored["name"] = .string(source.checkpointName) }
    let plain = ParameterSource.contiguous(shape(id), isStacked: source.isStacked)
    if source.checkpointShape != plain.shape { stored["shape"] = .array(source.checkpointShape.map { .int($0) }) }
    if source.offset != 0 { stored["offset"] = .int(source.offset) }
    if source.strides != plain.strides { stored["strides"] = .array(source.strides.map { .int($0) }) }
    if !stored.members.isEmpty { object["stored"] = .object(stored) }
    if source.isNormWeight { object["norm_weight"] = true }
    if source.isFrozen { object["frozen"] = true }
    return .object(object)
  }
}
