// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph
import Strategies

/// A row of the script's table `PLAN`: what is done with an operator, or for several readers of one tensor.
struct TorchRow: Hashable {
  /// In the part's names.
  var name: String
  /// On the axis tp; nil where there is no such axis.
  var split: String?
  /// A call of one of torch's parallel styles.
  var style: String?
  var zero = ZeROStage.none
  /// The names of mesh axes.
  var over = ""

  /// As the script has it.
  var text: String {
    var arguments: [String] = []
    if let split { arguments.append("\"\(split)\"") }
    if let style { arguments.append(split == nil ? "style=" + style : style) }
    if zero != .none { arguments.append("zero=\(zero.rawValue)") }
    if !over.isEmpty { arguments.append("over=\"\(over)\"") }
    return "\"\(name)\": Op(\(arguments.joined(separator: ", ")))"
  }
}
