// SPDX-License-Identifier: GPL-3.0-or-later
import ArgumentParser
import Planner
import Plans
import Strategies

/// What is to be searched: a job, and the choices that are made already.
struct SearchOptions: ParsableArguments {
  @OptionGroup var workload: WorkloadOptions

  @OptionGroup(title: "Choices made beforehand") var choices: ChoiceOptions
  @OptionGroup(title: "Space and time") var extent: ExtentOptions

  var timeLimit: String? { extent.timeLimit }

  /// The request with the choices made, and what a plan needs besides.
  ///
  /// - Throws: `UsageError`, and the errors of reading the two files.
  func request() throws -> (request: SearchRequest, context: PlanContext) {
    var (request, context) = try workload.request()
    request.pipelineDegree = choices.pp
    request.mayLeaveIdle = !choices.allDevices
    request.mesh = try choices.mesh.map { try Self.numbers($0, separator: "x", option: "--mesh", example: "2x4") }
    let most = SearchRequest.largestMeshAxes
    if let mesh = request.mesh, mesh.count > most {
      throw UsageError("--mesh \(mesh.map(String.init).joined(separator: "x")): a search takes 1 to \(most) mesh axes, not \(mesh.count)")
    }
    let meshAxes = extent.meshAxes
    guard 1...most ~= meshAxes else { throw UsageError("--mesh-axes \(meshAxes): expected a number from 1 to \(most)") }
    if let mesh = choices.mesh, let given = request.mesh, meshAxes < min(given.count, SearchRequest.usualMeshAxes) {
      throw UsageError("--mesh \(mesh) has \(given.count) axes, and --mesh-axes \(meshAxes) allows fewer; leave one of them out")
    }
    request.mostMeshAxes = meshAxes
    request.stageMeshes = try choices.stageMeshes.map(Self.meshes)
    if request.stageMeshes?.contains(where: { $0.count > 2 }) ?? false {
      throw UsageError("--stage-meshes: a search takes one or two axes for each mesh")
    }
    request.mayHaveSubMeshes = extent.subMeshes
    request.microBatches = choices.microBatches
    request.microBatchSize = choices.microBatch
    request.schedule = choices.schedule
    request.chunks = choices.vpp
    try workload.job.checkTrains(zero: choices.zero, recompute: choices.recompute)
    request.recompute = choices.recompute
    request.recomputedLayers = try Self.recomputedLayers(choices.recomputeLayers, choices.recompute)
    request.layersMayDiffer = !extent.layersAlike
    request.zero = try choices.zero.map(Self.zeroStage)
    request.stageLayers = try choices.stages.map { try Self.numbers($0, separator: ",", option: "--stages", example: "11,13,8", atLeast: 0) }
    request.constraints =
      try choices.pin.map { try StrategyConstraint(parsing: $0, isForbidden: false) }
      + choices.forbid.map { try StrategyConstraint(parsing: $0, isForbidden: true) }
    request.timeLimit = try extent.timeLimit.map(Self.seconds)
    return (request, context)
  }

  /// - Throws: `UsageError` where it is not said what the layers compute again.
  static func recomputedLayers(_ layers: Int?, _ recompute: Recompute?) throws -> Int? {
    guard let layers else { return nil }
    guard let recompute, recompute != .none else {
      throw UsageError("--recompute-layers \(layers): what do these layers compute again? Add --recompute selective or --recompute full")
    }
    guard layers >= 0 else { throw UsageError("--recompute-layers \(layers): expected a number of layers of each stage") }
    return layers
  }

  static func zeroStage(_ number: Int) throws -> ZeROStage {
    guard let stage = ZeROStage(rawValue: number) else { throw UsageError("--zero \(number): expected 0, 1, 2 or 3") }
    return stage
  }

  static func numbers(_ text: String, separator: Character, option: String, example: String, atLeast least: Int = 1) throws -> [Int] {
    let parts = text.split(separator: separator, omittingEmptySubsequences: false).map { Int($0) }
    guard !parts.isEmpty, parts.allSatisfy({ $0.map { $0 >= least } ?? false }) else {
      throw UsageError("\(option) \(text): expected \(least > 0 ? "positive " : "")whole numbers such as \(example)")
    }
    return parts.compactMap { $0 }
  }

  /// `2x4,8`.
  static func meshes(_ text: String) throws -> [[Int]] {
    try text.split(separator: ",", omittingEmptySubsequences: false).map {
      try numbers(String($0), separator: "x", option: "--stage-meshes", example: "2x4,8")
    }
  }

  /// `30`, `30s`, `500ms` or `2m`.
  static func seconds(_ text: String) throws -> Double {
    let units: [(suffix: String, scale: Double)] = [("ms", 1e-3), ("s", 1), ("m", 60), ("h", 3600), ("", 1)]
    for unit in units where text.hasSuffix(unit.suffix) {
      if let value = Double(text.dropLast(unit.suffix.count)), value >= 0, value.isFinite {
        // Thirty years are no limit either, and fit into every clock.
        return min(value * unit.scale, 1e9)
      }
    }
    throw UsageError("--time-limit \(text): expected a time such as 30s, 500ms or 2m")
  }
}
