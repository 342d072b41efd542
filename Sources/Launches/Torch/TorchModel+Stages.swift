// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph

extension TorchModel {
  /// The class of what a pipeline stage has of the model: the parts that its row of `STAGES` names.
  mutating func stageSource() throws -> String {
    var body = Body()
    let names = addInputs(to: &body)
    let carried = graph.segments[0].exits.indices.map { graph.segments[0].exits.count == 1 ? "x" : "x\($0)" }
    var (modules, lines): ([String], [String]) = ([], [])
    for segment in graph.segments.indices {
      let part = splits.names(segment).part
      for (position, entry) in graph.segments[segment].entries.enumerated() where segment > 0 { body.values[entry] = carried[position] }
      let seams = splits.seams[segment].enumerated().compactMap { position, seam in seam.map { (carried[position], $0) } }
      guard let kind = classes[segment] else {
        (body.modules, body.lines) = (seams.map { "\"\($0.1)\": nn.Identity()" }, seams.map { "\($0.0) = \(access($0.1))(\($0.0))" })
        try add(segment, to: &body, device: "\(names.first ?? "x").device")
        let exits = graph.segments[segment].exits.map { body.values[$0]! }
        if segment == graph.segments.count - 1 {
          body.lines.append("return \(body.values[graph.loss!]!)")
        } else if exits != carried {
          body.lines.append("\(carried.joined(separator: ", ")) = \(exits.joined(separator: ", "))")
        }
        modules += ["if \"\(part)\" in stage:", "    operators |= {"] + body.modules.map { "        \($0)," } + ["    }"]
        lines += ["if \"\(part)\" in self.stage:"] + body.lines.map { "    \($0)" }
        continue
      }
      if !seams.isEmpty {
        let isFirst = "if \(splits.names(segment).first) in "
        modules += [isFirst + "stage.get(\"\(part)\", ()):"] + seams.map { "    operators[\"\($0.1)\"] = nn.Identity()" }
        lines += [isFirst + "self.stage.get(\"\(part)\", ()):"] + seams.map { "    \($0.0) = \(access($0.1))(\($0.0))" }
      }
      modules.append("operators |= layers(\"\(part)\", \(kind), stage)")
      let (others, results) = (inputs(of: segment).map { $0.name }, carried.joined(separator: ", "))
      lines += ["for layer in self.layers_of(\"\(part)\"):", "    \(results) = layer(\((carried + others).joined(separator: ", ")))"]
    }
    return "class Model(Graph):\n    \"\"\"What a stage has of the model.\"\"\"\n\n    def __init__(self, stage):\n        operators = {}\n"
      + modules.map { "        \($0)\n" }.joined() + "        super().__init__(operators)\n        self.stage = stage\n\n" + Self.layersMethod
      + "    def forward(\((["self"] + carried.map { "\($0)=None" } + ["*"] + names).joined(separator: ", "))):\n"
      + lines.map { "        \($0)\n" }.joined() + "        return \(carried.joined(separator: ", "))"
  }
}
