// SPDX-License-Identifier: GPL-3.0-or-later

/// A stage whose devices of several kinds share the batch out unevenly: each kind holds its own share under its own limit.
extension Configuration {
  /// The loads of the kinds that have fewer samples than the first, and less memory.
  func loadsOfShares(_ loads: [Load]) -> [Load] {
    reservedOfShares.indices.dropFirst().filter { reservedOfShares[$0] > reservedOfShares[0] }.flatMap { share in
      loads.map { load in
        Load(stage: load.stage, copies: load.copies, kept: load.kept, reserved: reservedOfShares[share], share: share)
      }
    }
  }
}

extension FoldedModel {
  /// The model of one of several kinds of devices that share the batch out unevenly; itself where they do not.
  func ofShare(_ share: Int) -> FoldedModel { share == 0 ? self : otherShares[share - 1] }
}
