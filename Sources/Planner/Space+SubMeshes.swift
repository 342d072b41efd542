// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph

/// Which meshes a search gives the stages of a pipeline where they may have two.
extension Space {
  /// Two runs of stages: how many stages each has, and how many devices each of its stages.
  struct RunSizes: Hashable {
    let stages: [Int]
    let sizes: [Int]

    var allStages: Int { stages[0] + stages[1] }
    var devices: Int { stages[0] * sizes[0] + stages[1] * sizes[1] }
  }

  /// Pipelines of more stages have one mesh, unless their number is given.
  static let mostStagesOfTwoMeshes = 4

  /// Every pair of runs whose devices are as many as a plan may use, in a fixed order.
  var runSizes: [RunSizes] {
    guard request.mayHaveSubMeshes, obstacleToRuns == nil, schedules != [.interleaved] else { return [] }
    let sizes = DeviceCounts.useful(upTo: request.cluster.deviceCount)
    // A given number of stages need not divide them.
    let counts = request.mayLeaveIdle ? DeviceCounts.useful(of: request.cluster) : [request.cluster.deviceCount]
    let degrees = (request.pipelineDegree ?? request.stageLayers?.count).map { [$0] } ?? Array(2...max(2, Self.mostStagesOfTwoMeshes))
    var all: [RunSizes] = []
    for degree in degrees where degree > 1 && degree <= layerCount {
      for first in 1..<degree {
        for size in sizes {
          for rest in sizes {
            let runs = RunSizes(stages: [first, degree - first], sizes: [size, rest])
            if counts.contains(runs.devices) { all.append(runs) }
          }
        }
      }
    }
    return all
  }

  /// The frames of two runs, one for each pair of different meshes.
  func frames(_ runs: RunSizes, microBatches: Int) -> [Frame] {
    let meshes = runs.sizes.map { size in self.meshes(size: size).filter { isPossible(mesh: $0, microBatches: microBatches) } }
    return meshes[0].flatMap { first in
      meshes[1].filter { $0 != first }.map { second in
        frame([Run(stages: runs.stages[0], mesh: first), Run(stages: runs.stages[1], mesh: second)], microBatches: microBatches)
      }
    }
  }

  /// - Throws: `PlannerError.usage` where stages cannot have two meshes, or their mesh is given.
  func checkSubMeshes() throws {
    guard request.mayHaveSubMeshes else { return }
    func usage(_ text: String) -> PlannerError { .usage("--sub-meshes: \(text)") }
    if request.mesh != nil { throw usage("--mesh is that of all stages; leave one of the two out") }
    if !givenRuns.isEmpty { throw usage("--stage-meshes gives them; leave one of the two out") }
    if schedules == [.interleaved] { throw usage("stages with several meshes have one chunk of the model each; leave --schedule and --vpp out") }
    if let obstacle = obstacleToRuns { throw usage("stages cannot have several meshes where \(obstacle)") }
  }

  /// The pairs in words, for `--space`.
  var subMeshesInWords: String {
    let degrees = Set(runSizes.map(\.allStages)).sorted()
    guard let least = degrees.first, let most = degrees.last else { return "one" }
    func list(_ values: [Int]) -> String { Set(values).sorted().map(String.init).joined(separator: " ") }
    return "one, or with \(least == most ? "\(least)" : "\(least) to \(most)") stages one for the first of them and another for the rest, of "
      + "\(list(runSizes.flatMap(\.sizes))) devices each, \(list(runSizes.map(\.devices))) together; then of one chunk, with the layers of each mesh alike"
  }
}
