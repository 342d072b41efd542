// SPDX-License-Identifier: GPL-3.0-or-later
import Documents

/// The numbers of a hardware file by name, for what-if questions: `nvlink.bandwidth_GBps` of a level, `a100-80.memory_GiB` or `a100-80.efficiency.gemm` of a kind of
/// device.
extension HardwareFile {
  /// In the order of the file: of the kinds of devices, then of the levels.
  package var numberNames: [String] { owners.flatMap { owner in Self.numbers(in: owner.value).map { owner.name + "." + $0.name } } }

  /// - Returns: nil where the file has no such number.
  package func number(_ name: String) -> Double? {
    guard let (owner, path) = find(name) else { return nil }
    return Self.numbers(in: owner.value).first { $0.name == path }?.value
  }

  /// The same hardware with another number.
  ///
  /// - Throws: as reading a file that has it; `HardwareError.noSuchNumber`.
  package func setting(_ name: String, to value: Double) throws -> HardwareFile {
    guard let (owner, path) = find(name), number(name) != nil else {
      throw HardwareError.noSuchNumber(file: self.name, name: name, known: numberNames)
    }
    let changed = Self.setting(path.split(separator: ".").map(String.init)[...], of: owner.value, to: value)
    guard case .object(var root) = json else { preconditionFailure("a hardware file is an object") }
    switch owner.place {
    case .device(let key):
      guard case .object(var devices)? = root["devices"] else { preconditionFailure("a hardware file has devices") }
      devices[key] = changed
      root["devices"] = .object(devices)
    case .level(let index):
      guard case .array(var levels)? = root["levels"] else { preconditionFailure("a hardware file has levels") }
      levels[index] = changed
      root["levels"] = .array(levels)
    }
    return try HardwareFile(decoding: Document(file: "\(self.name) with \(name) = \(value)", value: .object(root)))
  }

  private enum Place {
    case device(String)
    case level(Int)
  }

  private typealias Owner = (name: String, value: JSON, place: Place)

  private var owners: [Owner] {
    guard case .object(let devices)? = json["devices"], case .array(let levels)? = json["levels"] else { return [] }
    return devices.members.map { ($0.key, $0.value, .device($0.key)) }
      + levels.enumerated().map { index, level in
        if case .string(let name)? = level["name"] { (name, level, .level(index)) } else { ("", level, .level(index)) }
      }
  }

  /// The names of kinds of devices may have dots in them.
  private func find(_ name: String) -> (owner: Owner, path: String)? {
    owners.first { name.hasPrefix($0.name + ".") }.map { ($0, String(name.dropFirst($0.name.count + 1))) }
  }

  private static func numbers(in value: JSON) -> [(name: String, value: Double)] {
    guard case .object(let object) = value else { return [] }
    return object.members.flatMap { member -> [(name: String, value: Double)] in
      switch member.value {
      // How many units a level joins is a shape, not a figure.
      case _ where member.key == "joins": []
      case .int(let number): [(member.key, Double(number))]
      case .double(let number): [(member.key, number)]
      case .object where member.key != "unfitted": numbers(in: member.value).map { (member.key + "." + $0.name, $0.value) }
      default: []
      }
    }
  }

  private static func setting(_ path: ArraySlice<String>, of value: JSON, to number: Double) -> JSON {
    guard let key = path.first, case .object(var object) = value else { return .double(number) }
    object[key] = setting(path.dropFirst(), of: object[key] ?? .null, to: number)
    return .object(object)
  }
}
