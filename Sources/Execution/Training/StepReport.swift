// SPDX-License-Identifier: GPL-3.0-or-later
import Documents

/// What one step of a training gave, as it is told while the ranks go on.
package struct StepReport: Equatable, Sendable {
  /// From 0.
  package let step: Int
  /// Steps of the whole training.
  package let of: Int
  /// Before the step's update; nil where the model has no loss.
  package let loss: Double?
  package let learningRate: Double?
  /// √Σ g² over every gradient before it is clipped; nil where nothing is.
  package let gradientNorm: Double?
  package let seconds: Double
  package let tokensPerSecond: Double?

  var json: JSON {
    var object = JSON.Object([("step", .int(step)), ("of", .int(of)), ("seconds", .double(seconds))])
    object["loss"] = loss.map { .double($0) }
    object["learning_rate"] = learningRate.map { .double($0) }
    object["gradient_norm"] = gradientNorm.map { .double($0) }
    object["tokens_per_second"] = tokensPerSecond.map { .double($0) }
    return .object(object)
  }
}

extension StepReport {
  /// - Returns: nil where the line is none that a rank writes.
  package init?(json line: String) {
    guard let root = try? Document(file: "step", parsing: Array(line.utf8)).root, let object = try? root.object(),
      let step = try? object.int("step"), let of = try? object.int("of"), let seconds = try? object.double("seconds")
    else { return nil }
    func number(_ key: String) -> Double? { (try? object.doubleIfPresent(key)) ?? nil }
    self.init(
      step: step, of: of, loss: number("loss"), learningRate: number("learning_rate"), gradientNorm: number("gradient_norm"), seconds: seconds,
      tokensPerSecond: number("tokens_per_second"))
  }
}
