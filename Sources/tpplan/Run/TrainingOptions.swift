// SPDX-License-Identifier: GPL-3.0-or-later
import ArgumentParser
import Execution
import Plans
import Strategies

/// What a run that trains is told beside the plan.
struct TrainingOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "Train on this file of token ids, little-endian and without a header.",
      discussion: "Each step takes the next sequences of the plan's length; after the last the first comes again. Tokens that follow are the labels. "
        + "Each step's loss is told while the ranks go on: beside a bar on a terminal, otherwise as a line of JSON on standard error.",
      valueName: "file"), completion: .file())
  var tokens: String?
  @Option(help: "uint16 or uint32 (default: uint16 where it can say every token of the model's vocabulary).")
  var tokenType: TokenFile.Element?
  @Option(
    help: ArgumentHelp(
      "Write checkpoints to this folder, which all hosts share: after the last step, and after every --every.", valueName: "folder"),
    completion: .directory)
  var checkpoint: String?
  @Option(help: "Steps from one checkpoint to the next (default: only after the last step).")
  var every: Int?
  @Option(help: "Keep only so many of the last checkpoints (default: all).")
  var keep: Int?
  @Option(
    help: ArgumentHelp(
      "Go on from this checkpoint, or the last in this folder.",
      discussion: "The plan may be another one than that which wrote it, on another number of ranks. --steps counts the steps before it too.",
      valueName: "folder"), completion: .directory)
  var resume: String?

  @Option(
    help: ArgumentHelp(
      "Write the parameters after the last step to this safetensors file, as Hugging Face names and shapes them; --weights reads it.",
      valueName: "file"), completion: .file(extensions: ["safetensors"]))
  var saveWeights: String?

  @Option(parsing: .unconditional, help: "Learning rate (default: 0.0001).")
  var lr: Double?
  @Option(help: "How the learning rate falls after the warm-up, to --min-lr at the end.")
  var schedule: LearningRate.Decay = .constant
  @Option(help: "Steps after which the learning rate has fallen to --min-lr, where the training is longer than this run (default: --steps).")
  var decaySteps: Int?
  @Option(help: "Steps in which the learning rate rises to --lr.")
  var warmup = 0
  @Option(parsing: .unconditional, help: "Learning rate at the end of --schedule linear or cosine (default: 0).")
  var minLr: Double?
  @Option(parsing: .unconditional, help: "Scale gradients down where the norm of all of them together is larger.")
  var clipNorm: Double?
  @Option(parsing: .unconditional, help: "Weight decay (default: 0.01 for AdamW, 0 for SGD).")
  var weightDecay: Double?
  @Option(parsing: .unconditional, help: "Momentum, for SGD (default: 0).")
  var momentum: Double?

  private static let defaultRate = LearningRate().peak

  /// Refuses values that no run can have.
  func checkValues() throws {
    func check(_ value: Double?, _ name: String, _ isAllowed: (Double) -> Bool, _ expected: String) throws {
      if let value, !value.isFinite || !isAllowed(value) { throw UsageError("--\(name) \(value): \(expected) is needed") }
    }
    try check(lr, "lr", { $0 >= 0 }, "a number of at least 0")
    try check(minLr, "min-lr", { $0 >= 0 }, "a number of at least 0")
    try check(clipNorm, "clip-norm", { $0 > 0 }, "a number above 0")
    try check(weightDecay, "weight-decay", { $0 >= 0 }, "a number of at least 0")
    try check(momentum, "momentum", { $0 >= 0 && $0 < 1 }, "a number from 0 to below 1")
    if let minLr, minLr > lr ?? Self.defaultRate {
      throw UsageError("--min-lr \(minLr): the rate falls to it, and --lr is \(lr ?? Self.defaultRate)")
    }
    if let decaySteps, decaySteps <= warmup { throw UsageError("--decay-steps \(decaySteps): the rate falls after the --warmup of \(warmup) steps") }
    if warmup < 0 { throw UsageError("--warmup \(warmup): a number of steps is needed") }
    for (name, isGiven) in [("min-lr", minLr != nil), ("decay-steps", decaySteps != nil)] where isGiven && schedule == .constant {
      throw UsageError("--\(name) has no effect without --schedule linear or cosine")
    }
    if let decaySteps, decaySteps < 1 { throw UsageError("--decay-steps \(decaySteps): at least one step is needed") }
    if tokenType != nil, tokens == nil { throw UsageError("--token-type has no effect without --tokens") }
    if let every, every < 1 { throw UsageError("--every \(every): at least one step is needed") }
    if let keep, keep < 1 { throw UsageError("--keep \(keep): at least one checkpoint is needed") }
    for (name, isGiven) in [("every", every != nil), ("keep", keep != nil)] where isGiven && checkpoint == nil {
      throw UsageError("--\(name) has no effect without --checkpoint")
    }
  }

  /// Refuses what has no effect in the mode that is run.
  func check(_ decision: Decision) throws {
    guard decision.job.mode != .train else {
      if momentum != nil, decision.job.optimizer != .sgd {
        throw UsageError("--momentum is SGD's, and the plan is for \(decision.job.optimizer.rawValue)")
      }
      if let clipNorm, decision.job.software.updates == .inBackward, decision.job.microBatches == 1 {
        throw UsageError(
          "--clip-norm \(clipNorm) needs all gradients before the first update, and the plan updates weights in the backward pass; make one without --updates in-backward"
        )
      }
      return
    }
    let given: [(String, Bool)] = [
      ("checkpoint", checkpoint != nil), ("save-weights", saveWeights != nil), ("lr", lr != nil), ("schedule", schedule != .constant),
      ("warmup", warmup > 0),
      ("clip-norm", clipNorm != nil),
      ("weight-decay", weightDecay != nil), ("momentum", momentum != nil),
    ]
    for (name, isGiven) in given where isGiven { throw UsageError("--\(name) has no effect in a forward pass; it is for plans that train") }
  }

  func hyperparameters(of decision: Decision, steps: Int) -> Hyperparameters {
    var result = Hyperparameters(optimizer: decision.job.optimizer, learningRate: LearningRate(peak: lr ?? Self.defaultRate))
    result.learningRate.decay = schedule
    result.learningRate.warmup = warmup
    result.learningRate.steps = decaySteps ?? steps
    result.learningRate.minimum = minLr ?? 0
    result.clipNorm = clipNorm
    if let weightDecay { result.weightDecay = weightDecay }
    if let momentum { result.momentum = momentum }
    return result
  }

  func tokenFile(for decision: Decision) throws -> TokenFile? {
    try tokens.map {
      try TokenFile(path: $0, element: tokenType ?? .smallest(forVocabulary: StepInputs.vocabulary(of: decision.graph)))
    }
  }

  var writer: CheckpointWriter? { checkpoint.map { CheckpointWriter(folder: $0, keep: keep) } }
}

extension TokenFile.Element: ExpressibleByArgument {}
extension LearningRate.Decay: ExpressibleByArgument {}
