// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Foundation
import Hardware
import ModelGraph
import Planner
import Plans
import Strategies
import Synchronization
import TestSupport
import Testing

/// Plans of small models that between them have every kind of exchange.
enum Split: String, CaseIterable, CustomTestStringConvertible {
  case sequenceParallel = "tp 2 with sequence parallelism"
  case interleaved = "pp 2 interleaved, tp 2"
  case zero3 = "dp 2 with ZeRO 3"
  case zero1 = "dp 2, tp 2 with ZeRO 1"
  case hidden = "dp 2 with ZeRO 2 behind products"
  case ring = "a ring of 4"
  case ringPipeline = "a ring of 2, pp 2"
  case experts = "ep 2"
  case stageMeshes = "stages of 2 x 2 and 2 x 1 devices"
  case recomputed = "tp 2, pp 2 with everything recomputed"

  var testDescription: String { rawValue }

  /// Searched for once.
  func plan(on hardware: String = "local") throws -> Plan {
    try Self.plans.withLock { plans in
      let key = "\(rawValue), \(hardware)"
      if let known = plans[key] { return known }
      let plan = try search(on: hardware)
      plans[key] = plan
      return plan
    }
  }

  private static let plans = Mutex<[String: Plan]>([:])

  private func search(on hardware: String) throws -> Plan {
    let file = try HardwareFile(decoding: Document(readingFrom: "\(CommandLineRun.folder.path)/hardware/\(hardware).json"))
    let degrees = degrees
    let devices = self == .stageMeshes ? 6 : degrees.devices
    let cluster = try file.cluster(devices: devices)
    var request = SearchRequest(
      graph: try graph(), cluster: cluster, batch: 8, sequence: 16, precision: cluster.kind(of: 0).defaultPrecision, mode: .train,
      optimizer: .adamw)
    if self == .stageMeshes {
      (request.stageMeshes, request.microBatches, request.schedule) = ([[2, 2], [2, 1]], 2, .oneForwardOneBackward)
    } else {
      request = try degrees.fix(request)
    }
    if self == .hidden { request.software.overlap = .weights }
    guard case .planned(let found) = try Planner.search(request) else { throw NoPlan() }
    return Plan(
      decision: found.decision, prediction: found.prediction, certificate: found.certificate, hardware: file,
      modelSHA256: String(repeating: "0", count: 64), hardwareSHA256: file.json.sha256, assumptions: [])
  }

  private struct NoPlan: Error {}

  private func graph() throws -> Graph {
    if self == .experts {
      var model = LlamaConfiguration()
      (model.workload, model.layers, model.hidden, model.heads, model.ffn) = (Workload(batch: 8, sequence: 16), 2, 32, 4, 64)
      (model.vocabulary, model.maximumPositions, model.keyValueHeads, model.headSize) = (64, 16, 4, 8)
      model.experts = ExpertLayer(naming: .mixtral, count: 4, perToken: 2, ffn: 64, renormalises: true)
      return try model.graph()
    }
    var model = GPT2Configuration()
    (model.workload, model.layers, model.hidden, model.heads, model.ffn) = (Workload(batch: 8, sequence: 16), 4, 32, 4, 64)
    (model.vocabulary, model.positions) = (64, 16)
    return try model.graph()
  }

  private var degrees: MegatronDegrees {
    var degrees = MegatronDegrees()
    degrees.microBatchSize = 2
    switch self {
    case .sequenceParallel: (degrees.tensor, degrees.isSequenceParallel) = (2, true)
    case .interleaved: (degrees.pipeline, degrees.tensor, degrees.schedule, degrees.chunks) = (2, 2, .interleaved, 2)
    case .zero3: (degrees.data, degrees.zero) = (2, .weights)
    case .zero1: (degrees.data, degrees.tensor, degrees.zero) = (2, 2, .optimizer)
    case .hidden: (degrees.data, degrees.zero) = (2, .gradients)
    case .ring: (degrees.context, degrees.contextWay) = (4, .ring)
    case .ringPipeline: (degrees.context, degrees.contextWay, degrees.pipeline) = (2, .ring, 2)
    case .experts: (degrees.data, degrees.expert) = (2, 2)
    case .stageMeshes: break
    case .recomputed: (degrees.tensor, degrees.pipeline, degrees.recompute) = (2, 2, .full)
    }
    return degrees
  }
}
