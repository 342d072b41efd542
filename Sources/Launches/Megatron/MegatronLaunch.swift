// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph
import Planner
import Strategies

/// Megatron-LM's command lines.
package enum MegatronLaunch {
  /// What a script, a command or bare options say. What Megatron-LM would refuse is a finding.
  ///
  /// - Parameter values: of a script's variables, in place of those that it gives them.
  /// - Throws: `LaunchError` where there is no such command in the text.
  package static func reading(_ source: String, file: String, values: [String: String] = [:]) throws -> Launch {
    reading(try MegatronCommand(source, file: file, values: values))
  }

  private static func reading(_ command: MegatronCommand) -> Launch {
    var reader = MegatronReader(command)
    reader.read()
    var launch = reader.launch
    launch.source = LaunchSource(
      contains: { name in command.options.contains { $0.name == name } },
      edited: { edits, devices in reading(command.edited(edits, devices: devices)) })
    return launch
  }
}

/// Reads the options of one command.
struct MegatronReader {
  var launch = Launch(.megatron)
  var arguments: MegatronArguments
  private let command: MegatronCommand

  init(_ command: MegatronCommand) {
    self.command = command
    arguments = MegatronArguments(command)
  }

  mutating func read() {
    launch.devices = command.devices
    launch.openDevices = openDevices
    launch.offloading = MegatronFlags.offloading.filter(arguments.has)
    readDegrees()
    readJob()
    readReplicas()
    readRecompute()
    readModel()
    var checks = MegatronChecks(command: command, arguments: arguments, launch: launch)
    // Of what is open nothing can be checked.
    if arguments.findings.allSatisfy({ $0.severity != .open }) { checks.check() }
    launch.openVariables = arguments.openVariables
    launch.findings = (command.script.findings + openFindings + checks.findings).merged
  }

  /// From which options the devices follow that the script does not tell, and how they are given.
  private var openDevices: String? {
    if command.openDevices.isEmpty { return nil }
    let script = command.script
    let variables = command.openDevices.map { script.variable(of: $0.values[0]) }
    let words = zip(command.openDevices, variables).map { option, variable in
      let why = variable.map { script.isResult($0) ? ", which only running the script tells" : ", which the script does not set" } ?? ""
      return "\(option.name) is \(option.values[0])\(why)"
    }
    let advice = ["--devices"] + variables.compactMap { $0.map { "--set \($0)=…" } }
    return "\(words.joined(separator: " and ")) (\(advice.joined(separator: ", or ")))"
  }

  /// What the script takes from elsewhere, and what a program has that is not Megatron-LM's own.
  private var openFindings: [Finding] {
    var words: [Finding] = []
    if let program = command.program, !program.hasPrefix("pretrain_"), launch.graph != nil {
      words.append(Finding(.ignored, program, "is none of Megatron-LM's own programs; priced is a language model as the options describe it"))
    }
    words += command.openWords.map { word in
      let advice = command.script.variable(of: word.text).map { " (--set \($0)='--option …')" } ?? ""
      return Finding(.ignored, "line \(word.line)", "\(word.text), which the script does not set, may hold further options\(advice)")
    }
    guard !arguments.openVariables.isEmpty else { return words }
    return words
      + command.script.sources.map { Finding(.ignored, "line \($0.line)", "\($0.text) is not read; give what it sets with --set NAME=VALUE") }
  }

  // MARK: - The split

  private mutating func readDegrees() {
    launch.degrees.tensor = arguments.int("--tensor-model-parallel-size", atMost: Self.mostDevices) ?? 1
    launch.degrees.pipeline = arguments.int("--pipeline-model-parallel-size", atMost: Self.mostDevices) ?? 1
    launch.degrees.context = arguments.int("--context-parallel-size", atMost: Self.mostDevices) ?? 1
    launch.degrees.expert = arguments.int("--expert-model-parallel-size", atMost: Self.mostDevices) ?? 1
    // Without tensor parallelism the program leaves it out.
    launch.degrees.isSequenceParallel = arguments.has("--sequence-parallel") && launch.degrees.tensor > 1
    launch.leavesDataOpen = true
    readContextWay()
    readStages()
  }

  private static let mostDevices = 1 << 20

  private mutating func readContextWay() {
    let types = arguments.values("--cp-comm-type")
    guard launch.degrees.context > 1 else { return }
    // The program's default.
    launch.degrees.contextWay = .ring
    guard let type = types.first else { return }
    if Set(types).count > 1 {
      arguments.find(.ignored, "--cp-comm-type", "differs from layer to layer; all are priced as the first, \(type)")
    }
    switch type {
    case "p2p": break
    case "all_gather", "allgather": launch.degrees.contextWay = .gather
    case "a2a": launch.degrees.contextWay = .ulysses
    case "a2a+p2p": arguments.find(.ignored, "--cp-comm-type", "an all-to-all within rings is not priced; taken for p2p")
    default: arguments.find(.illegal, "--cp-comm-type", "found \(type), expected p2p, all_gather, a2a or a2a+p2p")
    }
  }

  private mutating func readStages() {
    let (stages, layers) = (launch.degrees.pipeline, arguments.int("--num-layers", atMost: 1 << 14))
    if let text = arguments.text("--pipeline-model-parallel-layout") {
      do {
        let layout = try MegatronLayout(parsing: text)
        if let layers, layout.layers.reduce(0, +) != layers {
          arguments.find(.illegal, "--pipeline-model-parallel-layout", "has \(layout.layers.reduce(0, +)) layers, t, and --num-layers is \(layers)")
        } else if layout.layers.count % stages != 0 {
          arguments.find(
            .illegal, "--pipeline-model-parallel-layout",
            "has \(layout.layers.count) parts, which --pipeline-model-parallel-size \(stages) does not divide")
        } else {
          launch.degrees.stageLayers = layout.layers
          setChunks(layout.layers.count / stages)
        }
      } catch {
        arguments.find(.illegal, "--pipeline-model-parallel-layout", (error as? MegatronLayout.Problem)?.text ?? "\(error)")
      }
      return
    }
    var chunks = arguments.int("--num-virtual-stages-per-pipeline-rank", atMost: 1 << 14) ?? 1
    if let perChunk = arguments.int("--num-layers-per-virtual-pipeline-stage", atMost: 1 << 14), let layers {
      chunks = max(1, (layers + accounted) / stages / perChunk)
      launch.countsLayersOfChunks = true
    }
    setChunks(chunks)
    if let layers { launch.degrees.stageLayers = layersOfStages(layers, stages, chunks) }
  }

  /// The embedding and the loss, where they count as a layer each.
  private var accounted: Int {
    (arguments.has("--account-for-embedding-in-pipeline-split") ? 1 : 0) + (arguments.has("--account-for-loss-in-pipeline-split") ? 1 : 0)
  }

  private mutating func setChunks(_ chunks: Int) {
    guard launch.degrees.pipeline > 1, chunks > 1 else { return }
    (launch.degrees.chunks, launch.degrees.schedule) = (chunks, .interleaved)
  }

  /// Layers on each virtual stage (`get_num_layers_to_build`); nil where all have as many, or where the layers cannot be shared out so.
  private mutating func layersOfStages(_ layers: Int, _ stages: Int, _ chunks: Int) -> [Int]? {
    guard stages > 1 else { return nil }
    let first = arguments.int("--decoder-first-pipeline-num-layers", atLeast: 0, atMost: layers)
    let last = arguments.int("--decoder-last-pipeline-num-layers", atLeast: 0, atMost: layers)
    let hasEmbedding = arguments.has("--account-for-embedding-in-pipeline-split")
    let hasLoss = arguments.has("--account-for-loss-in-pipeline-split")
    guard first != nil || last != nil || hasEmbedding || hasLoss else { return nil }
    let inner = stages - (first == nil ? 0 : 1) - (last == nil ? 0 : 1)
    let rest = layers + accounted - (first ?? 0) - (last ?? 0)
    guard rest >= 0, inner >= 0, inner == 0 ? rest == 0 : rest % inner == 0 else { return nil }
    var ofRank = [Int](repeating: inner > 0 ? rest / inner : 0, count: stages)
    if let first { ofRank[0] = first }
    if let last { ofRank[stages - 1] = last }
    // No model has more parts than layers, and one at either end.
    guard ofRank.allSatisfy({ $0 % chunks == 0 }), chunks * stages <= layers + accounted + 2 else { return nil }
    var parts = (0..<chunks * stages).map { ofRank[$0 % stages] / chunks }
    if hasEmbedding { parts[0] -= 1 }
    if hasLoss { parts[parts.count - 1] -= 1 }
    return parts.allSatisfy { $0 >= 0 } ? parts : nil
  }

  // MARK: - The model

  private mutating func readModel() {
    guard MegatronModel.options.contains(where: arguments.has) else { return }
    if let program = command.program, let model = MegatronProgram.model(program) {
      launch.graphObstacle = "\(program) trains \(model), which is not built from options here; name the model with --model"
      return
    }
    do {
      let model = try MegatronModel(&arguments, tensor: launch.degrees.tensor)
      launch.graph = try model.graph(workload: Workload(batch: launch.batch, sequence: launch.sequence))
    } catch let unknown as MegatronModel.Unknown {
      launch.graphObstacle = unknown.reason
    } catch {
      launch.graphObstacle = "\(error)"
    }
  }
}

extension [Finding] {
  /// Each once, what is illegal first.
  var merged: [Finding] {
    var known = Set<Finding>()
    let unique = filter { known.insert($0).inserted }
    return Finding.Severity.allCases.flatMap { severity in unique.filter { $0.severity == severity } }
  }
}
