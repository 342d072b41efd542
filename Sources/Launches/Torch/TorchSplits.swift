// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph
import Plans
import Strategies

/// What a plan's splits are in PyTorch: a parallel style for each module on the axis tp, and the axes over which its weights' gradients are summed.
///
/// Between modules tensors are local ones, whose layouts are known here. DTensor takes the gradient of a local tensor in that tensor's own layout, so
/// that an operator which takes a tensor whole and gives back a sum that is still due must have a style by which it takes a DTensor.
struct TorchSplits {
  let decision: Decision
  let axes: TorchAxes
  let rules: [OperatorRule]
  let strategies: [Strategy]
  /// For each tensor; none where the plan is for a forward pass.
  let needsGradient: [Bool]
  /// For each segment the rows of its operators, and of what several of them read.
  private(set) var rows: [[TorchRow]] = []
  /// Operands that are read in a layout that several readers share, with the module that gives it.
  private(set) var shared: [Graph.OperandSite: String] = [:]
  /// What comes into a segment from the one before in another layout than from the segment's own copies: for each segment and entry, the module that
  /// converts it.
  private(set) var seams: [[String?]] = []

  var graph: Graph { decision.graph }

  /// - Throws: `Inexpressible`, with the operator.
  init(_ decision: Decision) throws {
    self.decision = decision
    let rules = decision.graph.operators.indices.map { OperatorRules.rule(for: $0, in: decision.graph) }
    self.rules = rules
    axes = try TorchAxes(decision, rules)
    strategies = rules.indices.map { Strategy(assignment: decision.assignments[$0], rule: rules[$0]) }
    needsGradient = decision.job.mode == .train ? decision.graph.reachesLoss() : decision.graph.tensors.map { _ in false }
    for segment in graph.segments.indices { try share(in: segment) }
    for segment in graph.segments.indices {
      var own: [TorchRow] = []
      for op in graph.segments[segment].operators {
        own += try sharedRows(before: op, own)
        own.append(try row(of: op))
      }
      rows.append(own)
    }
    try addSeams()
  }

  // MARK: - Layouts on the axis tp

  func placement(_ layout: Layout) -> Placement { axes.tensor.map { layout[$0] } ?? .replicated }
  func use(_ site: Graph.OperandSite) -> (forward: Placement, gradient: Placement) {
    let use = strategies[site.op].operands[site.operand]
    return (placement(use.forward), placement(use.gradient))
  }

  /// What the axis tp goes to.
  func assigned(_ op: OperatorID) -> Int? { axes.tensor.flatMap { decision.assignments[op][$0] } }

  /// The layout of a tensor between modules. Of a sum that is still due it is that in which its first reader takes it: its module reduces it so.
  func held(_ tensor: TensorID) -> Placement {
    if let producer = graph.producer[tensor] {
      let result = placement(strategies[producer].result)
      if result != .partial || tensor == graph.loss { return result }
      return readers(of: tensor).first.map { use($0).forward } ?? .replicated
    }
    guard let segment = graph.segments.firstIndex(where: { $0.entries.contains(tensor) }) else { return .replicated }
    let position = graph.segments[segment].entries.firstIndex(of: tensor)!
    if graph.segments[segment].repeats > 1 { return held(graph.segments[segment].exits[position]) }
    return segment > 0 ? held(graph.segments[segment - 1].exits[position]) : .replicated
  }

  /// All who read a tensor, also in the next copy or segment.
  private func readers(of tensor: TensorID) -> [Graph.OperandSite] {
    var sites = graph.consumers[tensor]
    for (index, segment) in graph.segments.enumerated() {
      for (position, exit) in segment.exits.enumerated() where exit == tensor {
        if segment.repeats > 1 { sites += graph.consumers[segment.entries[position]] }
        if index + 1 < graph.segments.count { sites += graph.consumers[graph.segments[index + 1].entries[position]] }
      }
    }
    return sites
  }

  /// The layout in which an operator's module finds an operand.
  func found(_ site: Graph.OperandSite) -> Placement {
    shared[site] == nil ? held(graph.operators[site.op].operands[site.operand]) : use(site).forward
  }

  /// - Throws: `Inexpressible` where the script's tensor cannot be cut so.
  func text(_ placement: Placement, of tensor: TensorID, _ op: OperatorID) throws -> String {
    if let text = graph.torchPlacement(placement, of: tensor) { return text }
    let reason =
      placement == .partial
      ? "leaves a sum that is still due in \(graph.tensors[tensor].name), which only products and embeddings do in PyTorch's styles"
      : "cuts the queries of each key-value head of \(graph.tensors[tensor].name), which are one dimension with the heads in PyTorch"
    throw Inexpressible(graph.operators[op].name, reason)
  }

  // MARK: - What several readers share

  /// Whether a product or an embedding splits the features that it makes.
  func isColumn(_ op: OperatorID) -> Bool {
    guard let axis = assigned(op) else { return false }
    switch graph.operators[op].kind {
    case .linear, .embedding: return rules[op].result.contains(axis) && !rules[op].operands[0].contains(axis)
    default: return false
    }
  }

  private mutating func share(in segment: SegmentID) throws {
    guard axes.tensor != nil else { return }
    let operators = graph.segments[segment].operators
    for tensor in graph.tensors.indices where graph.tensors[tensor].isActivation {
      let sites = graph.consumers[tensor].filter { operators.contains($0.op) }
      let held = held(tensor)
      let converted = sites.filter { site in
        let use = use(site)
        return use.forward != held || (use.gradient == .partial && isColumn(site.op) && needsGradient[tensor])
      }
      var kinds: [(forward: Placement, gradient: Placement, sites: [Graph.OperandSite])] = []
      for site in converted {
        let use = use(site)
        if let known = kinds.firstIndex(where: { $0.forward == use.forward && $0.gradient == use.gradient }) {
          kinds[known].sites.append(site)
        } else {
          kinds.append((use.forward, use.gradient, [site]))
        }
      }
      for (number, kind) in kinds.filter({ $0.sites.count > 1 && held != .partial }).enumerated() {
        // Of a tensor that is one product's alone, the product's own module does it.
        if kind.gradient == .partial, !kind.sites.allSatisfy({ isColumn($0.op) }) { continue }
        for site in kind.sites { shared[site] = "shared." + sharedName(tensor, segment) + (number == 0 ? "" : "_\(number)") }
      }
    }
  }

  private func sharedName(_ tensor: TensorID, _ segment: SegmentID) -> String {
    let names = names(segment)
    if let producer = graph.producer[tensor] { return names.relative(graph.operators[producer].name) }
    let position = graph.segments[segment].entries.firstIndex(of: tensor) ?? 0
    return (names.module == nil ? names.part + "." : "") + "input" + (position == 0 ? "" : "\(position)")
  }

  /// Rows of what an operator is the first to read.
  private func sharedRows(before op: OperatorID, _ known: [TorchRow]) throws -> [TorchRow] {
    var rows: [TorchRow] = []
    for (operand, tensor) in graph.operators[op].operands.enumerated() {
      let site = Graph.OperandSite(op: op, operand: operand)
      guard let name = shared[site], !(known + rows).contains(where: { $0.name == name }) else { continue }
      let (forward, gradient) = use(site)
      let (from, to) = (try text(held(tensor), of: tensor, op), try text(forward, of: tensor, op))
      let keepsDTensor = gradient == .partial ? ", use_local_output=False" : ""
      rows.append(TorchRow(name: name, style: "PrepareModuleOutput(output_layouts=\(from), desired_output_layouts=\(to)\(keepsDTensor))"))
    }
    return rows
  }

  private mutating func addSeams() throws {
    seams = graph.segments.map { $0.entries.map { _ in nil } }
    for segment in graph.segments.indices.dropFirst() {
      for (position, entry) in graph.segments[segment].entries.enumerated() {
        let exit = graph.segments[segment - 1].exits[position]
        guard held(exit) != held(entry), let op = graph.producer[exit] else { continue }
        guard let home = graph.segments.indices.first(where: { !graph.holdsLayers($0) }) else {
          throw Inexpressible(graph.operators[op].name, "gives a layer what it does not take from another, and the model has layers alone")
        }
        let name = "shared.\(graph.segments[segment].name).from\(position)"
        seams[segment][position] = name
        let (from, to) = (try text(held(exit), of: exit, op), try text(held(entry), of: exit, op))
        rows[home].append(TorchRow(name: name, style: "PrepareModuleOutput(output_layouts=\(from), desired_output_layouts=\(to))"))
      }
    }
  }

  func names(_ segment: SegmentID) -> TorchNames { TorchNames(graph, segment) }
}
