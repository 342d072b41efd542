// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph
import Plans
import Strategies

/// The tables of a script that say what is trained, on what.
enum TorchJob {
  /// An extent as an expression, which follows the job's sequence where the model does.
  static func extent(_ axis: AxisID, _ graph: Graph) -> String {
    graph.axes[axis].role == .sequence && graph.choosesSequence ? "JOB[\"sequence\"]" : "\(graph.axes[axis].extent)"
  }

  /// How many labels a step has.
  static func labels(_ graph: Graph) -> String {
    let labels = graph.tensors.first { $0.kind == .input(.labels) }
    return (["JOB[\"batch\"]"] + (labels?.dimensions.dropFirst().map { extent($0, graph) } ?? [])).joined(separator: " * ")
  }

  /// The model's name, as far as a text of Python holds it as it stands.
  static func name(_ graph: Graph) -> String { graph.name.onOneLine.filter { !"\"\\".contains($0) } }

  /// `JOB`, the keys in order.
  ///
  /// - Parameter schedule: a pipeline's.
  static func table(_ job: Job, _ schedule: Schedule.Kind?, _ graph: Graph) -> String {
    var entries = [
      ("model", "\"\(name(graph))\""), ("mode", "\"\(job.mode.rawValue)\""), ("batch", "\(job.batch)"), ("micro_batches", "\(job.microBatches)"),
    ]
    if let sequence = job.sequence { entries.append(("sequence", "\(sequence)")) }
    entries += [("dtype", "\"\(job.precision.rawValue)\""), ("optimizer", "\"\(job.optimizer.rawValue)\"")]
    if let schedule { entries.append(("schedule", "\"\(schedule.rawValue)\"")) }
    let software = software(job.software)
    if !software.isEmpty { entries.append(("priced", "{" + software.map { "\"\($0)\": \"\($1)\"" }.joined(separator: ", ") + "}")) }
    return "JOB = {" + entries.map { "\"\($0)\": \($1)" }.joined(separator: ", ") + "}"
  }

  /// What of the training program's ways the plan was priced with, where they are not the usual ones, and a script's own are as they are.
  static func software(_ software: Software) -> [(String, String)] {
    let usual = Software()
    return [
      software.crossEntropy == usual.crossEntropy ? nil : ("cross_entropy", software.crossEntropy.rawValue),
      software.gradients == usual.gradients ? nil : ("gradients", software.gradients.rawValue),
      software.overlap == usual.overlap ? nil : ("overlap", software.overlap.rawValue),
      software.boundaries == usual.boundaries ? nil : ("boundaries", software.boundaries.rawValue),
    ].compactMap { $0 }
  }

  /// `INPUTS`: for each input how many values it chooses from, and the shape of a sample.
  static func inputs(_ graph: Graph) -> String {
    var entries: [String] = []
    for (id, tensor) in graph.tensors.enumerated() where tensor.isInput && !graph.consumers[id].isEmpty {
      guard case .input(let kind) = tensor.kind, !entries.contains(where: { $0.hasPrefix("\"\(kind.rawValue)\"") }) else { continue }
      let shape = tensor.dimensions.dropFirst().map { extent($0, graph) }
      entries.append("\"\(kind.rawValue)\": (\(below(kind, id, graph)), (\(shape.map { $0 + "," }.joined(separator: " "))))")
    }
    return "INPUTS = {\(entries.joined(separator: ", "))}"
  }

  private static func below(_ kind: InputKind, _ id: TensorID, _ graph: Graph) -> Int {
    // Labels of positions are the tokens that follow.
    let isToken = kind == .labels && graph.tensors[id].dimensions.count > 1
    let tensor = isToken ? graph.tensors.firstIndex { $0.kind == .input(.inputIDs) } ?? id : id
    for site in graph.consumers[tensor] {
      switch graph.operators[site.op].kind {
      case .embedding: return graph.shape(graph.operators[site.op].operands[1])[0]
      case .crossEntropy: return graph.shape(graph.operators[site.op].operands[0]).last ?? 1
      default: continue
      }
    }
    return 1
  }
}
