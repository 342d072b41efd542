// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph

/// The module of torch, or of the script, that computes an operator.
struct TorchModule {
  /// The call that makes it.
  let text: String
  /// The class of the script that it needs; nil for torch's own.
  var needs: TorchClass?

  private init(_ text: String, _ needs: TorchClass? = nil) { (self.text, self.needs) = (text, needs) }

  /// - Parameters:
  ///   - hasBias: whether the module of a product adds one.
  ///   - labels: an expression for how many labels a step has.
  /// - Throws: `Inexpressible` for a kind that the script has no module of.
  init(_ op: OperatorID, in graph: Graph, hasBias: Bool, labels: String) throws {
    let (kind, operands) = (graph.operators[op].kind, graph.operators[op].operands)
    func extent(_ tensor: TensorID, _ dimension: Int) -> Int { graph.shape(tensor)[dimension] }
    func last(_ tensor: TensorID) -> Int { graph.shape(tensor).last ?? 1 }
    switch kind {
    case .linear:
      let dimensions = graph.tensors[operands[1]].dimensions
      let read = Set(graph.tensors[operands[0]].dimensions)
      func features(_ isInput: Bool) -> Int { dimensions.filter { read.contains($0) == isInput }.reduce(1) { $0 * graph.axes[$1].extent } }
      self.init("nn.Linear(\(features(true)), \(features(false))\(hasBias ? "" : ", bias=False"))")
    case .embedding, .positionEmbedding:
      let table = operands[operands.count - 1]
      self.init("nn.Embedding(\(extent(table, 0)), \(extent(table, 1)))")
    case .layerNorm(let epsilon): self.init("nn.LayerNorm(\(last(operands[0])), eps=\(epsilon))")
    case .rmsNorm(let epsilon, let addsOne):
      let isOfHeads = graph.flattened(operands[0]) != nil
      let kind: TorchClass? = isOfHeads ? (addsOne ? .gemmaHeadNorm : .headNorm) : addsOne ? .gemmaNorm : nil
      self.init("\(kind?.rawValue ?? "nn.RMSNorm")(\(last(operands[0])), eps=\(epsilon))", kind)
    case .attention(let isCausal, _):
      self.init("Attention(\(last(operands[0])), causal=\(isCausal ? "True" : "False"))", .attention)
    case .rotary(let parameters): self.init(Self.rotary(parameters, headSize: last(operands[0])), .rotary)
    case .activation(let function): self.init(Self.activation(function), function.torchClass)
    case .dropout, .pass: self.init("nn.Identity()")
    case .scale(let factor): self.init("Scale(\(factor))", .scale)
    case .add: self.init("Add()", .add)
    case .multiply: self.init("Multiply()", .multiply)
    case .patches(let size): self.init("Patches(\(size))", .patches)
    case .prependToken: self.init("PrependToken(\(last(operands[1])))", .prependToken)
    case .selectToken(let position): self.init("SelectToken(\(position))", .selectToken)
    case .crossEntropy: self.init("CrossEntropy(\(labels))", .crossEntropy)
    case .bias, .convolution, .batchNorm, .maxPool, .averagePool, .route, .dispatch, .expertLinear, .combine, .sigmoidGate, .selectMarkedToken,
      .unitNorm, .similarity, .learnedScale, .broadcast, .concatenate, .contrastiveLoss:
      throw Inexpressible(graph.operators[op].name, "is of the kind \(kind.formatName), for which the script has no module")
    }
  }

  private static func rotary(_ parameters: RotaryParameters, headSize: Int) -> String {
    var arguments = ["\(headSize)", "base=\(parameters.base)"]
    if let rotated = parameters.rotated, rotated != headSize { arguments.append("rotated=\(rotated)") }
    if let s = parameters.scaling {
      arguments.append("scaling=(\(s.factor), \(s.lowFrequencyFactor), \(s.highFrequencyFactor), \(s.originalMaxPositions))")
    }
    return "Rotary(\(arguments.joined(separator: ", ")))"
  }

  private static func activation(_ function: ActivationFunction) -> String {
    switch function {
    case .gelu: "nn.GELU()"
    case .geluTanh: "nn.GELU(approximate=\"tanh\")"
    case .silu: "nn.SiLU()"
    case .quickGelu: "QuickGELU()"
    case .relu: "nn.ReLU()"
    case .squaredRelu: "SquaredReLU()"
    case .tanh: "nn.Tanh()"
    }
  }
}

extension ActivationFunction {
  fileprivate var torchClass: TorchClass? {
    switch self {
    case .quickGelu: .quickGELU
    case .squaredRelu: .squaredReLU
    default: nil
    }
  }
}
