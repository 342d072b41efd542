// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph

/// The class of the model, which has what stands around the layers.
extension TorchModel {
  /// The method that gives a part's layers.
  static let layersMethod =
    "    def layers_of(self, part):\n        part = next(p for p in PARTS if p.name == part)\n"
    + "        return (module for found, _, module, _ in parts(self) if found is part)\n\n"

  /// Gives the model's inputs their names, which it returns.
  func addInputs(to body: inout Body) -> [String] {
    var names: [String] = []
    for tensor in graph.tensors.indices where graph.tensors[tensor].isInput && !graph.consumers[tensor].isEmpty {
      guard case .input(let kind) = graph.tensors[tensor].kind else { continue }
      body.values[tensor] = kind.rawValue
      if !names.contains(kind.rawValue) { names.append(kind.rawValue) }
    }
    return names
  }

  /// The class of a model that a rank has whole.
  mutating func modelSource() throws -> String {
    var body = Body()
    let names = addInputs(to: &body)
    var layers: [String] = []
    for segment in graph.segments.indices {
      connect(segment, &body)
      guard let kind = classes[segment] else {
        try add(segment, to: &body, device: "\(names.first ?? "x").device")
        continue
      }
      let part = splits.names(segment).part
      layers.append("**layers(\"\(part)\", \(kind))")
      let arguments = graph.segments[segment].entries.map { body.values[$0]! }
      let others = self.inputs(of: segment).map { $0.name }
      let results = arguments.joined(separator: ", ")
      body.lines.append("for layer in self.layers_of(\"\(part)\"):")
      body.lines.append("    \(results) = layer(\((arguments + others).joined(separator: ", ")))")
      for (position, exit) in graph.segments[segment].exits.enumerated() { body.values[exit] = arguments[position] }
    }
    return "class Model(Graph):\n    def __init__(self):\n        super().__init__({\n"
      + (body.modules + layers).map { "            \($0),\n" }.joined() + "        })\n\n"
      + Self.layersMethod
      + "    def forward(\((["self"] + names).joined(separator: ", "))):\n"
      + body.lines.map { "        \($0)\n" }.joined() + "        return \(body.values[graph.loss!]!)"
  }

  /// Gives what comes into a segment its values, and names for layers to pass them on under.
  private func connect(_ segment: SegmentID, _ body: inout Body) {
    guard segment > 0 else { return }
    for (position, entry) in graph.segments[segment].entries.enumerated() {
      let source = body.values[graph.segments[segment - 1].exits[position]]!
      body.values[entry] = source
      let call = splits.seams[segment][position].map { "\(access($0))(\(source))" }
      if let seam = splits.seams[segment][position] { body.modules.append("\"\(seam)\": nn.Identity()") }
      guard classes[segment] != nil || call != nil else { continue }
      let name = graph.segments[segment].entries.count == 1 ? "x" : "x\(position)"
      if call != nil || source != name { body.lines.append("\(name) = \(call ?? source)") }
      body.values[entry] = name
    }
  }
}
