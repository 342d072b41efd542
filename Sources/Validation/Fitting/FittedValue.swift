// SPDX-License-Identifier: GPL-3.0-or-later
import Hardware

/// A constant that a hardware file says was fitted.
package struct FittedValue: Sendable {
  /// The file, as rows name it.
  package let cluster: String
  /// The device kind that has it; nil where a level has.
  package let device: String?
  package let name: String
  package let value: Double
  package let unfitted: Double
  package let range: FittableConstant
  /// The rows it was fitted on, in the file's words.
  package let rows: String?

  package static func all(of file: HardwareFile, named cluster: String) -> [FittedValue] {
    file.constantPlaces.compactMap { place in
      guard let unfitted = file.unfittedValue(place) else { return nil }
      var device: String?
      if case .device(let name) = place.owner { device = name }
      return FittedValue(
        cluster: cluster, device: device, name: place.name, value: file.value(place), unfitted: unfitted, range: place.constant,
        rows: file.fitRecord(place.owner)?.rows)
    }
  }
}
