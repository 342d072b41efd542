// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph
import Quantities
import Strategies

extension TorchLaunch {
  /// How the model is cut into pipeline stages: the tables `STAGES`, and `JOB`'s schedule.
  package struct Pipeline: Hashable, Sendable {
    /// Layers of one part, by their numbers.
    struct Unit: Hashable, Sendable {
      let part: String
      let layers: Range<Int>
    }

    /// Groups of ranks that have stages: the size of the axis pp.
    package let groups: Int
    package let schedule: Schedule
    /// In the model's order; of p groups, group g has the stages g, g + p, ….
    let stages: [[Unit]]

    /// How many layers each stage has, as `Decision.searchedLayers` counts them.
    func layers(_ parts: [Part]) -> [Int] {
      let around = [parts.first, parts.last].compactMap { $0 }.filter { $0.module == nil }.map(\.name)
      return stages.map { $0.reduce(0) { $0 + (around.contains($1.part) ? 0 : $1.layers.count) } }
    }
  }
}

extension TorchTables {
  func schedule(_ job: PythonLiteral) throws -> Schedule.Kind { try word("schedule", in: job, Schedule.Kind.self) }

  /// - Throws: `LaunchError` where the stages are not all parts and layers, each once and in the model's order, or not as many as the axis pp takes.
  func pipeline(_ value: PythonLiteral, _ groups: Int, schedule: Schedule.Kind, _ parts: [TorchLaunch.Part]) throws -> TorchLaunch.Pipeline {
    guard case .list(let rows) = value else { throw failure("STAGES", "expected a list of stages") }
    let stages = try rows.enumerated().map { number, row in try stage(row, number, parts) }
    let chunks = rows.count / groups
    guard rows.count == chunks * groups, schedule == .interleaved ? chunks > 1 : chunks == 1 else {
      let wanted = schedule == .interleaved ? "a multiple of that, at least two for each" : "as many"
      throw failure(
        "STAGES",
        "has \(counted(rows.count, "stage")) for \(counted(groups, "rank")) of the axis pp; the schedule \(schedule.rawValue) needs \(wanted)")
    }
    try checkCover(stages, parts)
    let order: Schedule =
      switch schedule {
      case .gpipe: .gpipe
      case .oneForwardOneBackward: .oneForwardOneBackward
      case .interleaved: .interleaved(chunks: chunks)
      }
    return TorchLaunch.Pipeline(groups: groups, schedule: order, stages: stages)
  }

  private func stage(_ row: PythonLiteral, _ number: Int, _ parts: [TorchLaunch.Part]) throws -> [TorchLaunch.Pipeline.Unit] {
    guard case .dictionary(let entries) = row, !entries.isEmpty else {
      throw failure("STAGES[\(number)]", "expected parts with their layers, such as {\"\(parts.first?.name ?? "block")\": range(0, 1)}")
    }
    return try entries.map { entry in
      let place = "STAGES[\(number)][\"\(entry.key)\"]"
      guard let part = parts.first(where: { $0.name == entry.key }) else { throw failure(place, "is no part of PARTS") }
      guard case .call("range", let arguments, let named) = entry.value, named.isEmpty, arguments.count == 2, let first = arguments[0].number,
        let end = arguments[1].number, first < end
      else { throw failure(place, "expected the numbers of layers, such as range(0, 2)") }
      let known = part.first..<part.first + part.copies
      guard first >= known.lowerBound, end <= known.upperBound else {
        throw failure(place, "has range(\(first), \(end)); PARTS has range(\(known.lowerBound), \(known.upperBound))")
      }
      return TorchLaunch.Pipeline.Unit(part: entry.key, layers: first..<end)
    }
  }

  private func checkCover(_ stages: [[TorchLaunch.Pipeline.Unit]], _ parts: [TorchLaunch.Part]) throws {
    /// What each stage has must begin where the one before ended.
    var (part, layer) = (0, parts.first?.first ?? 0)
    func text(_ part: TorchLaunch.Part, _ layer: Int) -> String { part.module == nil ? part.name : "layer \(layer) of \(part.name)" }
    for (number, units) in stages.enumerated() {
      for unit in units {
        let place = "STAGES[\(number)][\"\(unit.part)\"]"
        let own = parts.firstIndex { $0.name == unit.part }!
        if (own, unit.layers.lowerBound) < (part, layer) {
          throw failure(place, "has \(text(parts[own], unit.layers.lowerBound)), which the stages before have too")
        }
        guard part < parts.count, (own, unit.layers.lowerBound) == (part, layer) else {
          throw failure(place, "begins with \(text(parts[own], unit.layers.lowerBound)); the stages before end before \(text(parts[part], layer))")
        }
        layer = unit.layers.upperBound
        if layer == parts[own].first + parts[own].copies {
          part += 1
          layer = part < parts.count ? parts[part].first : 0
        }
      }
    }
    if part < parts.count { throw failure("STAGES", "has no stage with \(text(parts[part], layer))") }
  }
}
