// SPDX-License-Identifier: GPL-3.0-or-later
import Lowering
import ModelGraph
import Plans
import Strategies

/// What comparing a run with the same model on one rank found.
package struct VerificationReport: Sendable, Equatable {
  /// A tensor that differs by more than rounding explains.
  package struct Difference: Sendable, Equatable {
    /// An operator's name, whose result it is, or `gradient of` a parameter, with the copy's index in it.
    package let tensor: String
    /// Where the tensor stands on the mesh, for example `split(hidden), replicated`.
    package let layout: String
    /// The rank whose shard holds the worst element.
    package let rank: Int
    package let error: Double
    package let tolerance: Double
  }

  package internal(set) var comparedTensors = 0
  /// The error that rounding may explain: of a forward result, and of a gradient.
  package internal(set) var forwardTolerance = 0.0
  package internal(set) var gradientTolerance = 0.0
  /// Over all tensors that were compared.
  package internal(set) var maximumRelativeError = 0.0
  /// The first in the order of forward, then of the parameters' gradients.
  package internal(set) var firstDifference: Difference?
}

/// Compares a step's tensors, gathered from the ranks, with those of the same model on one rank: every operator's result in the order of the
/// forward pass, then every parameter's gradient.
///
/// The error of a tensor is max |a − b| / max |b|; that of a gradient is max |a − b| / max(max |b|, 10⁻³ × the model's largest |gradient|),
/// since some are 0 in exact arithmetic (the biases of keys). The gradient of a single number, such as the scale of logits, is one sum whose terms
/// may all but cancel, with no other element to measure its error by: it is measured against the model's largest gradient.
struct Verification {
  let distributed: TensorGathering
  private let tolerance: Tolerance
  private let floorShare = 1e-3
  private(set) var report = VerificationReport()

  init(distributed: TensorGathering) {
    self.distributed = distributed
    tolerance = Tolerance(distributed.decision)
    (report.forwardTolerance, report.gradientTolerance) = (tolerance.forward, tolerance.gradient)
  }

  /// Collective; `single` is there on rank 0 only, where the report grows.
  mutating func compareResults(with single: TensorGathering?) throws(ExecutionError) {
    let graph = distributed.decision.graph
    for site in graph.operatorSites {
      guard let found = try distributed.result(of: site), let expected = try single?.result(of: site) else { continue }
      let name = Graph.name(graph.operators[site.op].name, copy: site.copy)
      let tensor = graph.operators[site.op].result
      record(found, expected, name, tensor, distributed.layout(of: site), floor: 0, tolerance.forward)
    }
  }

  /// Collective.
  mutating func compareGradients(with single: TensorGathering?) throws(ExecutionError) {
    let graph = distributed.decision.graph
    let sites = distributed.learnedParameters
    var expected: [GatheredTensor] = []
    if let single { for site in single.learnedParameters { if let gradient = try single.gradient(of: site) { expected.append(gradient) } } }
    let largest = expected.reduce(0) { max($0, RelativeError.largest($1.values)) }
    for (index, site) in sites.enumerated() {
      guard let found = try distributed.gradient(of: site), index < expected.count else { continue }
      let name = "gradient of " + Graph.name(graph.tensors[site.tensor].name, copy: site.copy)
      let floor = found.values.count == 1 ? largest : floorShare * largest
      record(found, expected[index], name, site.tensor, site.layout, floor: floor, tolerance.gradient)
    }
  }

  private mutating func record(
    _ found: GatheredTensor, _ expected: GatheredTensor, _ name: String, _ tensor: TensorID, _ layout: Layout, floor: Double,
    _ tolerance: Double
  ) {
    let (error, place) = RelativeError.worst(found.values, expected.values, floor: floor)
    report.comparedTensors += 1
    report.maximumRelativeError = error.isNaN ? .nan : max(report.maximumRelativeError, error)
    if !(error <= tolerance), report.firstDifference == nil {
      report.firstDifference = .init(
        tensor: name, layout: distributed.decision.graph.describe(layout, of: tensor), rank: found.rank(holding: place), error: error,
        tolerance: tolerance)
    }
  }
}

/// How far values lie apart, in proportion to the largest of those that are expected.
enum RelativeError {
  /// - Parameter floor: what the largest expected value counts as at least.
  /// - Returns: the largest error and where it is; NaN at the first value that is none.
  static func worst(
    _ found: some Collection<Float>, _ expected: some Collection<Float>, floor: Double = 0
  ) -> (error: Double, place: Int) {
    var (worst, place) = (0.0, 0)
    for (index, (a, b)) in zip(found, expected).enumerated() {
      let difference = a == b ? 0 : Double(abs(a - b))
      if difference > worst || difference.isNaN {
        (worst, place) = (difference, index)
        if difference.isNaN { break }
      }
    }
    let scale = max(largest(expected), floor)
    return (worst == 0 ? 0 : scale > 0 ? worst / scale : .infinity, place)
  }

  static func largest(_ values: some Collection<Float>) -> Double { Double(values.reduce(0) { max($0, abs($1)) }) }
}

/// How far two orders of the same fp32 sums may lie apart: c · ε · √(longest reduction) · depth.
///
/// ε = 2⁻²³. Rounding errors of a sum of n terms in another order grow like √n where they are independent; each operator hands its own on to
/// the next, so they add up to the number of operators on the longest path (twice that for gradients, which go back the same way).
struct Tolerance {
  let forward: Double
  let gradient: Double
  /// Products are summed in blocks, and other sums in eight lanes or pairwise, so that a reduction errs by less than √n ε; and operators on the
  /// path do not all err in one direction. Measured: in 300 runs of tiny models with random strategies the largest error was a quarter of
  /// `forward`; with GPT-2's 12 layers it was a hundredth. A forgotten collective is a thousand times above it.
  private static let constant = 1.0 / 8

  init(_ decision: Decision) {
    let graph = decision.graph
    let rules = graph.operators.indices.map { OperatorRules.rule(for: $0, in: graph) }
    let depth = Double(graph.longestPath)
    func tolerance(_ reduction: Int, _ depth: Double) -> Double { Self.constant * Double(Float.ulpOfOne) * Double(reduction).squareRoot() * depth }
    forward = tolerance(rules.map { $0.longestReduction(backward: false, microBatches: 1) }.max() ?? 1, depth)
    gradient = tolerance(rules.map { $0.longestReduction(backward: true, microBatches: decision.job.microBatches) }.max() ?? 1, 2 * depth)
  }
}

extension OperatorRule {
  /// The most terms in a sum that the operator takes, forward, or forward and backward.
  fileprivate func longestReduction(backward: Bool, microBatches: Int) -> Int {
    func extent(_ axes: [Int]) -> Int { axes.reduce(1) { $0 * iteration[$1].extent } }
    if case .product(_, let m, let n, let k) = work { return backward ? max(extent(m) * microBatches, extent(n), extent(k)) : extent(k) }
    if case .attention(let attention) = work { return extent([attention.keys]) }
    // Of the loss, the sum over the classes; its rows are added in double precision.
    // A batch norm sums over all that its channels' statistics lack.
    let completed = interior.isEmpty ? iteration.indices.filter { isReduced($0) } : interior.filter { isReduced($0.axis) }.map(\.axis)
    let statistics = interior.filter { !isReduced($0.axis) }.map { part in extent(iteration.indices.filter { !part.spans.contains($0) }) }
    return statistics.reduce(extent(completed), max)
  }
}

extension Graph {
  /// The number of operators on the longest path from an input to the last result.
  fileprivate var longestPath: Int {
    var depth = [Int](repeating: 0, count: tensors.count)
    var carried: [Int] = []
    var longest = 0
    for segment in segments {
      for _ in 0..<segment.repeats {
        for (entry, value) in zip(segment.entries, carried) { depth[entry] = value }
        for op in segment.operators {
          depth[operators[op].result] = 1 + (operators[op].operands.map { depth[$0] }.max() ?? 0)
          longest = max(longest, depth[operators[op].result])
        }
        carried = segment.exits.map { depth[$0] }
      }
    }
    return longest
  }

  /// A layout with the names of the tensor's axes.
  func describe(_ layout: Layout, of tensor: TensorID) -> String {
    layout.placements.map { placement in
      switch placement {
      case .replicated: "replicated"
      case .partial: "partial"
      case .split(let dimension): "split(\(axes[tensors[tensor].dimensions[dimension]].name))"
      }
    }.joined(separator: ", ")
  }
}
