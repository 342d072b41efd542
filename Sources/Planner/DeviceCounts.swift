// SPDX-License-Identifier: GPL-3.0-or-later
import Hardware

/// The numbers of devices that a plan may use: all that are given, and fewer where their divisors offer meshes and stages that no larger number has.
///
/// Which smaller numbers are listed follows from their prime factors: 2 · 2 · 3 devices can be cut into more shapes than 13. A number is listed if
/// its largest prime factor is below that of every larger listed one, or the same with more divisors; powers of two are listed, and every number up
/// to `all`. Over several nodes whole nodes are counted, since parts of nodes lie unevenly on the levels.
enum DeviceCounts {
  /// Up to here every number is listed.
  static let all = 16

  /// In ascending order.
  static func useful(of cluster: Cluster) -> [Int] {
    let devices = cluster.deviceCount
    var counts = Set(1...min(all, devices))
    counts.insert(devices)
    // The devices up to the end of each node, and up to where another kind begins.
    let ends = (1..<devices + 1).filter { $0 == devices || cluster.nodeOfDevice[$0] != cluster.nodeOfDevice[$0 - 1] }
    if ends.count == 1 {
      counts.formUnion(useful(upTo: devices))
    } else {
      counts.formUnion(useful(upTo: ends.count).map { ends[$0 - 1] })
    }
    for device in 1..<max(1, devices) where cluster.kindOfDevice[device] != cluster.kindOfDevice[device - 1] { counts.insert(device) }
    return counts.sorted()
  }

  /// Useful numbers of equal parts, in ascending order.
  static func useful(upTo most: Int) -> [Int] {
    var counts: [Int] = []
    var listed = (factor: Int.max, divisors: 0)
    for count in (1...most).reversed() {
      let (factor, divisors) = structure(count)
      let isRounder = factor < listed.factor || (factor == listed.factor && divisors > listed.divisors)
      if isRounder { listed = (factor, divisors) }
      if isRounder || count <= all || count & (count - 1) == 0 { counts.append(count) }
    }
    return counts.reversed()
  }

  /// The largest prime factor (1 of 1), and the number of divisors.
  private static func structure(_ count: Int) -> (factor: Int, divisors: Int) {
    var (rest, largest, divisors, factor) = (count, 1, 1, 2)
    while factor * factor <= rest {
      var power = 0
      while rest % factor == 0 {
        rest /= factor
        power += 1
      }
      if power > 0 { largest = factor }
      divisors *= power + 1
      factor += 1
    }
    return rest > 1 ? (rest, 2 * divisors) : (largest, divisors)
  }

  /// The numbers of devices that a request may use, in ascending order; empty where a fixed choice leaves none.
  static func possible(_ request: SearchRequest) -> [Int] {
    let devices = request.cluster.deviceCount
    if let meshes = request.stageMeshes { return [meshes.reduce(0) { $0 + $1.reduce(1, *) }] }
    guard request.mayLeaveIdle else { return [devices] }
    // Of interleaved chunks several are on each stage.
    let isPlain = request.schedule != .interleaved && (request.chunks ?? 1) == 1
    let degree = request.pipelineDegree ?? (isPlain ? request.stageLayers?.count : nil)
    let size = request.mesh?.reduce(1, *)
    switch (degree, size) {
    case (let degree?, let size?): return degree * size <= devices ? [degree * size] : []
    case (let degree?, nil): return degree <= devices ? useful(upTo: devices / degree).map { degree * $0 } : []
    case (nil, let size?): return size <= devices ? (1...devices / size).map { size * $0 } : []
    case (nil, nil): return useful(of: request.cluster)
    }
  }
}

extension Space {
  /// The sizes that meshes of so many stages may have, the largest first.
  func sizes(stages: Int) -> [Int] {
    let sizes = deviceCounts.reversed().filter { $0 % stages == 0 }.map { $0 / stages }
    guard let size = request.mesh?.reduce(1, *) else { return sizes }
    return sizes.filter { $0 == size }
  }

  /// The largest of them.
  func largestSize(stages: Int) -> Int { sizes(stages: stages).first ?? 0 }

  /// The next smaller one.
  func size(below size: Int, stages: Int) -> Int? { sizes(stages: stages).first { $0 < size } }
}
