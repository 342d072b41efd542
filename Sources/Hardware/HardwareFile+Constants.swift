// SPDX-License-Identifier: GPL-3.0-or-later
import Documents

extension DeviceKind {
  /// What a chip is called whatever memory it has: its name up to the first `-`. Constants are fitted for all of a family together.
  package var family: String { name.prefix { $0 != "-" }.description }
}

extension HardwareFile {
  /// The family of all its devices; nil where there are several.
  package var family: String? {
    let families = Set(groups.map { devices[$0.device].family })
    return families.count == 1 ? families.first : nil
  }

  /// All constants that may be fitted: of the devices that are in groups, then of the levels.
  package var constantPlaces: [ConstantPlace] {
    let used = devices.indices.filter { device in groups.contains { $0.device == device } }
    return used.flatMap { device in FittableConstant.ofDevices.map { ConstantPlace(.device(devices[device].name), $0) } }
      + levels.flatMap { level in FittableConstant.ofLevels.map { ConstantPlace(.level(level.name), $0) } }
  }

  /// The value of a constant.
  /// - Precondition: the file has its owner.
  package func value(_ place: ConstantPlace) -> Double {
    switch json.owner(place.owner)?[place.constant.key] {
    case .double(let value): value
    case .int(let value): Double(value)
    default: place.constant.usual
    }
  }

  /// The record of the fit that a constant's owner has.
  package func fitRecord(_ owner: ConstantPlace.Owner) -> FitRecord? {
    switch owner {
    case .device(let name): devices.first { $0.name == name }?.efficiency.fit
    case .level(let name): levels.first { $0.name == name }?.fit
    }
  }

  /// What a constant is without a fit; nil where the file does not say that it was fitted.
  package func unfittedValue(_ place: ConstantPlace) -> Double? { fitRecord(place.owner)?.unfitted(place.constant.key) }

  /// The file with other values of constants.
  ///
  /// - Throws: `DocumentError` for a value that no file may have.
  package func setting(_ values: [(place: ConstantPlace, value: Double)]) throws -> HardwareFile {
    if values.allSatisfy({ value($0.place) == $0.value }) { return self }
    return try HardwareFile(decoding: Document(file: name, value: json.setting(values)))
  }

  /// The file as it would be without fits; nil where nothing in it was fitted.
  package var unfitted: HardwareFile? {
    let values = constantPlaces.compactMap { place in unfittedValue(place).map { (place: place, value: $0) } }
    // Values of a file that was read are lawful in it.
    return values.isEmpty ? nil : try? setting(values)
  }
}

extension JSON {
  /// A hardware file's JSON with other values of constants; all else is as it was, in its order.
  package func setting(_ values: [(place: ConstantPlace, value: Double)]) -> JSON {
    values.reduce(self) { json, change in
      json.changingOwner(change.place.owner) { $0[change.place.constant.key] = .double(change.value) }
    }
  }

  /// A hardware file's JSON in which `owner` has `unfitted` and `fitted_on` of a fit.
  package func recording(unfitted: [(place: ConstantPlace, value: Double)], rows: String, of owner: ConstantPlace.Owner) -> JSON {
    changingOwner(owner) { object in
      var values = JSON.Object()
      if case .object(let known)? = object["unfitted"] { values = known }
      for (place, value) in unfitted where place.owner == owner && values[place.constant.key] == nil { values[place.constant.key] = .double(value) }
      object["unfitted"] = .object(values)
      object["fitted_on"] = .string(rows)
      // Where the words on sources stand, at the end.
      if let source = object["source"] {
        object["source"] = nil
        object["source"] = source
      }
    }
  }

  /// The object that has an owner's constants.
  fileprivate func owner(_ owner: ConstantPlace.Owner) -> JSON? {
    switch owner {
    case .device(let name): return self["devices"]?[name]?["efficiency"]
    case .level(let name):
      guard case .array(let levels)? = self["levels"] else { return nil }
      return levels.first { $0["name"] == .string(name) }
    }
  }

  private func changingOwner(_ owner: ConstantPlace.Owner, _ change: (inout Object) -> Void) -> JSON {
    func changed(_ value: JSON?) -> JSON? {
      guard case .object(var object)? = value else { return value }
      change(&object)
      return .object(object)
    }
    guard case .object(var root) = self else { return self }
    switch owner {
    case .device(let name):
      guard case .object(var devices)? = root["devices"], case .object(var device)? = devices[name] else { return self }
      // A file without says that every kernel runs at its bound.
      device["efficiency"] = changed(device["efficiency"] ?? ["gemm": 1, "memory": 1])
      devices[name] = .object(device)
      root["devices"] = .object(devices)
    case .level(let name):
      guard case .array(let levels)? = root["levels"] else { return self }
      root["levels"] = .array(levels.map { $0["name"] == .string(name) ? changed($0) ?? $0 : $0 })
    }
    return .object(root)
  }
}
