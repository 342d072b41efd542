// SPDX-License-Identifier: GPL-3.0-or-later
import Quantities

/// A change of a request that makes some plan fit, in the command line's words, and what it leads to.
package struct Repair: Sendable {
  package let change: String
  /// What changes with it besides, in words; nil where nothing does.
  package var remark: String?
  /// The changed degrees, where degrees were given and are what is changed.
  package internal(set) var degrees: MegatronDegrees?
  /// Of the best plan that was found.
  package internal(set) var step: Seconds
  /// Whether no plan of the changed request takes less.
  package internal(set) var isProven: Bool
  package internal(set) var devices: Int
  /// Whether something else is computed: another batch, optimizer or data type, or with another attention kernel.
  package let isOtherJob: Bool
  /// A number of devices with which, as is proven, nothing fits: one less than the change's.
  package internal(set) var tooFewDevices: Int?
  /// Device-seconds per sequence: what makes one change cheaper than another.
  package internal(set) var price: Double

  init(_ change: String, _ planned: PlanOutcome.Planned, isProven: Bool, isOtherJob: Bool) {
    (self.change, self.isProven, self.isOtherJob) = (change, isProven, isOtherJob)
    (step, devices, price) = (planned.prediction.step, planned.decision.ranks, Self.price(planned))
  }

  /// The change's better plan.
  mutating func improve(_ planned: PlanOutcome.Planned) {
    (step, devices, price) = (planned.prediction.step, planned.decision.ranks, Self.price(planned))
  }

  private static func price(_ planned: PlanOutcome.Planned) -> Double {
    planned.prediction.step.value * Double(planned.decision.ranks) / Double(planned.decision.job.batch)
  }

  /// The same job before another one, the cheaper first.
  fileprivate static func precedes(_ a: Repair, _ b: Repair) -> Bool { (a.isOtherJob ? 1 : 0, a.price) < (b.isOtherJob ? 1 : 0, b.price) }
}

/// What was found of changes that make an infeasible request feasible.
package struct Repairs: Sendable {
  /// Those of the same job first, each group the cheapest first.
  package internal(set) var changes: [Repair] = []
  /// Changes of which it was not known in time whether they are enough.
  package internal(set) var undecided: [String] = []
  /// How much memory on each device makes the request feasible as it is; nil where that was not looked for, or not found in time.
  package internal(set) var memory: Memory?

  package struct Memory: Sendable {
    package let bytes: Bytes
    /// Of the best plan found with so much.
    package let step: Seconds
    /// Whether nothing fits with less.
    package let isLeast: Bool
  }

  /// Whether it is known of all changes that were looked at and leave the job as it is what they lead to, so that the first is the cheapest.
  package var isFirstProvenCheapest: Bool { undecided.isEmpty && changes.allSatisfy { $0.isOtherJob || $0.isProven } }

  /// Nothing found.
  package init() {}

  init(changes: [Repair], undecided: [String], memory: Memory?) {
    self.changes = changes.sorted(by: Repair.precedes)
    (self.undecided, self.memory) = (undecided, memory)
  }
}
