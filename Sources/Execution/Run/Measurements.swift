// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation

/// What one rank measured, as numbers that it can tell the others.
struct Measurements {
  var seconds: [Double] = []
  /// This rank's addends.
  var losses: [Double] = []
  var traffic = Traffic()
  var peakResidentBytes = 0
  var peakBufferBytes = 0
  var bytesOutsideArena = 0
  var parts: [StepParts] = []
  /// For each step the processor time of the thread that computes.
  var processorSeconds: [Double] = []

  init() {}

  init(_ numbers: [Double], steps: Int) {
    seconds = Array(numbers[..<steps])
    losses = Array(numbers[steps..<2 * steps])
    peakResidentBytes = Int(numbers[2 * steps])
    peakBufferBytes = Int(numbers[2 * steps + 1])
    bytesOutsideArena = Int(numbers[2 * steps + 2])
    let rest = numbers[(2 * steps + 3)...]
    parts = (0..<steps).map { StepParts(rest.dropFirst($0 * StepParts.numberCount).prefix(StepParts.numberCount)) }
    processorSeconds = Array(rest.dropFirst(steps * StepParts.numberCount).prefix(steps))
    traffic = Traffic(rest.dropFirst(steps * (StepParts.numberCount + 1)))
  }

  var numbers: [Double] {
    seconds + losses + [peakResidentBytes, peakBufferBytes, bytesOutsideArena].map(Double.init) + parts.flatMap(\.numbers) + processorSeconds
      + traffic.numbers
  }
}

extension Traffic {
  static var numberCount: Int { 2 * Kind.allCases.count }

  var numbers: [Double] { Kind.allCases.flatMap { [Double(self[$0].count), Double(self[$0].bytes)] } }

  init(_ numbers: ArraySlice<Double>) {
    self.init()
    let values = Array(numbers)
    for (index, kind) in Kind.allCases.enumerated() { self[kind] = Amount(count: Int(values[2 * index]), bytes: Int(values[2 * index + 1])) }
  }
}

extension Communicator {
  /// Every rank's numbers, by rank, on every rank; all give equally many.
  func shareNumbers(_ own: [Double]) throws(ExecutionError) -> [[Double]] {
    let gathered = try gather(own.withUnsafeBytes(Array.init))
    let all = try broadcast((gathered ?? []).flatMap { $0 })
    let values = all.withUnsafeBytes { bytes in
      (0..<size * own.count).map { bytes.loadUnaligned(fromByteOffset: $0 * MemoryLayout<Double>.stride, as: Double.self) }
    }
    return (0..<size).map { Array(values[$0 * own.count..<($0 + 1) * own.count]) }
  }
}

/// What the system says of this process's memory.
enum ProcessMemory {
  /// The most that has been resident at once (VmHWM of /proc/self/status); 0 where the system does not say.
  static var peakResidentBytes: Int { bytes("VmHWM:") }

  /// What is resident now (VmRSS); 0 where the system does not say.
  static var residentBytes: Int { bytes("VmRSS:") }

  private static func bytes(_ key: String) -> Int {
    guard let status = try? String(contentsOfFile: "/proc/self/status", encoding: .utf8),
      let line = status.split(separator: "\n").first(where: { $0.hasPrefix(key) }),
      let kilobytes = line.split(whereSeparator: \.isWhitespace).dropFirst().first.flatMap({ Int($0) })
    else { return 0 }
    return kilobytes * 1024
  }
}
