// SPDX-License-Identifier: GPL-3.0-or-later
import Plans
import Quantities

/// Where a step's time goes on the devices of one stage: the figures of a plan's stages, over all micro-batches.
package struct StageTime: Hashable {
  /// Operators forward and backward, without collectives.
  package private(set) var computing = Seconds.zero
  /// Collectives within passes, those inside operators included.
  package private(set) var collectives = Seconds.zero
  /// Once per step.
  package private(set) var gradientSync = Seconds.zero
  package private(set) var update = Seconds.zero
  /// For other stages and their messages.
  package private(set) var waiting = Seconds.zero

  package init(_ prediction: Prediction, group: Int, microBatches: Int) {
    for index in stride(from: group, to: prediction.stages.count, by: prediction.groups) {
      let stage = prediction.stages[index]
      // Both are sums of parts that were rounded one by one.
      computing += max(.zero, stage.forward + stage.backward - stage.communication) * microBatches
      collectives += min(stage.communication, stage.forward + stage.backward) * microBatches
      gradientSync += stage.gradientSync
      update += stage.update
    }
    waiting = prediction.groups == 1 ? .zero : max(.zero, prediction.step - computing - collectives - gradientSync - update)
  }

  var whole: Seconds { computing + collectives + gradientSync + update + waiting }

  static let parts: [(name: String, hue: Hue, value: KeyPath<StageTime, Seconds> & Sendable)] = [
    ("computing", .blue, \.computing), ("collectives", .orange, \.collectives), ("gradient sync", .purple, \.gradientSync),
    ("optimizer", .green, \.update), ("waiting", .grey, \.waiting),
  ]
}
