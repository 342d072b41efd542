// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Quantities
import Strategies

/// How a torchtitan job cuts the model into stages (`torchtitan/distributed/pipeline_parallel.py`).
extension TorchtitanReading {
  /// Schedules of torch.distributed.pipelining by their names in small letters, with whether they have several chunks on each device.
  private static let schedules: [String: (kind: Schedule.Kind, isExact: Bool)] = [
    "gpipe": (.gpipe, true), "1f1b": (.oneForwardOneBackward, true), "interleaved1f1b": (.interleaved, true),
    "interleaved_1f1b": (.interleaved, true), "flexible_interleaved_1f1b": (.interleaved, true), "loopedbfs": (.interleaved, false),
    "interleavedzerobubble": (.interleaved, false), "zbvzerobubble": (.interleaved, false), "dualpipev": (.interleaved, false),
  ]

  mutating func readPipeline() {
    let name = settings.string("parallelism.pipeline_parallel_schedule") ?? "1F1B"
    guard launch.degrees.pipeline > 1 else { return }
    let place = "parallelism.pipeline_parallel_schedule"
    if let csv = settings.string("parallelism.pipeline_parallel_schedule_csv"), !csv.isEmpty {
      settings.add(.ignored, "parallelism.pipeline_parallel_schedule_csv", "the schedule in \(csv) is priced as \(name)")
    }
    if let schedule = Self.schedules[name.lowercased()] {
      launch.degrees.schedule = schedule.kind
      if !schedule.isExact { settings.add(.ignored, place, "\(name) is priced as Interleaved1F1B") }
    } else {
      settings.add(.illegal, place, "found \"\(name)\", expected GPipe, 1F1B, Interleaved1F1B or another schedule of torch.distributed.pipelining")
    }
    let cut = modules() ?? splitPoints() ?? weighted()
    let isInterleaved = launch.degrees.schedule == .interleaved
    let parts = cut?.count ?? launch.degrees.pipeline * (isInterleaved ? 2 : 1)
    guard parts % launch.degrees.pipeline == 0, (parts > launch.degrees.pipeline) == isInterleaved else {
      settings.add(
        .illegal, place,
        "the model is cut into \(counted(parts, "part")); \(name) on \(counted(launch.degrees.pipeline, "stage")) needs \(isInterleaved ? "a multiple of that, at least two for each" : "as many")"
      )
      return
    }
    launch.degrees.chunks = parts / launch.degrees.pipeline
    launch.degrees.stageLayers = cut
    if let cut, let layers = layerCount, cut.reduce(0, +) != layers {
      settings.add(.illegal, "parallelism", "the stages have \(cut.reduce(0, +)) layers together, and the model has \(layers)")
      launch.degrees.stageLayers = nil
    }
    if cut == nil {
      settings.add(.ignored, "parallelism.pipeline_parallel_degree", "the job does not say how many layers the model has; the plan cuts it evenly")
    }
  }

  /// `module_fqns_per_model_part`: the layers of each part, which follow one another.
  private mutating func modules() -> [Int]? {
    let place = "parallelism.module_fqns_per_model_part"
    guard let value = settings.value(place) else { return nil }
    guard case .array(let parts) = value, !parts.isEmpty else {
      settings.add(.illegal, place, "found \(value.summary), expected an array of arrays of module names")
      return nil
    }
    var (cut, next) = ([Int](), 0)
    for part in parts {
      guard case .array(let names) = part else {
        settings.add(.illegal, place, "found \(part.summary), expected an array of module names")
        return nil
      }
      var count = 0
      for case .string(let name) in names where name.hasPrefix("layers.") {
        if name != "layers.\(next)" {
          settings.add(.illegal, place, "found \(name) where layers.\(next) is expected: stages hold layers that follow one another")
          return nil
        }
        (next, count) = (next + 1, count + 1)
      }
      cut.append(count)
    }
    return cut
  }

  /// `pipeline_parallel_split_points`: the first layer of each part but the first one.
  private mutating func splitPoints() -> [Int]? {
    let place = "parallelism.pipeline_parallel_split_points"
    guard let value = settings.value(place) else { return nil }
    var names: [String] = []
    if case .string(let text) = value {
      names = text.split(separator: ",").map { String($0.filter { $0 != " " }) }
    } else {
      names = settings.strings(place) ?? []
    }
    if names.isEmpty { return nil }
    let points = names.compactMap { $0.hasPrefix("layers.") ? Int($0.dropFirst(7)) : nil }
    guard points.count == names.count, zip([-1] + points, points).allSatisfy({ $0 < $1 }) else {
      settings.add(.illegal, place, "found \(names.joined(separator: ",")), expected layers in ascending order, such as layers.4,layers.8")
      return nil
    }
    guard let layers = layerCount else { return nil }
    guard points[points.count - 1] < layers else {
      settings.add(.illegal, place, "the model has no layers.\(points[points.count - 1]): it has \(layers)")
      return nil
    }
    return zip([0] + points, points + [layers]).map { $1 - $0 }
  }

  /// The cut that torchtitan makes by itself: the embedding and the head count as so many layers.
  private mutating func weighted() -> [Int]? {
    let first = settings.int("parallelism.pipeline_parallel_first_stage_less_layers", .within(0, 1 << 14)) ?? 1
    let last = settings.int("parallelism.pipeline_parallel_last_stage_less_layers", .within(0, 1 << 14)) ?? 1
    let perStage = settings.int("parallelism.pipeline_parallel_layers_per_stage", .within(1, 1 << 14))
    guard let layers = layerCount else { return nil }
    let (stages, total) = (launch.degrees.pipeline, layers + first + last)
    let count = perStage.map { (total + $0 - 1) / $0 } ?? stages * (launch.degrees.schedule == .interleaved ? 2 : 1)
    let (even, extra) = (total / count, total % count)
    guard even >= max(first, last, 1) else {
      settings.add(
        .illegal, "parallelism.pipeline_parallel_degree",
        "\(counted(layers, "layer")) over \(counted(count, "part")) leave \(even) for each, less than the first or the last has to give up")
      return nil
    }
    return (0..<count).map { part in
      even + (part < extra ? 1 : 0) - (part == 0 ? first : 0) - (part == count - 1 ? last : 0)
    }
  }
}
