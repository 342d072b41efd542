// SPDX-License-Identifier: GPL-3.0-or-later

/// The axes of a network while they are found out: an extent turns out to be two, when an array is reshaped, and two turn out to be one, when
/// arrays are added.
///
/// A class is a set of extents that are one. It is a leaf, or the product of others, outermost first.
struct AxisTable {
  typealias Class = Int

  private struct Entry {
    var extent: Int
    var role: Axis.Role
    var name: String
    var parent: Int?
    var parts: [Class] = []
  }

  private var entries: [Entry] = []

  mutating func add(_ extent: Int, _ role: Axis.Role = .feature, _ name: String = "") -> Class {
    entries.append(Entry(extent: extent, role: role, name: name))
    return entries.count - 1
  }

  var count: Int { entries.count }

  func root(_ axis: Class) -> Class {
    var axis = axis
    while let parent = entries[axis].parent { axis = parent }
    return axis
  }

  func extent(_ axis: Class) -> Int { entries[axis].extent }
  func role(_ axis: Class) -> Axis.Role { entries[root(axis)].role }
  func name(_ axis: Class) -> String { entries[root(axis)].name }

  /// Says what an axis is, where nothing said so before.
  mutating func describe(_ axis: Class, _ role: Axis.Role, _ name: String) {
    let root = root(axis)
    if entries[root].role == .feature { entries[root].role = role }
    if entries[root].name.isEmpty { entries[root].name = name }
  }

  /// What an axis is, whatever was said before.
  mutating func redescribe(_ axis: Class, _ role: Axis.Role, _ name: String) {
    let root = root(axis)
    (entries[root].role, entries[root].name) = (role, name)
  }

  /// The leaves that axes are products of, in order.
  func leaves(_ axes: [Class]) -> [Class] {
    var result: [Class] = []
    var rest = Array(axes.reversed())
    while let next = rest.popLast() {
      let root = root(next)
      if entries[root].parts.isEmpty { result.append(root) } else { rest += entries[root].parts.reversed() }
    }
    return result
  }

  func product(_ axes: [Class]) -> Int { axes.reduce(1) { $0 * entries[$1].extent } }

  /// Makes a leaf the product of others, outermost first.
  mutating func split(_ leaf: Class, _ extents: [Int]) -> [Class] {
    let root = root(leaf)
    precondition(entries[root].parts.isEmpty && extents.reduce(1, *) == entries[root].extent, "the parts of a leaf multiply to it")
    let parts = extents.map { add($0) }
    entries[root].parts = parts
    return parts
  }

  /// Makes two lists of axes the same; false where their extents have no common parts.
  mutating func unify(_ first: [Class], _ second: [Class]) -> Bool {
    var (x, y) = (Array(leaves(first).reversed()), Array(leaves(second).reversed()))
    while let a = x.popLast() {
      // Parts that are cut off meanwhile are looked up again.
      let expanded = leaves([a])
      if expanded.count > 1 {
        x += expanded.reversed()
        continue
      }
      guard let next = y.popLast() else { return false }
      let other = leaves([next])
      if other.count > 1 {
        x.append(a)
        y += other.reversed()
        continue
      }
      let (p, q) = (expanded[0], other[0])
      if p == q { continue }
      let (m, n) = (extent(p), extent(q))
      if m == n {
        merge(p, into: q)
      } else if m > n, n > 0, m % n == 0 {
        x += split(p, [n, m / n]).reversed()
        y.append(q)
      } else if n > m, m > 0, n % m == 0 {
        y += split(q, [m, n / m]).reversed()
        x.append(p)
      } else {
        return false
      }
    }
    return y.isEmpty
  }

  private mutating func merge(_ a: Class, into b: Class) {
    if entries[b].role == .feature { entries[b].role = entries[a].role }
    if entries[b].name.isEmpty { entries[b].name = entries[a].name }
    entries[a].parent = b
  }

  /// Distributes the leaves of an array's axes over the extents of another's, in order, and cuts leaves where an extent ends inside one; nil where
  /// that is not possible.
  mutating func regroup(_ axes: [[Class]], to extents: [Int]) -> [[Class]]? {
    var rest = axes.enumerated().flatMap { source, group in leaves(group).map { (leaf: $0, source: source) } }
    let areOnes = axes.map { product($0) == 1 }
    rest.reverse()
    var groups: [[Class]] = []
    for (place, extent) in extents.enumerated() {
      var (group, product, source) = ([Class](), 1, -1)
      if extent == 1, let next = rest.last, self.extent(next.leaf) == 1 { group.append(rest.removeLast().leaf) }
      while product < extent {
        guard let next = rest.popLast() else { return nil }
        let (missing, own) = (extent / product, self.extent(next.leaf))
        source = next.source
        if product * own <= extent {
          guard own > 0, missing % own == 0 else { return nil }
          group.append(next.leaf)
          product *= own
        } else {
          guard extent % product == 0, own % missing == 0 else { return nil }
          let parts = split(next.leaf, [missing, own / missing])
          rest.append((parts[1], next.source))
          group.append(parts[0])
          product = extent
        }
      }
      // A leaf of 1 stays with what stood on its axis, and an axis of 1 with what it follows, unless it is asked for.
      let following = extents.indices.contains(place + 1) ? extents[place + 1] : 0
      while extent != 1, following != 1, let one = rest.last, self.extent(one.leaf) == 1, one.source == source || areOnes[one.source] {
        group.append(rest.removeLast().leaf)
      }
      groups.append(group)
    }
    // What is left has an extent of 1.
    if rest.contains(where: { extent($0.leaf) != 1 }) { return nil }
    if !rest.isEmpty, !groups.isEmpty { groups[groups.count - 1] += rest.reversed().map(\.leaf) }
    return groups
  }

  // MARK: - The axes of the graph

  /// Products that stand as one axis: the leaves of each, by their first.
  struct Products {
    fileprivate var byFirst: [Class: [[Class]]] = [:]
    fileprivate var wholes: [[Class]: Class] = [:]

    /// The axis that some leaves are all of.
    func whole(_ leaves: [Class]) -> Class? { leaves.count == 1 ? leaves[0] : wholes[leaves] }

    /// Leaves, with each product that they run through as one list.
    func collapse(_ leaves: [Class]) -> [[Class]] {
      var (result, position) = ([[Class]](), 0)
      while position < leaves.count {
        let rest = leaves[position...]
        let whole = byFirst[leaves[position]]?.first { rest.starts(with: $0) }
        result.append(whole ?? [leaves[position]])
        position += whole?.count ?? 1
      }
      return result
    }
  }

  /// Which products stand as one axis in all of these lists: those of which no list has a part alone.
  ///
  /// - Parameter apart: leaves that are axes of their own.
  func products(in lists: [[Class]], apart: Set<Class>) -> Products {
    var apart = apart
    while true {
      var products = Products()
      var members = Set<Class>()
      for entry in entries.indices where entries[entry].parent == nil && !entries[entry].parts.isEmpty {
        let leaves = leaves([entry])
        if apart.isDisjoint(with: leaves), let first = leaves.first, products.byFirst[first]?.contains(leaves) != true {
          products.byFirst[first, default: []].append(leaves)
          products.wholes[leaves] = entry
          members.formUnion(leaves)
        }
      }
      for key in products.byFirst.keys { products.byFirst[key]?.sort { $0.count > $1.count } }
      var alone = Set<Class>()
      for list in lists {
        for axis in products.collapse(self.leaves(list)) where axis.count == 1 && members.contains(axis[0]) { alone.insert(axis[0]) }
      }
      if alone.isEmpty { return products }
      apart.formUnion(alone)
    }
  }
}
