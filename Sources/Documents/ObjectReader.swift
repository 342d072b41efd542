// SPDX-License-Identifier: GPL-3.0-or-later

/// Reads an object with fixed keys and remembers which were asked for, so that `finish` can refuse the others.
///
/// In the `IfPresent` getters an explicit `null` counts as absent.
package final class ObjectReader {
  package let node: Node
  private let object: JSON.Object
  /// Every key that was asked for, in order: these are the keys the format knows.
  private var known: [String] = []
  private var knownSet: Set<String> = []
  /// Keys that the format has, whether they were asked for yet or not.
  private let declared: Set<String>

  init(node: Node, object: JSON.Object, keys: [String] = []) {
    self.node = node
    self.object = object
    declared = Set(keys)
  }

  // MARK: any value

  /// - Throws: `DocumentError.missingKey`.
  package func node(_ key: String) throws(DocumentError) -> Node {
    markKnown(key)
    guard let value = object[key] else {
      let misspelt = nearestSpelling(to: key, among: object.members.map(\.key).filter { !knownSet.contains($0) && !declared.contains($0) })
      throw .missingKey(file: node.file, path: node.path, key: key, misspelt: misspelt)
    }
    return node.child(key, value)
  }

  package func nodeIfPresent(_ key: String) -> Node? {
    markKnown(key)
    guard let value = object[key], value != .null else { return nil }
    return node.child(key, value)
  }

  package func contains(_ key: String) -> Bool { object[key] != nil }

  // MARK: typed values

  package func string(_ key: String) throws(DocumentError) -> String { try node(key).string() }
  package func bool(_ key: String) throws(DocumentError) -> Bool { try node(key).bool() }
  package func int(_ key: String, _ bound: Bound<Int> = .any) throws(DocumentError) -> Int { try node(key).int(bound) }
  package func double(_ key: String, _ bound: Bound<Double> = .any) throws(DocumentError) -> Double { try node(key).double(bound) }
  package func elements(_ key: String) throws(DocumentError) -> [Node] { try node(key).elements() }
  package func ints(_ key: String, _ bound: Bound<Int> = .any) throws(DocumentError) -> [Int] { try node(key).ints(bound) }
  package func object(_ key: String) throws(DocumentError) -> ObjectReader { try node(key).object() }
  package func choice<C: RawRepresentable<String> & CaseIterable>(_ key: String, of type: C.Type) throws(DocumentError) -> C {
    try node(key).choice(of: type)
  }

  package func stringIfPresent(_ key: String) throws(DocumentError) -> String? { try nodeIfPresent(key)?.string() }
  package func boolIfPresent(_ key: String) throws(DocumentError) -> Bool? { try nodeIfPresent(key)?.bool() }
  package func intIfPresent(_ key: String, _ bound: Bound<Int> = .any) throws(DocumentError) -> Int? { try nodeIfPresent(key)?.int(bound) }
  package func doubleIfPresent(_ key: String, _ bound: Bound<Double> = .any) throws(DocumentError) -> Double? {
    try nodeIfPresent(key)?.double(bound)
  }
  package func elementsIfPresent(_ key: String) throws(DocumentError) -> [Node]? { try nodeIfPresent(key)?.elements() }
  package func intsIfPresent(_ key: String, _ bound: Bound<Int> = .any) throws(DocumentError) -> [Int]? { try nodeIfPresent(key)?.ints(bound) }
  package func objectIfPresent(_ key: String) throws(DocumentError) -> ObjectReader? { try nodeIfPresent(key)?.object() }
  package func choiceIfPresent<C: RawRepresentable<String> & CaseIterable>(_ key: String, of type: C.Type) throws(DocumentError) -> C? {
    try nodeIfPresent(key)?.choice(of: type)
  }

  // MARK: the rest

  /// Accepts keys without reading them.
  package func ignore(_ keys: String...) {
    for key in keys { markKnown(key) }
  }

  /// Keys of the file that nobody asked for, in file order.
  package var unreadKeys: [String] { object.members.map(\.key).filter { !knownSet.contains($0) } }

  /// To be called when everything was read: a key left over is an error.
  /// - Throws: `DocumentError.unknownKey` for the first of them.
  package func finish() throws(DocumentError) {
    guard let key = unreadKeys.first else { return }
    // A key that the file has already is not what the other was meant to be.
    let free = known.filter { object[$0] == nil }
    throw .unknownKey(file: node.file, path: node.path + Node.step(key), nearest: nearestSpelling(to: key, among: free), known: known)
  }

  private func markKnown(_ key: String) {
    if knownSet.insert(key).inserted { known.append(key) }
  }
}
