// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph

/// Where a parameter of a module stands in the checkpoint, dimension by dimension as the module has them.
struct TorchView: Hashable {
  /// Extents and strides whose indices together, the last one fastest, are a dimension's.
  struct Factor: Hashable {
    let extent: Int
    let stride: Int
  }

  let tensor: String
  let first: Int
  let dimensions: [[Factor]]

  /// How a module has a parameter's axes.
  enum Form {
    /// A product's weight: what is produced, then the axes that its operand has.
    case product(read: [AxisID])
    /// Rows and their features.
    case table
    /// One dimension.
    case vector
  }

  init(_ source: ParameterSource, dimensions axes: [AxisID], _ form: Form, in graph: Graph) {
    tensor = Graph.withoutFirstCopy(source.checkpointName)
    first = source.offset
    func factors(_ positions: [Int]) -> [Factor] {
      var result: [Factor] = []
      for position in positions where graph.axes[axes[position]].extent > 1 {
        let next = Factor(extent: graph.axes[axes[position]].extent, stride: source.strides[position])
        if let last = result.last, last.stride == next.extent * next.stride {
          result[result.count - 1] = Factor(extent: last.extent * next.extent, stride: next.stride)
        } else {
          result.append(next)
        }
      }
      return result.isEmpty ? [Factor(extent: 1, stride: 1)] : result
    }
    switch form {
    case .product(let read):
      dimensions = [factors(axes.indices.filter { !read.contains(axes[$0]) }), factors(axes.indices.filter { read.contains(axes[$0]) })]
    case .table: dimensions = [factors([0]), factors([1])]
    case .vector: dimensions = [factors(Array(axes.indices))]
    }
  }

  /// Whether the checkpoint's tensor is the module's.
  func isPlain(_ name: String) -> Bool {
    guard tensor == name, first == 0 else { return false }
    var stride = 1
    for factors in dimensions.reversed() {
      guard factors.count == 1, factors[0].extent == 1 || factors[0].stride == stride else { return false }
      stride *= factors[0].extent
    }
    return true
  }

  var text: String {
    let dimensions = dimensions.map { "[" + $0.map { "(\($0.extent), \($0.stride))" }.joined(separator: ", ") + "]" }
    return "View(\"\(tensor)\", \(first), [\(dimensions.joined(separator: ", "))])"
  }
}
