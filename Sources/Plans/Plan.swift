// SPDX-License-Identifier: GPL-3.0-or-later
import Hardware
import ModelGraph
import Strategies

/// A plan with everything that reading, running or questioning it needs: no other file has to be at hand.
package struct Plan: Hashable, Sendable {
  package var decision: Decision
  package var prediction: Prediction
  package var certificate: Certificate
  /// The hardware document, its groups in the plan's order; the plan uses the first `decision.ranks` devices.
  package var hardware: HardwareFile
  /// Devices after those that were given too, but stay idle.
  package var idleDevices: Int
  /// SHA-256 of the canonical parsed model and hardware documents, in hexadecimal.
  package var modelSHA256: String
  package var hardwareSHA256: String
  /// What was assumed where the command line said nothing.
  package var assumptions: [String]

  /// The devices that stay idle: `device 12`, `devices 12–15`.
  package var idleText: String {
    let first = decision.ranks
    return idleDevices == 1 ? "device \(first)" : "devices \(first)–\(first + idleDevices - 1)"
  }

  package init(
    decision: Decision, prediction: Prediction, certificate: Certificate, hardware: HardwareFile, idleDevices: Int = 0, modelSHA256: String,
    hardwareSHA256: String, assumptions: [String]
  ) {
    self.decision = decision
    self.prediction = prediction
    self.certificate = certificate
    self.hardware = hardware
    self.idleDevices = idleDevices
    self.modelSHA256 = modelSHA256
    self.hardwareSHA256 = hardwareSHA256
    self.assumptions = assumptions
  }
}
