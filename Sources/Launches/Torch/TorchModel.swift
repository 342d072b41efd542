// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph
import Plans
import Strategies

/// The model of a script: a class for each kind of layer, and one for the model, which has what stands around the layers.
struct TorchModel {
  let splits: TorchSplits
  /// For each segment of layers its class.
  private(set) var classes: [SegmentID: String] = [:]
  /// The source of the classes, in order.
  private(set) var sources: [String] = []
  private(set) var needs: Set<TorchClass> = []
  /// For each segment, the views of parameters that do not stand in the checkpoint as the modules have them.
  private(set) var views: [[(name: String, view: TorchView)]]
  /// Modules whose weight is another's.
  private(set) var tied: [(reader: String, table: String)] = []

  var graph: Graph { splits.graph }

  /// - Throws: `Inexpressible`, with the operator.
  init(_ splits: TorchSplits) throws {
    self.splits = splits
    views = splits.graph.segments.map { _ in [] }
    for segment in graph.segments.indices {
      try checkNames(segment)
      for op in graph.segments[segment].operators { try addParameters(of: op, segment) }
    }
    for segment in graph.segments.indices where splits.names(segment).module != nil { try addLayer(segment) }
    sources.append(try splits.decision.groups > 1 ? stageSource() : modelSource())
  }

  // MARK: - Names

  private func checkNames(_ segment: SegmentID) throws {
    let names = splits.names(segment)
    for op in graph.segments[segment].operators {
      let name = graph.operators[op].name
      if name.contains(where: { "\"\\\n".contains($0) }) { throw Inexpressible(name, "has a name that the script's tables cannot hold") }
      if let module = names.module, !Graph.withoutFirstCopy(name).hasPrefix(module + ".") {
        throw Inexpressible(name, "is not named as a part of \(module), the layer that it belongs to")
      }
      if let word = Self.taken(names.relative(name), isOfModel: names.module == nil) ?? names.module.flatMap({ Self.taken($0, isOfModel: true) }) {
        throw Inexpressible(name, "has the part \(word) in its name, which is an attribute of every module in PyTorch, or in the script")
      }
      if names.module == nil, names.copies > 1 { throw Inexpressible(name, "occurs \(names.copies) times and has no number in its name") }
    }
  }

  /// The module of an operator, as the class of its segment reaches it.
  func access(_ path: String) -> String {
    let parts = path.split(separator: ".", omittingEmptySubsequences: false)
    return parts.allSatisfy { Self.isIdentifier(String($0)) } ? "self." + path : "self.get_submodule(\"\(path)\")"
  }

  static func isIdentifier(_ name: String) -> Bool {
    guard let first = name.first, first.isASCII, first.isLetter || first == "_" else { return false }
    return name.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || $0 == "_") } && !keywords.contains(name)
  }

  /// Words of Python that no name may be.
  private static let keywords: Set<String> = [
    "False", "None", "True", "and", "as", "assert", "async", "await", "break", "class", "continue", "def", "del", "elif", "else", "except", "finally",
    "for", "from", "global", "if", "import", "in", "is", "lambda", "nonlocal", "not", "or", "pass", "raise", "return", "try", "while", "with",
    "yield",
  ]

  /// The part of a module's path that is an attribute already where it would stand; nil where none is.
  private static func taken(_ path: String, isOfModel: Bool) -> String? {
    let parts = path.split(separator: ".").map(String.init)
    if let first = parts.first, attributes.contains(first) || (isOfModel && first == "stage") { return first }
    return parts.first(where: moduleAttributes.contains)
  }

  /// Of the script's own classes.
  private static let attributes: Set<String> = ["run", "recompute", "layers_of"]

  /// Of `torch.nn.Module`.
  private static let moduleAttributes = Set(
    """
    add_module apply bfloat16 buffers call_super_init children compile cpu cuda double dump_patches eval extra_repr float forward get_buffer
    get_extra_state get_parameter get_submodule half ipu load_state_dict modules mtia named_buffers named_children named_modules named_parameters
    parameters register_backward_hook register_buffer register_forward_hook register_forward_pre_hook register_full_backward_hook
    register_full_backward_pre_hook register_load_state_dict_post_hook register_load_state_dict_pre_hook register_module register_parameter
    register_state_dict_post_hook register_state_dict_pre_hook requires_grad_ set_extra_state set_submodule share_memory state_dict to to_empty train
    training type xpu zero_grad
    """.split(whereSeparator: \.isWhitespace).map(String.init))

  /// An identifier that is made of an operator's name.
  private static func variable(_ name: String) -> String {
    let text = String(name.map { $0.isASCII && ($0.isLetter || $0.isNumber) ? $0 : "_" })
    return isIdentifier(text) ? text : "t_" + text
  }

  // MARK: - Parameters

  private mutating func addParameters(of op: OperatorID, _ segment: SegmentID) throws {
    let (kind, names) = (graph.operators[op].kind, splits.names(segment))
    for (operand, tensor) in graph.operators[op].operands.enumerated() {
      guard let source = graph.tensors[tensor].parameter else { continue }
      if source.isFrozen { throw Inexpressible(graph.operators[op].name, "has a frozen weight, which the script would train") }
      if source.isStacked { throw Inexpressible(graph.operators[op].name, "has a weight for each expert, for which the script has no module") }
      if names.module != nil, !Graph.isPerCopy(source.checkpointName) {
        throw Inexpressible(graph.operators[op].name, "reads a weight that all layers share")
      }
      let path = modulePath(op, names)
      let view = view(op, operand, source)
      if let owner = graph.consumers[tensor].first, owner.op != op {
        try tie(op, operand, to: owner, view)
        // On another stage it is a parameter of its own, with the same values.
        if splits.decision.groups > 1 { views[segment].append(("\(path).weight", view)) }
        continue
      }
      let key = kind == .bias || (operand == 2 && graph.operators[op].operands.count == 3) ? "bias" : "weight"
      let full = (names.module.map { $0 + "." } ?? "") + path + "." + key
      if !view.isPlain(full) { views[segment].append(("\(path).\(key)", view)) }
    }
  }

  /// The module that holds an operator's parameters: a bias stands in that of its product.
  private func modulePath(_ op: OperatorID, _ names: TorchNames) -> String {
    let path = names.relative(graph.operators[op].name)
    if case .bias = graph.operators[op].kind, path.hasSuffix(".bias") { return String(path.dropLast(5)) }
    return path
  }

  private func view(_ op: OperatorID, _ operand: Int, _ source: ParameterSource) -> TorchView {
    let axes = graph.tensors[graph.operators[op].operands[operand]].dimensions
    let form: TorchView.Form =
      switch graph.operators[op].kind {
      case .linear: .product(read: graph.tensors[graph.operators[op].operands[0]].dimensions)
      case .embedding, .positionEmbedding: .table
      default: .vector
      }
    return TorchView(source, dimensions: axes, form, in: graph)
  }

  private mutating func tie(_ op: OperatorID, _ operand: Int, to owner: Graph.OperandSite, _ view: TorchView) throws {
    let tensor = graph.operators[op].operands[operand]
    let ownerNames = splits.names(graph.segmentOfOperator[owner.op])
    guard splits.names(graph.segmentOfOperator[op]).module == nil, ownerNames.module == nil,
      case .linear = graph.operators[op].kind, case .embedding = graph.operators[owner.op].kind,
      let source = graph.tensors[tensor].parameter, self.view(owner.op, owner.operand, source) == view
    else {
      throw Inexpressible(
        graph.operators[op].name, "reads \(graph.tensors[tensor].name) beside \(graph.operators[owner.op].name) otherwise than as a head tied to it")
    }
    let (own, other) = (splits.use(.init(op: op, operand: operand)).forward, splits.use(owner).forward)
    guard own == other else {
      throw Inexpressible(
        graph.operators[op].name,
        "holds \(graph.tensors[tensor].name) in another layout than \(graph.operators[owner.op].name); in PyTorch they are one parameter")
    }
    tied.append((graph.operators[op].name, graph.operators[owner.op].name))
  }

  // MARK: - Classes

  /// Modules, and the lines that call them, of one segment.
  struct Body {
    var modules: [String] = []
    var lines: [String] = []
    var values: [TensorID: String] = [:]
    /// What has a name already: what stands in the lines beside operators' results.
    private var names: Set<String> = ["self", "torch", "layer", "JOB"]

    /// A name for an operator's result that nothing else in the lines has. What comes into a part is `x`, `x0` ….
    mutating func variable(_ path: String) -> String {
      var name = TorchModel.variable(path)
      while names.contains(name) || name.wholeMatch(of: #/x[0-9]*/#) != nil || InputKind(rawValue: name) != nil { name += "_" }
      names.insert(name)
      return name
    }
  }

  private mutating func addLayer(_ segment: SegmentID) throws {
    let inputs = inputs(of: segment)
    var body = Body()
    let entries = graph.segments[segment].entries
    for (position, entry) in entries.enumerated() { body.values[entry] = entries.count == 1 ? "x" : "x\(position)" }
    let parameters = entries.map { body.values[$0]! } + inputs.map { $0.name }
    for input in inputs { body.values[input.tensor] = input.name }
    try add(segment, to: &body, device: parameters.first.map { $0 + ".device" } ?? "None")
    let results = graph.segments[segment].exits.map { body.values[$0]! }
    let text =
      "(Graph):\n    def __init__(self, recompute):\n        super().__init__({\n"
      + body.modules.map { "            \($0),\n" }.joined() + "        }, recompute)\n\n"
      + "    def run(\((["self"] + parameters).joined(separator: ", "))):\n"
      + body.lines.map { "        \($0)\n" }.joined() + "        return \(results.joined(separator: ", "))"
    if let known = sources.first(where: { $0.hasSuffix(text) }) {
      classes[segment] = String(known.dropFirst("class ".count).prefix { $0 != "(" })
      return
    }
    let name = "Layer" + (sources.isEmpty ? "" : "\(sources.count + 1)")
    classes[segment] = name
    sources.append("class \(name)\(text)")
  }

  /// Inputs of the model that a segment reads itself.
  func inputs(of segment: SegmentID) -> [(tensor: TensorID, name: String)] {
    var found: [(tensor: TensorID, name: String)] = []
    for op in graph.segments[segment].operators {
      for tensor in graph.operators[op].operands {
        guard case .input(let kind) = graph.tensors[tensor].kind, !found.contains(where: { $0.tensor == tensor }) else { continue }
        found.append((tensor, kind.rawValue))
      }
    }
    return found
  }

  /// Writes a segment's operators down: modules that are made, and called one after the other.
  mutating func add(_ segment: SegmentID, to body: inout Body, device: String) throws {
    let names = splits.names(segment)
    var sharedValues: [String: String] = [:]
    for op in graph.segments[segment].operators {
      let (kind, operands, result) = (graph.operators[op].kind, graph.operators[op].operands, graph.operators[op].result)
      if case .bias = kind {
        body.values[result] = body.values[operands[0]]
        continue
      }
      let path = names.relative(graph.operators[op].name)
      let module = try TorchModule(op, in: graph, hasBias: splits.mergedBias(op) != nil, labels: TorchJob.labels(graph))
      if let need = module.needs { needs.formUnion([need] + (need.base.map { [$0] } ?? [])) }
      var arguments: [String] = []
      for (operand, tensor) in operands.enumerated() where !graph.tensors[tensor].isParameter {
        var value = body.values[tensor]!
        if let name = splits.shared[.init(op: op, operand: operand)] {
          if sharedValues[name] == nil {
            let variable = body.variable(name)
            sharedValues[name] = variable
            body.modules.append("\"\(name)\": nn.Identity()")
            body.lines.append("\(variable) = \(access(name))(\(value))")
          }
          value = sharedValues[name]!
        }
        arguments.append(value)
      }
      body.modules.append("\"\(path)\": \(module.text)")
      if case .positionEmbedding(let offset) = kind {
        let length = TorchJob.extent(graph.tensors[result].dimensions[0], graph)
        let range = offset == 0 ? length : "\(offset), \(length) + \(offset)"
        arguments = ["torch.arange(\(range), device=\(device))"]
      }
      let variable = body.variable(path)
      body.values[result] = variable
      body.lines.append("\(variable) = \(access(path))(\(arguments.joined(separator: ", ")))")
    }
  }
}
