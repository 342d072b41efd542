// SPDX-License-Identifier: GPL-3.0-or-later
import Hardware
import ModelGraph
import Quantities
import Strategies

extension TorchScript {
  /// The tables at a script's head.
  ///
  /// - Parameter file: what messages call it.
  /// - Throws: `LaunchError` with the line or the table.
  package static func reading(_ text: String, file: String = "script") throws -> TorchLaunch {
    var reader = PythonReader(text, file: file)
    if try ["MESH", "JOB", "PLAN"].allSatisfy({ try reader.value(of: $0) == nil }) {
      throw LaunchError(
        file: file,
        "is Python of another kind than is read: a script of `tpplan export --to torch`, with its tables, or one with a tp_plan (tp_plan = {…}, "
          + "base_model_tp_plan = {…}); jobs of torchtitan are read as TOML")
    }
    func table(_ name: String, _ reader: inout PythonReader) throws -> PythonLiteral {
      guard let value = try reader.value(of: name) else {
        throw LaunchError(file: file, place: name, "is missing; it is one of the tables of a script that tpplan has exported")
      }
      return value
    }
    let tables = TorchTables(file: file)
    var mesh = try tables.mesh(table("MESH", &reader))
    let jobTable = try table("JOB", &reader)
    let (model, job) = try tables.job(jobTable)
    let parts = try tables.parts(table("PARTS", &reader), table("PLAN", &reader))
    var pipeline: TorchLaunch.Pipeline?
    if let axis = mesh.firstIndex(where: { $0.name == TorchStages.axis }) {
      if axis > 0 {
        throw LaunchError(file: file, place: "MESH", "has \"\(TorchStages.axis)\" inside of another axis; a plan's stages are outermost")
      }
      let groups = mesh.remove(at: axis).size
      pipeline = try tables.pipeline(table("STAGES", &reader), groups, schedule: tables.schedule(jobTable), parts)
    }
    let replicas = mesh.reduce(1) { $1.name == TorchAxes.tensorName ? $0 : $0.times($1.size) }
    if job.batch % job.microBatches.times(replicas) != 0 {
      throw LaunchError(
        file: file, place: "JOB",
        "has a batch of \(job.batch), which is not \(counted(job.microBatches, "micro-batch", plural: "micro-batches")) for each of "
          + "\(counted(replicas, "replica")) with as many samples")
    }
    return TorchLaunch(mesh: mesh, pipeline: pipeline, model: model, job: job, parts: parts, file: file, text: text)
  }
}

/// The values of a script's tables.
struct TorchTables {
  let file: String

  func failure(_ place: String, _ problem: String) -> LaunchError { LaunchError(file: file, place: place, problem) }

  func mesh(_ value: PythonLiteral) throws -> [(name: String, size: Int)] {
    guard case .dictionary(let entries) = value, !entries.isEmpty else { throw failure("MESH", "expected axes with their sizes") }
    return try entries.map { entry in
      guard let size = entry.value.number, 1...1_048_576 ~= size else { throw failure("MESH[\"\(entry.key)\"]", "expected a number of ranks") }
      return (entry.key, size)
    }
  }

  /// A value of `JOB` that is one of some words.
  func word<Word: RawRepresentable & CaseIterable>(_ key: String, in value: PythonLiteral, _ type: Word.Type, default usual: Word? = nil) throws
    -> Word
  where Word.RawValue == String {
    if value[key] == nil, let usual { return usual }
    guard let text = value[key]?.text, let word = Word(rawValue: text) else {
      throw failure("JOB[\"\(key)\"]", "expected one of \(Word.allCases.map { "\"\($0.rawValue)\"" }.joined(separator: ", "))")
    }
    return word
  }

  func job(_ value: PythonLiteral) throws -> (model: String, Job) {
    func number(_ key: String) throws -> Int {
      guard let number = value[key]?.number, 1...1 << 40 ~= number else { throw failure("JOB[\"\(key)\"]", "expected a positive number") }
      return number
    }
    var job = Job(
      batch: try number("batch"), microBatches: try number("micro_batches"), sequence: try value["sequence"].map { _ in try number("sequence") },
      mode: try word("mode", in: value, Mode.self), optimizer: try word("optimizer", in: value, OptimizerKind.self),
      precision: try word("dtype", in: value, Precision.self))
    if let priced = value["priced"] {
      job.software.crossEntropy = try word("cross_entropy", in: priced, CrossEntropyKernel.self, default: .fused)
      job.software.gradients = try word("gradients", in: priced, GradientStorage.self, default: .accumulated)
      job.software.overlap = try word("overlap", in: priced, Overlap.self, default: Overlap.none)
      job.software.boundaries = try word("boundaries", in: priced, BoundaryMessages.self, default: .whole)
    }
    return (value["model"]?.text ?? "", job)
  }

  func parts(_ value: PythonLiteral, _ plan: PythonLiteral) throws -> [TorchLaunch.Part] {
    guard case .list(let values) = value else { throw failure("PARTS", "expected a list of Part(…)") }
    return try values.enumerated().map { index, value in
      guard case .call("Part", _, _) = value, let name = value.argument(0, "name")?.text else {
        throw failure("PARTS[\(index)]", "expected Part(name, …)")
      }
      func number(_ position: Int, _ key: String, atLeast least: Int) throws -> Int {
        guard let argument = value.argument(position, key) else { return least }
        guard let number = argument.number, least...1_048_576 ~= number else {
          throw failure("PARTS[\(index)]", "expected a number of at least \(least) for \(key)")
        }
        return number
      }
      guard let recompute = Recompute(rawValue: value.argument(4, "recompute")?.text ?? "none") else {
        throw failure("PARTS[\(index)]", "expected recompute to be \"none\", \"full\" or \"selective\"")
      }
      guard case .dictionary(let rows)? = plan[name] else { throw failure("PLAN[\"\(name)\"]", "is missing, and PARTS has such a part") }
      return TorchLaunch.Part(
        name: name, module: value.argument(1, "module")?.text, first: try number(2, "first", atLeast: 0),
        copies: try number(3, "copies", atLeast: 1), recompute: recompute, rows: try rows.map { try row($0, in: name) })
    }
  }

  private func row(_ entry: PythonLiteral.Entry, in part: String) throws -> TorchLaunch.Row {
    let place = "PLAN[\"\(part)\"][\"\(entry.key)\"]"
    guard case .call("Op", _, _) = entry.value else { throw failure(place, "expected Op(…)") }
    guard let zero = ZeROStage(rawValue: entry.value.argument(2, "zero").map { $0.number ?? -1 } ?? 0) else {
      throw failure(place, "expected a ZeRO stage, 0 to 3")
    }
    var style = entry.value.argument(1, "style")
    if style == PythonLiteral.nothing { style = nil }
    return TorchLaunch.Row(
      name: entry.key, split: entry.value.argument(0, "split")?.text, style: style, zero: zero,
      over: entry.value.argument(3, "over")?.text ?? "")
  }
}

extension PythonLiteral: CustomStringConvertible {
  /// As Python writes it.
  var description: String {
    func join(_ values: [PythonLiteral], _ entries: [Entry] = []) -> String {
      (values.map(\.description) + entries.map { "\($0.key)=\($0.value)" }).joined(separator: ", ")
    }
    switch self {
    case .text(let text): return "\"\(text)\""
    case .number(let number): return "\(number)"
    case .nothing: return "None"
    case .bool(let value): return value ? "True" : "False"
    case .list(let values): return "[\(join(values))]"
    case .tuple(let values): return "(\(join(values))\(values.count == 1 ? "," : ""))"
    case .dictionary(let entries): return "{" + entries.map { "\"\($0.key)\": \($0.value)" }.joined(separator: ", ") + "}"
    case .call(let name, let arguments, let named): return "\(name)(\(join(arguments, named)))"
    }
  }
}
