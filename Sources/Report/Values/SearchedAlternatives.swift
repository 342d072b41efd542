// SPDX-License-Identifier: GPL-3.0-or-later
import Plans
import Quantities

/// A plan's choices, each with its other values and the best plan that has them: what `tpplan explain` finds.
package struct SearchedAlternatives {
  /// Another value of a choice.
  package struct Value {
    let name: String
    /// Nil where there is no plan with it, or none was found in time.
    let prediction: Prediction?
    /// The best plan with it, in words.
    let plan: String
    /// What is to be said of it: that it may be better still, or why there is none.
    let note: String

    package init(name: String, prediction: Prediction?, plan: String, note: String) {
      (self.name, self.prediction, self.plan, self.note) = (name, prediction, plan, note)
    }
  }

  package struct Choice {
    let name: String
    /// The plan's own value.
    let own: String
    let others: [Value]

    package init(name: String, own: String, others: [Value]) { (self.name, self.own, self.others) = (name, own, others) }
  }

  let choices: [Choice]
  /// What is to be said where the time did not suffice; empty where it did.
  let remarks: [String]

  package init(choices: [Choice], remarks: [String]) { (self.choices, self.remarks) = (choices, remarks) }
}
