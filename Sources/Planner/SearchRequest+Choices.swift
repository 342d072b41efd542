// SPDX-License-Identifier: GPL-3.0-or-later

extension SearchRequest {
  /// A choice that the request makes beforehand, in the command line's words, and how to leave it to the search instead.
  struct Choice {
    let option: String
    /// The pin or forbid that it is, if it is one.
    let constraint: StrategyConstraint?
    let drop: (inout SearchRequest) -> Void
  }

  /// Every choice: those around the operators first, then the operators'.
  var choices: [Choice] {
    var choices: [Choice] = []
    func add(_ option: String?, _ drop: @escaping (inout SearchRequest) -> Void) {
      if let option { choices.append(Choice(option: option, constraint: nil, drop: drop)) }
    }
    func list(_ values: [Int], _ separator: String) -> String { values.map(String.init).joined(separator: separator) }
    add(zero.map { "--zero \($0.rawValue)" }) { $0.zero = nil }
    add(recompute.map { "--recompute \($0.rawValue)" }) { $0.recompute = nil }
    add(recomputedLayers.map { "--recompute-layers \($0)" }) { $0.recomputedLayers = nil }
    add(schedule.map { "--schedule \($0.rawValue)" }) { $0.schedule = nil }
    add(chunks.map { "--vpp \($0)" }) { $0.chunks = nil }
    add(stageLayers.map { "--stages " + list($0, ",") }) { $0.stageLayers = nil }
    add(pipelineDegree.map { "--pp \($0)" }) { $0.pipelineDegree = nil }
    add(mesh.map { "--mesh " + list($0, "x") }) { $0.mesh = nil }
    add(stageMeshes.map { "--stage-meshes " + $0.map { list($0, "x") }.joined(separator: ",") }) { $0.stageMeshes = nil }
    add(shares.flatMap { $0.isEmpty ? nil : "--shares " + list($0, ",") }) { $0.shares = nil }
    add(microBatches.map { "--micro-batches \($0)" }) { $0.microBatches = nil }
    add(microBatchSize.map { "--micro-batch \($0)" }) { $0.microBatchSize = nil }
    for constraint in constraints {
      choices.append(Choice(option: constraint.option, constraint: constraint) { $0.constraints.removeAll { $0 == constraint } })
    }
    return choices
  }

  func dropping(_ choices: [Choice]) -> SearchRequest {
    var request = self
    for choice in choices { choice.drop(&request) }
    return request
  }
}

extension StrategyConstraint {
  /// As on the command line.
  package var option: String { "\(isForbidden ? "--forbid" : "--pin") \(pattern)=\(words.joined(separator: ","))" }
}
