// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Plans
import Quantities

/// What a row is predicted to take.
package struct RowPrice: Sendable {
  package enum Status: String, Hashable, Sendable, CaseIterable {
    /// The row gives the whole split.
    case priced
    /// The fastest that fits of what the row leaves open.
    case searched
    case skipped
  }

  package var id: String
  package var status: Status
  /// Why it is skipped: the kind of reason, a colon, and what the row has.
  package var reason: String?
  /// Of its plan; nil where it is skipped.
  package var prediction: Prediction?
  /// Splits that were compared; 1 where the row gives it.
  package var compared = 0
  /// The split, by the tables' keys.
  package var split: [(key: String, value: Int)] = []
  package var style: ModelStyle?
  package var assumptions: [String] = []
  /// Of one device's arithmetic in a step, what a model needs without any computed twice; what the naive baseline goes by.
  package var naive: NaiveStep?

  package var step: Seconds? { prediction?.step }
  /// What each device of the fullest stage holds.
  package var memory: Bytes? { prediction?.memory }
  package var memoryLimit: Bytes? { prediction?.memoryLimit }
  package var fits: Bool? { memory.flatMap { memory in memoryLimit.map { memory <= $0 } } }

  /// One object: the prediction, then the row's own figures.
  package func json(beside published: PublishedFigures) -> JSON {
    var object = JSON.Object()
    func set(_ key: String, _ value: JSON?) { object[key] = value ?? .null }
    set("id", .string(id))
    set("status", .string(status.rawValue))
    set("predicted_iter_s", step.map { .double($0.value) })
    set("predicted_mem_gb", memory.map { .double($0.value / 1e9) })
    set("mem_limit_gb", memoryLimit.map { .double($0.value / 1e9) })
    set("fits", fits.map { .bool($0) })
    if let reason { set("reason", .string(reason)) }
    if status == .searched { set("compared", .int(compared)) }
    if status != .skipped {
      set("split", .object(JSON.Object(split.map { ($0.key, .int($0.value)) })))
      set("style", style.map { .string($0.rawValue) })
      set("assumptions", .array(assumptions.map { .string($0) }))
    }
    for member in published.members { set(member.key, member.value) }
    return .object(object)
  }
}

/// What arithmetic alone says of a step: operations ÷ (devices × a rate), and the pipeline's bubble.
package struct NaiveStep: Hashable, Sendable {
  /// Of all devices together.
  package var work: FLOPs
  package var devices: Int
  /// Of the time without it.
  package var bubble: Double

  package func seconds(at rate: Double) -> Double { work.value / (Double(devices) * rate) * (1 + bubble) }
}
