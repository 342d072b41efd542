// SPDX-License-Identifier: GPL-3.0-or-later

/// Something that a launch says and that its reader should know.
package struct Finding: Hashable, Sendable {
  package enum Severity: String, Hashable, Sendable, CaseIterable {
    /// The program would refuse it, or compute something else than is meant.
    case illegal
    /// Its value is left to who starts the launch, and has to be given.
    case open
    /// It works and is hardly meant.
    case doubtful
    /// It is legal, and has no part in the plan or its price.
    case ignored
  }

  package var severity: Severity
  /// Where it stands: `--tensor-model-parallel-size`, `zero_optimization.stage`, `line 12`.
  package var place: String
  /// What was found, what was expected, and what to do.
  package var text: String

  package init(_ severity: Severity, _ place: String, _ text: String) {
    (self.severity, self.place, self.text) = (severity, place, text)
  }
}
