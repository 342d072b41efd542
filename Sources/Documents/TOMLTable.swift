// SPDX-License-Identifier: GPL-3.0-or-later

/// A table while its file is read: with how it was defined, which decides what may still be added to it.
final class TOMLTable {
  enum Origin {
    /// Named only as a part of a longer header: its own header may follow.
    case implied
    /// `[name]`, or an element of `[[name]]`.
    case header
    /// By dotted keys of the section with this number, which alone may add to it.
    case dotted(section: Int)
  }

  enum Member {
    /// Anything that is complete: arrays and inline tables too.
    case value(JSON)
    case table(TOMLTable)
    /// `[[name]]`, each element by its own header.
    case tables([TOMLTable])
  }

  var origin: Origin
  private(set) var keys: [String] = []
  private var members: [String: Member] = [:]

  init(_ origin: Origin) { self.origin = origin }

  subscript(key: String) -> Member? {
    get { members[key] }
    set {
      if members[key] == nil, newValue != nil { keys.append(key) }
      members[key] = newValue
    }
  }

  var json: JSON {
    .object(
      JSON.Object(
        keys.map { key in
          switch members[key]! {
          case .value(let value): (key, value)
          case .table(let table): (key, table.json)
          case .tables(let tables): (key, .array(tables.map(\.json)))
          }
        }))
  }
}
